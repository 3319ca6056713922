#include "train/tokenizer_file.h"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "model/hugging_face.h"
#include "model/tokenizer_json.h"

namespace fathom::train {
namespace {

constexpr size_t kMostBytes = size_t{512} << 20;

std::string read_if_there(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? read_file(path, kMostBytes) : std::string();
}

TokenizerFile from_metadata(const model::TokenizerMetadata& metadata, const std::filesystem::path& path) {
  model::GgufWriter writer;
  for (const auto& [key, value] : metadata) writer.set(key, value);
  auto bytes = std::make_unique<const std::string>(writer.serialise());
  auto file = model::GgufFile::parse(std::as_bytes(std::span(*bytes)), path.string());
  return {std::move(bytes), std::move(file)};
}

TokenizerFile from_json(const std::filesystem::path& path) {
  const auto config = read_if_there(path.parent_path() / "tokenizer_config.json");
  return from_metadata(model::tokenizer_metadata(read_file(path, kMostBytes), config), path);
}

TokenizerFile from_sentence_piece(const std::filesystem::path& path) {
  return from_metadata(model::sentence_piece_metadata(read_file(path, kMostBytes)), path);
}

}  // namespace

TokenizerFile open_tokenizer(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path) && !model::is_hugging_face_folder(path)) {
    for (const char* name : {"tokenizer.gguf", "tokenizer.json", "tokenizer.model"})
      if (std::filesystem::exists(path / name)) return open_tokenizer(path / name);
    throw Error(ErrorCode::kNotFound,
                fmt::format("the folder '{}' holds no tokenizer.gguf, tokenizer.json or tokenizer.model",
                            path.string()));
  }
  if (path.extension() == ".json") return from_json(path);
  if (path.extension() == ".model") return from_sentence_piece(path);
  return {nullptr, model::GgufFile::open(path, model::GgufContents::kDescription)};
}

std::string tokenizer_digest(const model::Tokenizer& tokenizer) {
  Digest digest(DigestKind::kSha256);
  for (size_t i = 0; i < tokenizer.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string_view text = tokenizer.text(id);
    digest.update(fmt::format("{} {}\n", tokenizer.is_control(id) ? 'c' : 'n', text.size()));
    digest.update(text);
  }
  return digest.finish();
}

}  // namespace fathom::train
