#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "train/dataset.h"
#include "train/shard.h"

namespace fathom::train {
namespace {

using Json = nlohmann::json;

constexpr size_t kBufferBytes = size_t{1} << 20;

std::string_view bytes_of(const std::vector<uint64_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(uint64_t)};
}

/// A shard that is being written: tokens go to disk as they come, the rest is kept until the end.
class ShardFile {
 public:
  ShardFile(std::filesystem::path path, ShardHeader header) : file_(std::move(path)), header_(header) {
    file_.write(header_.encode());
  }

  uint64_t tokens() const { return header_.tokens; }

  void add(std::span<const int32_t> document, std::span<const uint8_t> learn) {
    starts_.push_back(header_.tokens);
    ++header_.documents;
    for (size_t i = 0; i < document.size(); ++i) {
      buffer_.append(reinterpret_cast<const char*>(&document[i]), header_.token_bytes);
      if (header_.masked) add_bit(learn.empty() || learn[i] != 0);
      ++header_.tokens;
    }
    if (buffer_.size() >= kBufferBytes) flush();
  }

  /// The finished header.
  ShardHeader finish() {
    buffer_.resize(buffer_.size() + padded(header_.tokens * header_.token_bytes) -
                   header_.tokens * header_.token_bytes);
    flush();
    emit(bytes_of(starts_));
    emit(bytes_of(mask_));
    header_.checksum = checksum_.value();
    file_.overwrite(0, header_.encode());
    file_.commit();
    return header_;
  }

 private:
  void add_bit(bool set) {
    if (header_.tokens % 64 == 0) mask_.push_back(0);
    mask_.back() |= uint64_t{set} << (header_.tokens % 64);
  }

  void flush() {
    emit(buffer_);
    buffer_.clear();
  }

  void emit(std::string_view bytes) {
    checksum_.update(bytes);
    file_.write(bytes);
  }

  AtomicFile file_;
  ShardHeader header_;
  Checksum64 checksum_;
  std::string buffer_;
  std::vector<uint64_t> starts_;
  std::vector<uint64_t> mask_;  // one bit a token
};

void make_empty_folder(const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed || !std::filesystem::is_directory(folder))
    throw Error(ErrorCode::kIo,
                fmt::format("cannot make the folder '{}': {}", folder.string(), failed.message()));
  if (!std::filesystem::is_empty(folder))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the folder '{}' is not empty; name a new one", folder.string()));
}

}  // namespace

struct DatasetWriter::Impl {
  std::filesystem::path folder;
  uint64_t tokens_per_shard = 0;
  DatasetInfo info;
  std::optional<ShardFile> shard;
  Json shards = Json::array();

  void open_shard() {
    ShardHeader header;
    header.token_bytes = token_bytes_of(info.vocab);
    header.masked = info.masked;
    header.vocab = static_cast<uint32_t>(info.vocab);
    shard.emplace(folder / file_name(), header);
  }

  void close_shard() {
    const std::string name = file_name();
    const ShardHeader header = shard->finish();
    shard.reset();
    shards.push_back({{"file", name},
                      {"tokens", header.tokens},
                      {"documents", header.documents},
                      {"checksum", header.checksum}});
  }

  std::string file_name() const { return fmt::format("shard-{:05}.tokens", shards.size()); }
};

DatasetWriter::DatasetWriter(const std::filesystem::path& folder, size_t vocab, bool masked,
                             std::string tokenizer_digest, uint64_t tokens_per_shard)
    : impl_(std::make_unique<Impl>()) {
  if (vocab == 0 || vocab > 0x7FFFFFFF)
    throw Error(ErrorCode::kInvalidArgument, "a vocabulary has 1 to 2^31 - 1 tokens");
  make_empty_folder(folder);
  impl_->folder = folder;
  impl_->tokens_per_shard = tokens_per_shard;
  impl_->info.vocab = vocab;
  impl_->info.masked = masked;
  impl_->info.tokenizer = std::move(tokenizer_digest);
}

DatasetWriter::~DatasetWriter() = default;
DatasetWriter::DatasetWriter(DatasetWriter&&) noexcept = default;

void DatasetWriter::add(std::span<const int32_t> document, std::span<const uint8_t> learn) {
  if (document.empty()) return;
  FATHOM_CHECK(learn.empty() || (impl_->info.masked && learn.size() == document.size()));
  for (const int32_t id : document) FATHOM_CHECK(id >= 0 && static_cast<size_t>(id) < impl_->info.vocab);
  if (impl_->shard && impl_->shard->tokens() + document.size() > impl_->tokens_per_shard)
    impl_->close_shard();
  if (!impl_->shard) impl_->open_shard();
  impl_->shard->add(document, learn);
  impl_->info.tokens += document.size();
  ++impl_->info.documents;
  for (size_t i = 1; i < document.size(); ++i)
    impl_->info.loss_tokens += learn.empty() || learn[i] != 0 ? 1 : 0;
}

DatasetInfo DatasetWriter::finish(const std::string& made_by) {
  if (impl_->shard) impl_->close_shard();
  const DatasetInfo& info = impl_->info;
  const Json manifest = {{"format", 1},
                         {"tokenizer", info.tokenizer},
                         {"vocab", info.vocab},
                         {"masked", info.masked},
                         {"tokens", info.tokens},
                         {"documents", info.documents},
                         {"loss_tokens", info.loss_tokens},
                         {"made_by", Json::parse(made_by, nullptr, false)},
                         {"shards", impl_->shards}};
  write_file_atomic(impl_->folder / "manifest.json", manifest.dump(1) + "\n");
  return info;
}

}  // namespace fathom::train
