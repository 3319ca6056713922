#include "live/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"

namespace fathom::live {
namespace {

constexpr std::string_view kName = "MANIFEST", kFormat = "fathom-live", kVersion = "2";
constexpr std::string_view kPrefix = "segment-", kSegment = ".seg", kChanges = ".changes", kNone = "-";
constexpr size_t kDigits = 20, kMaxBytes = size_t{1} << 22;

[[noreturn]] void corrupt(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("the manifest {}", what));
}

template <class T>
std::optional<T> to_number(std::string_view text, int base = 10) {
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || stop != text.data() + text.size() || text.empty()) return {};
  return value;
}

std::string stem_of(SegmentRange range) {
  return fmt::format("{}{:020}-{:020}", kPrefix, range.first, range.last);
}

/// Takes the next word, which a space or the line's end follows.
std::string_view next_word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

template <class T>
T next_number(std::string_view& line) {
  const auto value = to_number<T>(next_word(line));
  if (!value) corrupt("has a line without its number");
  return *value;
}

ManifestSegment parse_segment(std::string_view line) {
  ManifestSegment segment;
  segment.file = next_word(line);
  segment.counted = next_number<uint64_t>(line);
  segment.changes = next_word(line);
  if (segment.changes == kNone) segment.changes.clear();
  const bool known = segment_range(segment.file) && segment.file.ends_with(kSegment) &&
                     (segment.changes.empty() || changes_counted(segment.changes));
  if (!known || !line.empty()) corrupt("names a file that is no segment");
  return segment;
}

/// The lines above the checksum, which must be right.
std::string_view checked(std::string_view text) {
  constexpr std::string_view kLabel = "checksum ";
  constexpr size_t kLine = kLabel.size() + 16 + 1;
  if (text.size() < kLine || text.back() != '\n') corrupt("ends early");
  const std::string_view body = text.substr(0, text.size() - kLine);
  const std::string_view line = text.substr(body.size(), kLine - 1);
  if (!line.starts_with(kLabel) || to_number<uint64_t>(line.substr(kLabel.size()), 16) != checksum64(body))
    corrupt("does not have the checksum that it names");
  return body;
}

}  // namespace

std::string segment_file(SegmentRange range) { return stem_of(range) + std::string(kSegment); }

std::string changes_file(SegmentRange range, uint64_t counted) {
  return fmt::format("{}.{}{}", stem_of(range), counted, kChanges);
}

std::optional<SegmentRange> segment_range(std::string_view file) {
  const size_t stem = kPrefix.size() + 2 * kDigits + 1;
  if (!file.starts_with(kPrefix) || file.size() <= stem || file[kPrefix.size() + kDigits] != '-') return {};
  if (file.substr(stem) != kSegment && !(file[stem] == '.' && file.ends_with(kChanges))) return {};
  const auto first = to_number<uint64_t>(file.substr(kPrefix.size(), kDigits));
  const auto last = to_number<uint64_t>(file.substr(kPrefix.size() + kDigits + 1, kDigits));
  if (!first || !last || *last < *first) return {};
  return SegmentRange{*first, *last};
}

std::optional<uint64_t> changes_counted(std::string_view file) {
  const size_t stem = kPrefix.size() + 2 * kDigits + 1;
  if (!segment_range(file) || !file.ends_with(kChanges) || file.size() < stem + 1 + kChanges.size())
    return {};
  return to_number<uint64_t>(file.substr(stem + 1, file.size() - kChanges.size() - stem - 1));
}

std::string encode_manifest(const Manifest& manifest) {
  std::string text = fmt::format("{} {}\nthrough {}\nfeed_time {}\n", kFormat, kVersion, manifest.through,
                                 manifest.feed_time);
  for (const auto& segment : manifest.segments)
    text += fmt::format("segment {} {} {}\n", segment.file, segment.counted,
                        segment.changes.empty() ? kNone : std::string_view(segment.changes));
  return text + fmt::format("checksum {:016x}\n", checksum64(text));
}

Manifest parse_manifest(std::string_view text) {
  std::string_view rest = checked(text);
  const auto next_line = [&] {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return line;
  };
  std::string_view head = next_line();
  if (next_word(head) != kFormat) corrupt("is of another program");
  if (head != kVersion)
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("the feed has format {}, this program reads format {}; use the version that wrote it",
                    head, kVersion));
  Manifest manifest;
  while (!rest.empty()) {
    std::string_view line = next_line();
    const std::string_view label = next_word(line);
    if (label == "through")
      manifest.through = next_number<uint64_t>(line);
    else if (label == "feed_time")
      manifest.feed_time = next_number<int64_t>(line);
    else if (label == "segment")
      manifest.segments.push_back(parse_segment(line));
    else
      corrupt("has a line of an unknown kind");
  }
  return manifest;
}

std::optional<Manifest> read_manifest(const std::filesystem::path& folder) {
  const auto path = folder / kName;
  try {
    return parse_manifest(read_file(path, kMaxBytes));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound) return {};
    throw Error(error.code(), fmt::format("'{}': {}", path.string(), error.what()));
  }
}

void write_manifest(const std::filesystem::path& folder, const Manifest& manifest) {
  write_file_atomic(folder / kName, encode_manifest(manifest));
}

Manifest guess_manifest(const std::filesystem::path& folder) {
  struct Found {
    SegmentRange range;
    std::string file;
  };
  std::vector<Found> segments;
  for (const auto& path : files_of(folder, kSegment))
    if (const auto range = segment_range(path.filename().string()))
      segments.push_back({*range, path.filename().string()});
  std::sort(segments.begin(), segments.end(), [](const Found& a, const Found& b) {
    return a.range.first != b.range.first ? a.range.first < b.range.first : a.range.last > b.range.last;
  });
  Manifest manifest;
  for (const Found& found : segments) {
    if (found.range.last <= manifest.through) continue;  // merged into the one before
    manifest.through = found.range.last;
    manifest.segments.push_back({found.file, found.range.last, {}});
  }
  for (const auto& path : files_of(folder, kChanges)) {
    const std::string file = path.filename().string();
    const auto counted = changes_counted(file);
    if (!counted) continue;
    const std::string owner = segment_file(*segment_range(file));
    for (auto& segment : manifest.segments)
      if (segment.file == owner && *counted >= segment.counted)
        segment.counted = *counted, segment.changes = file;
  }
  return manifest;
}

}  // namespace fathom::live
