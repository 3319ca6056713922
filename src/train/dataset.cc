#include "train/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "train/packing.h"
#include "train/permutation.h"
#include "train/shard.h"

namespace fathom::train {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostManifestBytes = size_t{1} << 28;

[[noreturn]] void corrupt(const std::filesystem::path& file, std::string_view what) {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("'{}' is damaged: {}; prepare the data again", file.string(), what));
}

Json read_manifest(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path))
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("'{}' holds no dataset: there is no manifest.json; 'fathom data prepare' makes one",
                    path.parent_path().string()));
  Json manifest = Json::parse(read_file(path, kMostManifestBytes), nullptr, false);
  if (!manifest.is_object()) corrupt(path, "it is not a JSON object");
  return manifest;
}

/// A member of a kind; corrupt where it is missing or of another.
template <class Value>
Value member(const Json& object, const char* key, const std::filesystem::path& path) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  const bool fits =
      found != object.end() && (std::is_same_v<Value, bool>          ? found->is_boolean()
                                : std::is_same_v<Value, std::string> ? found->is_string()
                                                                     : found->is_number_unsigned());
  if (!fits) corrupt(path, fmt::format("\"{}\" is missing or of another kind", key));
  return found->get<Value>();
}

std::string shard_file(const Json& entry, const std::filesystem::path& manifest) {
  auto name = member<std::string>(entry, "file", manifest);
  if (name.empty() || name.front() == '.' ||
      name.find_first_of(std::string_view("/\0", 2)) != std::string::npos)
    corrupt(manifest, fmt::format("\"{}\" is no name of a shard", name));
  return name;
}

}  // namespace

struct Dataset::Impl {
  DatasetInfo info;
  std::vector<MappedFile> files;
  std::vector<Shard> shards;
  std::vector<uint64_t> bases;  // of each shard, tokens before it

  /// Packings by length of row, made when first asked for.
  mutable std::mutex mutex;
  mutable std::map<size_t, std::shared_ptr<const Packing>> packings;

  void open_shard(const std::filesystem::path& folder, const Json& entry,
                  const std::filesystem::path& manifest);
  std::shared_ptr<const Packing> packing(size_t length) const;
  uint64_t rows(size_t length) const;
  uint64_t row_of(uint64_t seed, uint64_t index, size_t length) const;
  size_t shard_of(uint64_t token) const;
  template <class Visit>
  void visit_row(uint64_t row, size_t length, Visit visit) const;
};

void Dataset::Impl::open_shard(const std::filesystem::path& folder, const Json& entry,
                               const std::filesystem::path& manifest) {
  files.emplace_back(folder / shard_file(entry, manifest));
  shards.push_back(Shard::parse(files.back().bytes(), files.back().path().string()));
  const ShardHeader& header = shards.back().header();
  if (header.vocab != info.vocab || header.masked != info.masked ||
      header.tokens != member<uint64_t>(entry, "tokens", manifest) ||
      header.checksum != member<uint64_t>(entry, "checksum", manifest))
    corrupt(files.back().path(), "it is not the shard that manifest.json names");
  if (header.tokens == 0) corrupt(files.back().path(), "it holds no token");
  bases.push_back(info.tokens);
  info.tokens += header.tokens;
  info.documents += header.documents;
}

std::shared_ptr<const Packing> Dataset::Impl::packing(size_t length) const {
  const std::lock_guard lock(mutex);
  auto& packing = packings[length];
  if (packing == nullptr) packing = std::make_shared<const Packing>(shards, bases, length);
  return packing;
}

uint64_t Dataset::Impl::rows(size_t length) const {
  if (length == 0 || info.tokens < 2) return 0;
  return info.masked ? packing(length)->rows() : (info.tokens - 1) / length;
}

uint64_t Dataset::Impl::row_of(uint64_t seed, uint64_t index, size_t length) const {
  const uint64_t count = rows(length);
  if (count == 0)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the dataset has {} tokens, too few for a row of {}", info.tokens, length));
  const uint64_t epoch = index / count;
  return permute(mix64(seed) + mix64(~epoch), index % count, count);
}

size_t Dataset::Impl::shard_of(uint64_t token) const {
  return static_cast<size_t>(std::upper_bound(bases.begin(), bases.end(), token) - bases.begin()) - 1;
}

