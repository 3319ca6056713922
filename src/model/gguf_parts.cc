// GgufFile::open, and files in parts (llama.cpp's gguf-split): every part is a GGUF file of its own, named
// NAME-00001-of-00003.gguf, with the keys split.no (from 0), split.count and split.tensors.count; only the first has the
// model's metadata.
#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "model/gguf.h"
#include "model/hugging_face.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

constexpr uint64_t kMaxParts = 65535;  // split.count is an u16
constexpr size_t kDigits = 5;

uint64_t part_count(const GgufFile& file) { return file.find_uint("split.count").value_or(1); }

/// "NAME" of NAME-00002-of-00003.gguf, when the name counts that many parts.
std::optional<std::string> stem_of_parts(const std::filesystem::path& path, uint64_t count) {
  const std::string name = path.filename().string();
  const std::string tail = fmt::format("-of-{:05}.gguf", count);
  if (!name.ends_with(tail) || name.size() < tail.size() + kDigits + 2) return std::nullopt;
  const std::string head = name.substr(0, name.size() - tail.size());
  const std::string digits = head.substr(head.size() - kDigits);
  const bool numbered = digits.find_first_not_of("0123456789") == std::string::npos;
  if (!numbered || head[head.size() - kDigits - 1] != '-') return std::nullopt;
  return head.substr(0, head.size() - kDigits - 1);
}

std::vector<std::filesystem::path> part_paths(const std::filesystem::path& path, uint64_t count) {
  if (count > kMaxParts)
    throw Error(ErrorCode::kCorrupt,
                fmt::format("'{}' says that it is one of {} parts; download it again", path.string(), count));
  const auto stem = stem_of_parts(path, count);
  if (!stem)
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("'{}' is one of {} parts of a model, and its name does not tell the others'; name "
                    "them all as NAME-00001-of-{:05}.gguf",
                    path.string(), count, count));
  std::vector<std::filesystem::path> paths;
  for (uint64_t i = 1; i <= count; ++i) {
    paths.push_back(path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", *stem, i, count));
    if (!std::filesystem::exists(paths.back()))
      throw Error(ErrorCode::kNotFound,
                  fmt::format("'{}' is missing: the model is in {} parts; put all of them beside '{}'",
                              paths.back().string(), count, path.string()));
  }
  return paths;
}

[[noreturn]] void not_together(const std::string& name, const std::string& what) {
  throw Error(
      ErrorCode::kCorrupt,
      fmt::format("the parts of '{}' do not belong together: {}; download all of them again", name, what));
}

}  // namespace

void GgufFile::join(GgufFile part, uint64_t index, uint64_t count) {
  const uint64_t number = part.find_uint("split.no").value_or(0);
  if (part_count(part) != count || number != index)
    not_together(name_, fmt::format("'{}' is number {} of {}, not {} of {}", part.name_, number + 1,
                                    part_count(part), index + 1, count));
  if (index == 0) return;
  file_bytes_ += part.file_bytes_;
  ++parts_;
  for (GgufTensor& tensor : part.tensors_) {
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second)
      not_together(name_, fmt::format("more than one has the tensor '{}'", shown(tensor.name)));
    tensors_.push_back(std::move(tensor));
  }
}

void GgufFile::check_tensor_count() const {
  const auto said = find_uint("split.tensors.count");
  if (said && *said != tensors_.size())
    not_together(name_, fmt::format("they hold {} tensors of {}", tensors_.size(), *said));
}

GgufFile GgufFile::parse_parts(std::span<const std::span<const std::byte>> parts, std::string name) {
  FATHOM_CHECK(!parts.empty(), "a file has at least one part");
  GgufFile file = parse(parts[0], std::move(name));
  for (size_t i = 0; i < parts.size(); ++i)
    file.join(parse(parts[i], fmt::format("part {} of {}", i + 1, file.name_)), i, parts.size());
  file.check_tensor_count();
  return file;
}

GgufFile GgufFile::open(const std::filesystem::path& path, GgufContents contents) {
  if (std::filesystem::is_directory(path)) return open_hugging_face(path, contents);
  auto map = std::make_shared<MappedFile>(path);
  GgufFile file = parse(map->bytes(), path.string());
  const uint64_t count = part_count(file);
  if (count <= 1) {
    file.backing_ = std::move(map);
    return file;
  }
  auto maps = std::make_shared<std::vector<MappedFile>>();
  std::vector<std::span<const std::byte>> parts;
  for (const auto& part : part_paths(path, count)) {
    maps->emplace_back(part);
    parts.push_back(maps->back().bytes());
  }
  file = parse_parts(parts, path.string());
  file.backing_ = std::move(maps);
  return file;
}

}  // namespace fathom::model
