#include "train/checkpoint_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"

namespace fathom::train {
namespace {

using nlohmann::json;

constexpr std::string_view kMagic = "FATHOMCK";
constexpr uint32_t kVersion = 1;
constexpr size_t kPreamble = 32;
constexpr size_t kAlignment = 64;
constexpr size_t kMostHeader = size_t{1} << 30;
constexpr size_t kMostManifest = size_t{64} << 20;
constexpr size_t kMostName = 256;
constexpr uint64_t kMostExtent = uint64_t{1} << 40;
constexpr uint64_t kMostElements = uint64_t{1} << 46;
constexpr int kDeepest = 64;
constexpr const char* kFormat = "fathom checkpoint 1";
constexpr std::array<std::string_view, 4> kKinds = {"weight", "first_moment", "second_moment", "average"};

[[noreturn]] void corrupt(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("in '{}', {}; an older checkpoint may be whole", name, what));
}

std::string hex(uint64_t value) { return fmt::format("{:016x}", value); }

/// The fields of one JSON object, with checked reading.
class Fields {
 public:
  Fields(const json& object, const std::string& name) : object_(object), name_(name) {
    if (!object.is_object()) corrupt(name, "an entry is no JSON object");
  }

  const json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) corrupt(name_, fmt::format("'{}' is missing", key));
    return *found;
  }
  uint64_t count(const char* key, uint64_t most) const { return as_count(at(key), key, most); }
  std::string text(const char* key, size_t most) const {
    const json& value = at(key);
    if (!value.is_string() || value.get_ref<const std::string&>().size() > most)
      corrupt(name_, fmt::format("'{}' is no text of at most {} bytes", key, most));
    return value.get<std::string>();
  }
  uint64_t checksum(const char* key) const {
    const std::string digits = text(key, 16);
    uint64_t value = 0;
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (failed != std::errc() || end != digits.data() + digits.size())
      corrupt(name_, fmt::format("'{}' is no checksum", key));
    return value;
  }
  template <size_t N>
  std::array<size_t, N> counts(const char* key) const {
    const json& list = at(key);
    if (!list.is_array() || list.size() != N)
      corrupt(name_, fmt::format("'{}' is no list of {} counts", key, N));
    std::array<size_t, N> out{};
    for (size_t i = 0; i < N; ++i) out[i] = static_cast<size_t>(as_count(list[i], key, kMostExtent));
    return out;
  }

 private:
  uint64_t as_count(const json& value, const char* key, uint64_t most) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > most)
      corrupt(name_, fmt::format("'{}' is no count of at most {}", key, most));
    return value.get<uint64_t>();
  }

  const json& object_;
  const std::string& name_;
};

/// Nesting is bounded: values are copied here and there, which calls itself for each level.
json parse_json(std::string_view text, const std::string& name) {
  const auto shallow = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest) corrupt(name, "lists or objects are nested too deep");
    return true;
  };
  json parsed = json::parse(text, shallow, false);
  if (parsed.is_discarded()) corrupt(name, "what should be JSON is none");
  return parsed;
}

json to_json(const CheckpointEntry& e) {
  const Box& b = e.box;
  return {{"name", e.name},
          {"kind", to_string(e.kind)},
          {"shape", e.shape},
          {"box", {b.begin[0], b.begin[1], b.begin[2], b.size[0], b.size[1], b.size[2]}},
          {"begin", e.begin},
          {"count", e.count},
          {"checksum", hex(e.checksum)}};
}

CheckpointKind parse_kind(const std::string& text, const std::string& name) {
  const auto* found = std::find(kKinds.begin(), kKinds.end(), text);
  if (found == kKinds.end()) corrupt(name, "an entry is of a kind that is not known");
  return static_cast<CheckpointKind>(found - kKinds.begin());
}

void check_box(const CheckpointEntry& e, const std::string& name) {
  uint64_t whole = 1;
  bool sound = true;
  for (size_t i = 0; i < e.shape.size(); ++i) {
    sound = sound && e.shape[i] > 0 && e.box.size[i] > 0 && e.box.begin[i] <= e.shape[i] &&
            e.box.size[i] <= e.shape[i] - e.box.begin[i];
    sound = sound && !__builtin_mul_overflow(whole, uint64_t{e.shape[i]}, &whole) && whole <= kMostElements;
  }
  if (!sound || e.count == 0 || e.begin > e.box.elements() || e.count > e.box.elements() - e.begin)
    corrupt(name, fmt::format("the entry '{}' is not within its tensor", e.name));
}

CheckpointEntry parse_entry(const json& value, const std::string& name) {
  const Fields fields(value, name);
  CheckpointEntry e;
  e.name = fields.text("name", kMostName);
  e.kind = parse_kind(fields.text("kind", kMostName), name);
  e.shape = fields.counts<3>("shape");
  const auto box = fields.counts<6>("box");
  std::copy_n(box.begin(), 3, e.box.begin.begin());
  std::copy_n(box.begin() + 3, 3, e.box.size.begin());
  e.begin = static_cast<size_t>(fields.count("begin", kMostElements));
  e.count = static_cast<size_t>(fields.count("count", kMostElements));
  e.checksum = fields.checksum("checksum");
  check_box(e, name);
  return e;
}

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T read_at(std::span<const std::byte> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

size_t aligned(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

std::string_view to_string(CheckpointKind kind) { return kKinds[static_cast<size_t>(kind)]; }

CheckpointFileRecord write_rank_file(const std::filesystem::path& path, std::vector<CheckpointEntry> entries,
                                     const std::vector<const float*>& values) {
  FATHOM_CHECK(entries.size() == values.size(), "every entry has its values");
  const auto bytes_of = [&](size_t i) { return std::as_bytes(std::span(values[i], entries[i].count)); };
  json list = json::array();
  size_t at = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].offset = at;
    entries[i].checksum = checksum64(bytes_of(i));
    at += entries[i].count;
    list.push_back(to_json(entries[i]));
  }
  const std::string header = list.dump();
  const CheckpointFileRecord record{
      path.filename().string(), aligned(kPreamble + header.size()) + at * sizeof(float), checksum64(header)};
  std::string head(kMagic);
  append(head, kVersion);
  append(head, uint32_t{0});
  append(head, uint64_t{header.size()});
  append(head, record.header_checksum);
  head += header;
  head.resize(aligned(head.size()), '\0');
  AtomicFile file(path);
  file.write(head);
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto bytes = bytes_of(i);
    file.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  file.commit();
  return record;
}

