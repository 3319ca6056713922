#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "model/tokenizer_json.h"
#include "model/vocabulary.h"

namespace fathom::model {
namespace {

constexpr size_t kMostTokens = size_t{1} << 22;

[[noreturn]] void corrupt(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("in the SentencePiece model, {}; get it again", what));
}

/// The fields of one protobuf message (encoding: protobuf.dev, "Encoding"). Checked; views into the bytes given.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  uint64_t field = 0;
  uint64_t number = 0;    // of a varint field
  std::string_view data;  // of the others

  bool next() {
    if (at_ == bytes_.size()) return false;
    const uint64_t tag = varint();
    field = tag >> 3;
    data = {};
    number = 0;
    switch (tag & 7) {
      case 0: number = varint(); break;
      case 1: data = take(8); break;
      case 2: data = take(varint()); break;
      case 5: data = take(4); break;
      default: corrupt("a field has an unknown wire type");
    }
    return true;
  }

  float as_float() const {
    if (data.size() != sizeof(float)) corrupt("a score is no float");
    float value;
    std::memcpy(&value, data.data(), sizeof(value));
    return value;
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (at_ == bytes_.size()) break;
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      if (shift < 64) value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    corrupt("a number does not end");
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) corrupt("a field is longer than the file");
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }

  std::string_view bytes_;
  size_t at_ = 0;
};

/// What of a ModelProto matters here, with the defaults of sentencepiece_model.proto.
struct Model {
  enum Type : uint64_t { kUnigram = 1, kBpe = 2 };

  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<int32_t> types;
  uint64_t type = kUnigram;
  bool suffix = false;
  std::string begin = "<s>", end = "</s>", pad = "<pad>";
  std::string charsmap;
  bool add_prefix = true, remove_extra = true, escape = true;
};

void read_piece(std::string_view bytes, Model& model) {
  if (model.texts.size() >= kMostTokens)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the SentencePiece model has more than the {} pieces that this build reads",
                            kMostTokens));
  std::string text;
  float score = 0;
  uint64_t type = 1;
  for (Message part(bytes); part.next();) {
    if (part.field == 1) text = part.data;
    if (part.field == 2) score = part.as_float();
    if (part.field == 3) type = part.number;
  }
  if (type < 1 || type > 6) corrupt(fmt::format("a piece has the unknown type {}", type));
  if (!std::isfinite(score)) corrupt("a score is no finite number");
  if (!is_valid_utf8(text)) corrupt("a piece is not UTF-8");
  model.texts.push_back(std::move(text));
  model.scores.push_back(score);
  model.types.push_back(static_cast<int32_t>(type));
}

void read_trainer(std::string_view bytes, Model& model) {
  for (Message part(bytes); part.next();) {
    switch (part.field) {
      case 3: model.type = part.number; break;
      case 24: model.suffix = part.number != 0; break;
      case 46: model.begin = part.data; break;
      case 47: model.end = part.data; break;
      case 48: model.pad = part.data; break;
      default: break;
    }
  }
}

void read_normalizer(std::string_view bytes, Model& model) {
  for (Message part(bytes); part.next();) {
    switch (part.field) {
      case 2: model.charsmap = part.data; break;
      case 3: model.add_prefix = part.number != 0; break;
      case 4: model.remove_extra = part.number != 0; break;
      case 5: model.escape = part.number != 0; break;
      default: break;
    }
  }
}

Model read(std::string_view bytes) {
  Model model;
  for (Message field(bytes); field.next();) {
    if (field.field == 1) read_piece(field.data, model);
    if (field.field == 2) read_trainer(field.data, model);
    if (field.field == 3) read_normalizer(field.data, model);
  }
  if (model.texts.empty()) corrupt("there are no pieces");
  if (model.type != Model::kUnigram && model.type != Model::kBpe)
    throw Error(ErrorCode::kUnsupported,
                "the SentencePiece model is neither BPE nor Unigram: this build has no other");
  if (model.suffix || !model.escape)
    throw Error(ErrorCode::kUnsupported,
                "the SentencePiece model has spaces at the ends of words or as they are, which this build "
                "does not know");
  return model;
}

}  // namespace

TokenizerMetadata sentence_piece_metadata(std::string_view bytes) {
  Model model = read(bytes);
  TokenizerMetadata out;
  const auto set = [&](std::string key, GgufValue value) {
    out.emplace_back(std::move(key), std::move(value));
  };
  set("tokenizer.ggml.model", std::string(model.type == Model::kBpe ? "llama" : "t5"));
  set("tokenizer.ggml.pre", std::string("default"));
  set("tokenizer.ggml.add_space_prefix", model.add_prefix);
  set("tokenizer.ggml.remove_extra_whitespaces", model.remove_extra);
  if (!model.charsmap.empty())
    set("tokenizer.ggml.precompiled_charsmap",
        std::vector<uint8_t>(model.charsmap.begin(), model.charsmap.end()));
  const auto id_of = [&](std::string_view text, TokenType type) -> std::optional<uint32_t> {
    for (size_t id = 0; id < model.texts.size(); ++id)
      if (model.types[id] == static_cast<int32_t>(type) && (text.empty() || model.texts[id] == text))
        return static_cast<uint32_t>(id);
    return std::nullopt;
  };
  const std::pair<const char*, std::optional<uint32_t>> ids[] = {
      {"unknown", id_of("", TokenType::kUnknown)},
      {"bos", id_of(model.begin, TokenType::kControl)},
      {"eos", id_of(model.end, TokenType::kControl)},
      {"padding", id_of(model.pad, TokenType::kControl)}};
  for (const auto& [name, id] : ids)
    if (id) set(fmt::format("tokenizer.ggml.{}_token_id", name), *id);
  set("tokenizer.ggml.tokens", std::move(model.texts));
  set("tokenizer.ggml.scores", std::move(model.scores));
  set("tokenizer.ggml.token_type", std::move(model.types));
  return out;
}

}  // namespace fathom::model
