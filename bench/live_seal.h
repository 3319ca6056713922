// The part 'seal' of the live benchmark: what sealing and merging cost a post, and what takes the bytes of a sealed segment.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "live/index.h"
#include "live/segment/segment.h"
#include "live_report.h"

namespace fathom::live {

inline void tell_seconds(Report& report, const std::string& name, size_t posts, Spent spent) {
  const auto each = [&](double seconds) { return 1e6 * seconds / static_cast<double>(posts); };
  report.tell(name, {{"cpu_us_per_post", each(spent.cpu)}, {"wall_us_per_post", each(spent.wall)}});
}

inline void tell_sections(Report& report, const std::filesystem::path& path, uint64_t posts) {
  const SegmentFile file(path);
  const auto each = [&](uint64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(posts); };
  for (uint32_t kind = 1; kind <= kSectionKinds; ++kind) {
    const auto section = static_cast<SectionKind>(kind);
    report.value(fmt::format("  {}", to_string(section)), each(file.section(section).size()), "B/post");
  }
  report.value("sealed: all", each(file.bytes()), "B/post");
}

/// `fill` adds the i-th of `parts` parts to an index.
template <class Fill>
void bench_seal(Report& report, const std::filesystem::path& folder, size_t parts, Fill&& fill) {
  std::filesystem::create_directories(folder);
  std::vector<std::shared_ptr<Segment>> segments;
  Spent spent;
  uint64_t posts = 0, last = 0;
  for (size_t i = 0; i < parts; ++i) {
    Index index(last);
    fill(index, i);
    last = index.last_sequence();
    const auto path = folder / fmt::format("{}.seg", i);
    const Spent more = measure([&] { seal(index, last, path, {}); });
    spent.wall += more.wall, spent.cpu += more.cpu;
    segments.push_back(Segment::open(path));
    posts += segments.back()->posts();
  }
  tell_seconds(report, "sealing", posts, spent);
  tell_seconds(report, "verifying", posts, measure([&] {
                 for (const auto& segment : segments) segment->verify();
               }));
  tell_sections(report, segments.front()->path(), segments.front()->posts());
  if (parts < 2) return;
  const auto path = folder / "merged.seg";
  tell_seconds(report, fmt::format("merging {}", parts), posts,
               measure([&] { merge(segments, last, Time::min(), path, {}); }));
  tell_sections(report, path, posts);
}

}  // namespace fathom::live