RankFile RankFile::open(const std::filesystem::path& path) {
  auto map = std::make_shared<const MappedFile>(path);
  RankFile file = parse(map->bytes(), path.string());
  file.record_.name = path.filename().string();
  file.map_ = std::move(map);
  return file;
}

RankFile RankFile::parse(std::span<const std::byte> bytes, std::string name) {
  RankFile file;
  file.name_ = std::move(name);
  file.record_ = {file.name_, bytes.size(), 0};
  const bool ours = bytes.size() >= kPreamble && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
  if (!ours) corrupt(file.name_, "there is no header of a checkpoint");
  if (read_at<uint32_t>(bytes, 8) != kVersion) corrupt(file.name_, "the version is not known to this build");
  const auto length = read_at<uint64_t>(bytes, 16);
  if (length > kMostHeader || length > bytes.size() - kPreamble) corrupt(file.name_, "the header is cut off");
  const size_t data = aligned(kPreamble + static_cast<size_t>(length));
  if (data > bytes.size() || (bytes.size() - data) % sizeof(float) != 0)
    corrupt(file.name_, "the file is cut off");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kPreamble,
                                static_cast<size_t>(length));
  file.record_.header_checksum = checksum64(header);
  if (file.record_.header_checksum != read_at<uint64_t>(bytes, 24))
    corrupt(file.name_, "the header is damaged");
  file.floats_ = {reinterpret_cast<const float*>(bytes.data() + data), (bytes.size() - data) / sizeof(float)};
  const json list = parse_json(header, file.name_);
  if (!list.is_array()) corrupt(file.name_, "the header is no list of entries");
  size_t at = 0;
  for (const json& value : list) {
    CheckpointEntry e = parse_entry(value, file.name_);
    if (e.count > file.floats_.size() - at) corrupt(file.name_, "the file is cut off");
    e.offset = at;
    at += e.count;
    file.entries_.push_back(std::move(e));
  }
  if (at != file.floats_.size()) corrupt(file.name_, "there is more than the header says");
  return file;
}

std::span<const float> RankFile::values(const CheckpointEntry& entry) const {
  const auto values = floats_.subspan(entry.offset, entry.count);
  if (checksum64(std::as_bytes(values)) != entry.checksum)
    corrupt(name_, fmt::format("the {} of '{}' is damaged", to_string(entry.kind), entry.name));
  return values;
}

std::string format_manifest(const CheckpointManifest& manifest) {
  json files = json::array();
  for (const auto& file : manifest.files)
    files.push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"header_checksum", hex(file.header_checksum)}});
  json out = {{"format", kFormat},
              {"step", manifest.state.step},
              {"samples", manifest.state.samples},
              {"skipped", manifest.state.skipped},
              {"layout", manifest.layout},
              {"run", json::parse(manifest.state.run.empty() ? "{}" : manifest.state.run)},
              {"files", std::move(files)}};
  out["checksum"] = hex(checksum64(out.dump()));
  return out.dump(1) + "\n";
}

CheckpointManifest parse_manifest(std::string_view text, const std::string& name) {
  json parsed = parse_json(text, name);
  const Fields fields(parsed, name);
  if (fields.text("format", kMostName) != kFormat) corrupt(name, "the format is not known to this build");
  CheckpointManifest out;
  const uint64_t checksum = fields.checksum("checksum");
  out.state.step = fields.count("step", uint64_t{1} << 62);
  out.state.samples = fields.count("samples", uint64_t{1} << 62);
  out.state.skipped = fields.count("skipped", uint64_t{1} << 62);
  out.layout = fields.text("layout", kMostName);
  const json& files = fields.at("files");
  if (!files.is_array() || files.empty()) corrupt(name, "no files are named");
  for (size_t rank = 0; rank < files.size(); ++rank) {
    const Fields file(files[rank], name);
    out.files.push_back({file.text("name", kMostName), file.count("bytes", uint64_t{1} << 62),
                         file.checksum("header_checksum")});
    if (out.files.back().name != fmt::format("rank-{:05}.fck", rank))
      corrupt(name, "a file is not named as a rank's is");
  }
  out.state.run = fields.at("run").dump(-1, ' ', false, json::error_handler_t::replace);
  parsed.erase("checksum");
  if (checksum64(parsed.dump(-1, ' ', false, json::error_handler_t::replace)) != checksum)
    corrupt(name, "the checksum is not that of the rest");
  return out;
}

OpenedCheckpoint open_checkpoint(const std::filesystem::path& folder) {
  const auto path = folder / kManifestName;
  OpenedCheckpoint out{parse_manifest(read_file(path, kMostManifest), path.string()), {}};
  for (const CheckpointFileRecord& record : out.manifest.files) {
    RankFile file = RankFile::open(folder / record.name);
    if (file.record().bytes != record.bytes || file.record().header_checksum != record.header_checksum)
      corrupt(file.name(), "the file is not the one that the manifest names");
    out.files.push_back(std::move(file));
  }
  return out;
}

}  // namespace fathom::train
