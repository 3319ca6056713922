#include "cli/text_embedder.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace fathom::cli {
namespace {

constexpr size_t kTextsAtOnce = 16;
constexpr size_t kBytesAtOnce = 4 * 1024;
constexpr size_t kBytesPerToken =
    16;  // longer than any language's: what is cut off the model would not have read

class ModelEmbedder final : public live::TextEmbedder {
 public:
  explicit ModelEmbedder(infer::Embedder& model)
      : model_(model),
        prefixes_(embedding_prefixes(model.info().name)),
        most_bytes_(model.info().context * kBytesPerToken) {}

  std::string_view name() const override { return model_.info().name; }
  size_t dimensions() const override { return model_.info().dimensions; }

  std::vector<float> embed(std::span<const std::string> texts, bool query,
                           const std::stop_token& stop) override {
    std::vector<float> out;
    out.reserve(texts.size() * dimensions());
    std::vector<std::string> batch;
    while (!texts.empty()) {
      if (stop.stop_requested())
        throw Error(ErrorCode::kCancelled, "the embedding of texts was stopped before its end");
      batch.clear();
      for (size_t bytes = 0; batch.size() < std::min(texts.size(), kTextsAtOnce) && bytes < kBytesAtOnce;) {
        batch.push_back(prepared(texts[batch.size()], query));
        bytes += batch.back().size();
      }
      for (const auto& embedding : model_.embed(batch))
        out.insert(out.end(), embedding.values.begin(), embedding.values.end());
      texts = texts.subspan(batch.size());
    }
    return out;
  }

 private:
  std::string prepared(std::string_view text, bool query) const {
    text = text.substr(0, most_bytes_);
    text.remove_suffix(incomplete_utf8_tail(text));
    std::string out(query ? prefixes_.query : prefixes_.passage);
    return out.append(text);
  }

  infer::Embedder& model_;
  const EmbeddingPrefixes prefixes_;
  const size_t most_bytes_;
};

}  // namespace

EmbeddingPrefixes embedding_prefixes(std::string_view model_name) {
  std::string name = to_lower_ascii(model_name);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ' ' || c == '_' || c == '/'; }, '-');
  name = "-" + name + "-";
  const auto has = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  constexpr std::string_view kInstruction = "Represent this sentence for searching relevant passages: ";
  if (has("-e5-") && !has("-instruct-")) return {"query: ", "passage: "};
  const bool english_bge = has("-bge-") && has("-en-");
  if (english_bge || has("-mxbai-embed-") || has("-arctic-embed-")) return {kInstruction, ""};
  return {};
}

std::unique_ptr<live::TextEmbedder> make_text_embedder(infer::Embedder& model) {
  return std::make_unique<ModelEmbedder>(model);
}

}  // namespace fathom::cli