/// Calls visit(place in the row, shard, first token in the shard, count) for each stretch of one document; the row has
/// `length` + 1 places.
template <class Visit>
void Dataset::Impl::visit_row(uint64_t row, size_t length, Visit visit) const {
  size_t place = 0;
  if (info.masked) {
    const auto packed = packing(length);
    for (const RowPiece& piece : packed->row(row)) {
      const size_t s = shard_of(piece.begin);
      visit(place, shards[s], piece.begin - bases[s], size_t{piece.size});
      place += piece.size;
    }
    return;
  }
  const uint64_t first = row * length;
  size_t s = shard_of(first);
  uint64_t at = first - bases[s];
  uint64_t document = shards[s].document_of(at);
  while (place <= length) {
    const uint64_t left = shards[s].begin(document + 1) - at;
    const size_t count = std::min<uint64_t>(left, length + 1 - place);
    visit(place, shards[s], at, count);
    place += count;
    at += count;
    if (++document == shards[s].header().documents && place <= length) {
      document = at = 0;
      ++s;
    }
  }
}

Dataset::Dataset(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;

Dataset Dataset::open(const std::filesystem::path& folder) {
  const auto path = folder / "manifest.json";
  const Json manifest = read_manifest(path);
  if (const auto format = member<uint64_t>(manifest, "format", path); format != 1)
    throw Error(ErrorCode::kUnsupported,
                fmt::format("'{}' is of format {}, and this build reads format 1", path.string(), format));
  auto impl = std::make_unique<Impl>();
  impl->info.vocab = member<uint64_t>(manifest, "vocab", path);
  impl->info.masked = member<bool>(manifest, "masked", path);
  impl->info.tokenizer = member<std::string>(manifest, "tokenizer", path);
  impl->info.loss_tokens = member<uint64_t>(manifest, "loss_tokens", path);
  const auto shards = manifest.find("shards");
  if (shards == manifest.end() || !shards->is_array()) corrupt(path, "\"shards\" is missing or no list");
  for (const Json& entry : *shards) impl->open_shard(folder, entry, path);
  if (impl->info.loss_tokens > impl->info.tokens)
    corrupt(path, "it counts more tokens with a loss than there are");
  return Dataset(std::move(impl));
}

const DatasetInfo& Dataset::info() const { return impl_->info; }

void Dataset::verify() const {
  uint64_t learnt = 0;
  for (const Shard& shard : impl_->shards) {
    shard.verify();
    for (uint64_t d = 0; d < shard.header().documents; ++d)
      learnt += shard.learnt(shard.begin(d), shard.begin(d + 1));
  }
  if (learnt != impl_->info.loss_tokens)
    throw Error(ErrorCode::kCorrupt,
                fmt::format("manifest.json counts {} tokens with a loss and the shards have {}; prepare the "
                            "data again",
                            impl_->info.loss_tokens, learnt));
}

uint64_t Dataset::rows(size_t length) const { return impl_->rows(length); }

void Dataset::sample(uint64_t seed, uint64_t index, size_t length, int32_t* tokens, int32_t* targets,
                     int32_t* starts) const {
  std::fill_n(targets, length, -1);
  size_t filled = 0;
  int32_t last = 0;
  impl_->visit_row(impl_->row_of(seed, index, length), length,
                   [&](size_t place, const Shard& shard, uint64_t begin, size_t count) {
                     for (size_t i = 0; i < count; ++i) {
                       last = shard.token(begin + i);
                       if (i > 0 && shard.learn(begin + i)) targets[place + i - 1] = last;
                       if (place + i == length) break;
                       tokens[place + i] = last;
                       starts[place + i] = static_cast<int32_t>(place);
                     }
                     filled = std::min(place + count, length);
                   });
  std::fill(tokens + filled, tokens + length, last);
  std::fill(starts + filled, starts + length, static_cast<int32_t>(filled));
}

uint64_t Dataset::loss_tokens(uint64_t seed, uint64_t begin, uint64_t end, size_t length) const {
  uint64_t count = 0;
  for (uint64_t index = begin; index < end; ++index)
    impl_->visit_row(impl_->row_of(seed, index, length), length,
                     [&](size_t, const Shard& shard, uint64_t first, size_t size) {
                       count += shard.learnt(first, first + size);
                     });
  return count;
}

}  // namespace fathom::train
