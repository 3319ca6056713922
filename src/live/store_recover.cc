#include "live/store_recover.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"

namespace fathom::live {
namespace {

constexpr auto kFutureTolerance = std::chrono::hours(24);
constexpr std::string_view kDamaged = ".damaged";

void set_aside(const std::filesystem::path& path) {
  auto aside = path;
  aside += kDamaged;
  std::error_code ignored;
  std::filesystem::rename(path, aside, ignored);
}

bool is_damage(const Error& error) {
  return error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kNotFound;
}

/// Reads the files that a manifest names.
class ContentReader {
 public:
  ContentReader(const std::filesystem::path& folder, const Clock& clock) : folder_(folder), clock_(clock) {}

  StoreContent run() {
    const bool intact = read_names();
    content_.through = manifest_.through;
    content_.feed_time = manifest_.feed_time;
    uint64_t readable = 0;  // through which sequence, damage in between aside
    for (const ManifestSegment& entry : manifest_.segments)
      if (read_segment(entry)) readable = content_.sealed.back().segment->last_sequence();
    // The log may still have what the newest segments held.
    if (lacks_newest()) content_.through = readable;
    if (intact)
      remove_leftovers();
    else
      mend();
    for (size_t i = 0; i < content_.sealed.size(); ++i)
      if (unsure_[i]) bury_replaced(i);
    const bool all_sure = std::count(unsure_.begin(), unsure_.end(), true) == 0;
    read_removed();
    content_.repaired = !intact || !all_sure || content_.sealed.size() < manifest_.segments.size();
    return std::move(content_);
  }

 private:
  bool read_names() {
    try {
      const auto manifest = read_manifest(folder_);
      manifest_ = manifest ? *manifest : guess_manifest(folder_);
      if (!manifest && !manifest_.segments.empty())
        log().error("'{}' has no manifest; its segments are taken as their names tell", folder_.string());
      return manifest.has_value() || manifest_.segments.empty();
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      log().error("{}; the segments are taken as their names tell", error.what());
      set_aside(folder_ / "MANIFEST");
      manifest_ = guess_manifest(folder_);
      return false;
    }
  }

  bool lacks_newest() const {
    if (manifest_.segments.empty()) return false;
    const std::string& newest = manifest_.segments.back().file;
    return content_.sealed.empty() || content_.sealed.back().segment->path().filename() != newest;
  }

  /// False where it is damaged: it is set aside.
  bool read_segment(const ManifestSegment& entry) {
    Sealed sealed;
    try {
      sealed.segment = Segment::open(folder_ / entry.file);
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      log().error("{}; the posts of this segment are not served", error.what());
      set_aside(folder_ / entry.file);
      return false;
    }
    sealed.counted = entry.counted;
    sealed.changes = entry.changes;
    content_.sealed.push_back(std::move(sealed));
    unsure_.push_back(!read_changes(content_.sealed.back()));
    return true;
  }

  void read_removed() {
    try {
      content_.removed = read_removed_keys(folder_);
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      log().error("{}", error.what());
      set_aside(folder_ / "REMOVED");
    }
  }

  bool read_changes(Sealed& sealed) const {
    if (sealed.changes.empty()) return true;
    try {
      sealed.segment->read_changes(folder_ / sealed.changes);
      return true;
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      log().error("{}; what was replaced or removed is found anew, later counts are lost", error.what());
      set_aside(folder_ / sealed.changes);
      sealed.changes.clear();
      return false;
    }
  }

  /// The manifest is lost: changes may be older than the segments, and the clock is that of the newest posts.
  void mend() {
    unsure_.assign(content_.sealed.size(), true);
    const int64_t latest = (clock_.now() + kFutureTolerance).time_since_epoch().count();
    for (const Sealed& sealed : content_.sealed)
      content_.feed_time = std::max(content_.feed_time, std::min(sealed.segment->newest(), latest));
  }

  /// Ends the documents of a segment whose keys newer segments have.
  void bury_replaced(size_t old) {
    Segment& segment = *content_.sealed[old].segment;
    for (size_t i = old + 1; i < content_.sealed.size(); ++i) {
      const Segment& newer = *content_.sealed[i].segment;
      for (uint32_t number = 1; number <= newer.documents(); ++number) {
        const std::string key = key_of(newer, number);
        const uint32_t replaced = key.empty() ? 0 : segment.find_key(key_hash(key), key);
        if (replaced != 0) segment.bury(replaced, newer.sequence(number));
      }
    }
    content_.sealed[old].changed = true;
  }

  static std::string key_of(const Segment& segment, uint32_t number) {
    try {
      return segment.key(number);
    } catch (const Error&) {  // its block is damaged
      return {};
    }
  }

  bool is_named(const std::string& file) const {
    return std::any_of(
        manifest_.segments.begin(), manifest_.segments.end(),
        [&](const ManifestSegment& entry) { return entry.file == file || entry.changes == file; });
  }

  void remove_leftovers() const {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
      const std::string file = entry.path().filename().string();
      const bool ours =
          file.starts_with("segment-") || file.starts_with("MANIFEST.") || file.starts_with("REMOVED.");
      if (!ours || file.ends_with(kDamaged) || is_named(file)) continue;
      std::error_code ignored;
      std::filesystem::remove(entry.path(), ignored);
    }
  }

  const std::filesystem::path& folder_;
  const Clock& clock_;
  Manifest manifest_;
  StoreContent content_;
  std::vector<char> unsure_;  // whether a segment's deaths are all known
};

}  // namespace

StoreContent read_content(const std::filesystem::path& folder, const Clock& clock) {
  return ContentReader(folder, clock).run();
}

}  // namespace fathom::live
