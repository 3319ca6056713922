#include "infer/embedder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "infer/encoder.h"
#include "model/tokenizer.h"
#include "tensor/ops.h"

namespace fathom::infer {
namespace {

namespace fs = std::filesystem;

/// sentence-transformers' limit on a text's tokens, where a folder has one.
std::optional<size_t> folder_limit(const fs::path& folder) {
  const fs::path path = folder / "sentence_bert_config.json";
  if (!fs::is_directory(folder) || !fs::exists(path)) return std::nullopt;
  const auto json = nlohmann::json::parse(read_file(path, size_t{1} << 20), nullptr, false);
  const bool has_limit = json.is_object() && json.contains("max_seq_length");
  if (!has_limit || json["max_seq_length"].is_null()) return std::nullopt;
  const auto& limit = json["max_seq_length"];
  if (!limit.is_number_unsigned() || limit.get<uint64_t>() == 0)
    throw Error(ErrorCode::kCorrupt,
                fmt::format("'{}' has no sensible max_seq_length; get it again", path.string()));
  return limit.get<uint64_t>();
}

class BertEmbedder : public Embedder {
 public:
  BertEmbedder(const fs::path& path, const model::GgufFile& file, ThreadPool& pool)
      : tokenizer_(model::Tokenizer::from_gguf(file)), encoder_(EncoderConfig::from_gguf(file), file, pool) {
    const EncoderConfig& c = encoder_.config();
    if (tokenizer_.size() > c.vocabulary)
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("'{}' has {} tokens and embeddings for {}; download or convert it again",
                              file.name(), tokenizer_.size(), c.vocabulary));
    const bool first = tokenizer_.add_bos() && tokenizer_.bos(),
               last = tokenizer_.add_eos() && tokenizer_.eos();
    if (first) first_ = *tokenizer_.bos();
    if (last) last_ = *tokenizer_.eos();
    surround_ = (first ? 1u : 0u) + (last ? 1u : 0u);
    info_.name = sanitize_utf8(file.find_string("general.name").value_or(path.stem().string()));
    info_.architecture = "bert";
    info_.dimensions = c.d_model;
    info_.context = std::min(c.context, folder_limit(path).value_or(c.context));
    if (info_.context <= surround_)
      throw Error(ErrorCode::kCorrupt, fmt::format("'{}' has no room for a text in its context of {} tokens",
                                                   file.name(), info_.context));
  }

  const EmbedderInfo& info() const override { return info_; }

  std::vector<Embedding> embed(std::span<const std::string> texts) override {
    std::vector<std::vector<int32_t>> ids;
    ids.reserve(texts.size());
    for (const std::string& text : texts) ids.push_back(tokens_of(text));
    // Texts of like length together: what is longest in a batch keeps others waiting.
    std::vector<size_t> order(texts.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return ids[a].size() > ids[b].size(); });
    std::vector<Embedding> out(texts.size());
    for (size_t begin = 0; begin < order.size();) {
      size_t end = begin, tokens = 0;
      while (end < order.size() && tokens + ids[order[end]].size() <= encoder_.batch_capacity())
        tokens += ids[order[end++]].size();
      run(std::span(order).subspan(begin, end - begin), ids, out);
      begin = end;
    }
    return out;
  }

 private:
  /// As sentence-transformers has it: cut at the end, the tokens around it kept; at least one token.
  std::vector<int32_t> tokens_of(std::string_view text) const {
    std::vector<int32_t> ids = tokenizer_.encode(text);
    ids.resize(std::min(ids.size(), info_.context - surround_));
    if (first_) ids.insert(ids.begin(), *first_);
    if (last_) ids.push_back(*last_);
    if (ids.empty()) ids.push_back(0);
    return ids;
  }

  void run(std::span<const size_t> which, std::vector<std::vector<int32_t>>& ids,
           std::vector<Embedding>& out) {
    const size_t d = info_.dimensions;
    std::vector<std::vector<int32_t>> batch;
    batch.reserve(which.size());
    for (const size_t i : which) batch.push_back(std::move(ids[i]));
    std::vector<float> values(which.size() * d);
    {
      const std::lock_guard lock(
          mutex_);  // batch by batch, so that a short request need not wait for a long one
      encoder_.run(batch, values.data());
    }
    for (size_t i = 0; i < which.size(); ++i) {
      const std::span row(values.data() + i * d, d);
      scale_to_one(row);
      out[which[i]] = {{row.begin(), row.end()}, batch[i].size()};
    }
  }

  void scale_to_one(std::span<float> row) const {
    double square = 0;
    for (const float x : row) square += static_cast<double>(x) * static_cast<double>(x);
    if (!std::isfinite(square))
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("the model {} gives numbers that are not finite; get it again", info_.name));
    if (square == 0) return;
    const auto factor = static_cast<float>(1 / std::sqrt(square));
    for (float& x : row) x *= factor;
  }

  model::Tokenizer tokenizer_;
  std::mutex mutex_;  // of the encoder and its pool
  Encoder encoder_;
  EmbedderInfo info_;
  std::optional<int32_t> first_, last_;
  size_t surround_ = 0;
};

}  // namespace

std::unique_ptr<Embedder> Embedder::load(const fs::path& path, ThreadPool& pool) {
  const model::GgufFile file = model::GgufFile::open(path);
  return std::make_unique<BertEmbedder>(path, file, pool);
}

}  // namespace fathom::infer
