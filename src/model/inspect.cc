#include "model/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "model/chat_template.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/hugging_face.h"
#include "model/safetensors.h"
#include "model/tokenizer.h"

namespace fathom::model {
namespace {

namespace fs = std::filesystem;

constexpr size_t kShownText = 72;
constexpr size_t kShownElements = 4;
constexpr size_t kMostConfig = size_t{16} << 20;

/// On one line, without bytes that would confuse a terminal.
std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : sanitize_utf8(text.substr(0, kShownText))) {
    if (c == '\n')
      out += "\\n";
    else if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f')
      out += ' ';
    else
      out += c;
  }
  return text.size() > kShownText ? out + fmt::format("... ({} bytes)", text.size()) : out;
}

template <class Values, class Show>
std::string list_of(const Values& values, Show show) {
  std::string out = fmt::format("[{}]", values.size());
  for (size_t i = 0; i < std::min(values.size(), kShownElements); ++i) out += " " + show(values[i]);
  return values.size() > kShownElements ? out + " ..." : out;
}

std::string array_text(const GgufFile& file, std::string_view key, const GgufEntry& entry) {
  switch (entry.element) {
    case GgufType::kString:
      return list_of(*file.find_strings(key),
                     [](std::string_view text) { return "'" + one_line(text.substr(0, 24)) + "'"; });
    case GgufType::kFloat32:
    case GgufType::kFloat64:
      return list_of(*file.find_floats(key), [](float value) { return fmt::format("{:g}", value); });
    case GgufType::kBool:
    case GgufType::kArray: return fmt::format("[{}]", entry.count);
    default: return list_of(*file.find_ints(key), [](int64_t value) { return fmt::format("{}", value); });
  }
}

std::string value_text(const GgufFile& file, std::string_view key, const GgufEntry& entry) {
  try {
    switch (entry.type) {
      case GgufType::kString: return one_line(*file.find_string(key));
      case GgufType::kBool: return *file.find_bool(key) ? "true" : "false";
      case GgufType::kFloat32:
      case GgufType::kFloat64: return fmt::format("{:.7g}", *file.find_float(key));
      case GgufType::kArray: return array_text(file, key, entry);
      case GgufType::kUint64: return fmt::format("{}", *file.find_uint(key));
      default: return fmt::format("{}", *file.find_int(key));
    }
  } catch (const Error&) {  // an u64 past 2^63 in an array
    return "?";
  }
}

/// Reads what is there; what is of another kind than it should be counts as absent.
template <class Read>
auto read_or(Read read, decltype(read()) otherwise) {
  try {
    return read();
  } catch (const Error&) {
    return otherwise;
  }
}

void add_tensor(Inspection& out, InspectedTensor tensor, uint64_t elements) {
  FormatShare& share = out.formats[tensor.format];
  ++share.tensors;
  share.elements += elements;
  share.bytes += tensor.bytes;
  if (!tensor.name.starts_with("rope_")) out.parameters += elements;
  out.tensors.push_back(std::move(tensor));
}

void describe_metadata(const GgufFile& file, Inspection& out) {
  for (const auto& [key, entry] : file.metadata()) {
    const std::string type = entry.type == GgufType::kArray
                                 ? fmt::format("array of {}", to_string(entry.element))
                                 : std::string(to_string(entry.type));
    out.metadata.push_back({one_line(key), type, value_text(file, key, entry)});
  }
  const auto text = [&](std::string_view key) {
    return std::string(read_or([&] { return file.find_string(key).value_or(""); }, std::string_view()));
  };
  out.name = text("general.name");
  out.architecture = text("general.architecture");
  out.chat_template = !text("tokenizer.chat_template").empty();
  out.tokenizer = text("tokenizer.ggml.model");
  if (const std::string pre = text("tokenizer.ggml.pre"); !pre.empty()) out.tokenizer += " (" + pre + ")";
  if (const auto tokens = file.metadata().find("tokenizer.ggml.tokens"); tokens != file.metadata().end())
    out.vocabulary = tokens->second.count;
  for (const char* suffix : {"block_count", "embedding_length", "feed_forward_length", "attention.head_count",
                             "attention.head_count_kv", "attention.key_length", "context_length",
                             "expert_count", "expert_used_count", "attention.sliding_window"}) {
    const std::string key = fmt::format("{}.{}", out.architecture, suffix);
    if (const auto value = read_or([&] { return file.find_uint(key); }, std::optional<uint64_t>()))
      out.sizes.emplace_back(suffix, *value);
  }
  const auto context = std::find_if(out.sizes.begin(), out.sizes.end(),
                                    [](const auto& size) { return size.first == "context_length"; });
  if (context != out.sizes.end()) out.context = context->second;
}

/// Empty when the parts of the file that serving needs can be read; else why not.
std::string problem_of(const std::function<void()>& read) {
  try {
    read();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void judge(const GgufFile& file, Inspection& out) {
  const bool embeds = out.architecture == "bert";
  std::optional<ModelConfig> config;
  out.problem = problem_of([&] {
    if (!embeds) config = ModelConfig::from_gguf(file);
  });
  if (config) {
    out.bytes_per_token = bytes_read_per_token(*config, file);
    out.active_parameters = config->active_parameters();
    if (config->kv_dim() > 0) out.kv_bytes_per_token = config->kv_bytes_per_token(tensor::DType::kF16);
    out.vocabulary = config->vocab;
  }
  if (out.problem.empty()) out.problem = problem_of([&] { (void)Tokenizer::from_gguf(file); });
  if (out.problem.empty() && out.chat_template && !embeds)
    out.problem =
        problem_of([&] { (void)ChatTemplate::parse(*file.find_string("tokenizer.chat_template")); });
  if (out.problem.empty()) out.serves = embeds ? "embeddings" : "text";
}

Inspection inspect_gguf(const fs::path& path, const GgufFile& file, std::string container) {
  Inspection out;
  out.path = path;
  out.container = std::move(container);
  out.file_bytes = file.file_bytes();
  describe_metadata(file, out);
  for (const GgufTensor& tensor : file.tensors())
    add_tensor(out,
               {one_line(tensor.name), tensor.shape, gguf_tensor_type_name(tensor.type_id),
                static_cast<uint64_t>(tensor.data.size())},
               tensor.elements);
  out.quantisation = dominant_format(file);
  judge(file, out);
  return out;
}

void set_dominant(Inspection& out) {
  const auto most =
      std::max_element(out.formats.begin(), out.formats.end(),
                       [](const auto& a, const auto& b) { return a.second.elements < b.second.elements; });
  if (most != out.formats.end()) out.quantisation = most->first;
}

/// Safetensors that cannot be read as a model: their list, and why.
Inspection inspect_safetensors(const fs::path& path, const SafetensorsFile& file, std::string problem) {
  Inspection out;
  out.path = path;
  out.container = fs::is_directory(path) ? "Hugging Face folder" : "safetensors";
  out.file_bytes = file.file_bytes();
  out.problem = std::move(problem);
  for (const auto& [key, value] : file.metadata())
    out.metadata.push_back({one_line(key), "string", one_line(value)});
  for (const SafetensorsTensor& tensor : file.tensors()) {
    std::vector<uint64_t> shape(tensor.shape.rbegin(), tensor.shape.rend());
    add_tensor(out, {one_line(tensor.name), shape, std::string(tensor.format), tensor.data.size()},
               tensor.elements);
  }
  set_dominant(out);
  return out;
}

void add_class(const fs::path& folder, Inspection& out) {
  const auto config = nlohmann::json::parse(read_file(folder / "config.json", kMostConfig), nullptr, false);
  if (!config.is_object()) return;
  const auto names = config.find("architectures");
  if (names != config.end() && names->is_array() && !names->empty() && (*names)[0].is_string())
    out.architecture = one_line((*names)[0].get<std::string>());
}

Inspection inspect_folder(const fs::path& path) {
  try {
    return inspect_gguf(path, GgufFile::open(path, GgufContents::kDescription), "Hugging Face folder");
  } catch (const Error& error) {
    if (!is_hugging_face_folder(path)) throw;
    Inspection out = inspect_safetensors(path, SafetensorsFile::open_folder(path), error.what());
    add_class(path, out);
    return out;
  }
}

bool begins_with_magic(const fs::path& path) {
  const MappedFile file(path);
  return file.bytes().size() >= 4 && std::memcmp(file.bytes().data(), "GGUF", 4) == 0;
}

bool is_later_part(const fs::path& path) {
  const std::string name = path.stem().string();
  const size_t of = name.rfind("-of-");
  return of != std::string::npos && of >= 6 && name.size() == of + 9 && name[of - 6] == '-' &&
         name.substr(of - 5, 5) != "00001";
}

/// The other parts of "NAME-00001-of-00003.gguf" are there too.
bool has_all_parts(const fs::path& path) {
  const std::string name = path.stem().string();
  const size_t of = name.rfind("-of-");
  constexpr std::string_view kFirst = "-00001";
  if (of == std::string::npos || name.size() != of + 9 || of < kFirst.size() ||
      name.compare(of - kFirst.size(), kFirst.size(), kFirst) != 0)
    return true;
  const std::string count = name.substr(of + 4);
  if (count.find_first_not_of("0123456789") != std::string::npos) return true;
  std::error_code closed;
  for (int i = 2; i <= std::stoi(count); ++i) {
    const std::string part =
        fmt::format("{}-{:05}{}.gguf", name.substr(0, of - kFirst.size()), i, name.substr(of));
    if (!fs::exists(path.parent_path() / part, closed)) return false;
  }
  return true;
}

bool is_complete_model(const fs::directory_entry& entry) {
  std::error_code closed;
  if (entry.is_directory(closed))
    return is_hugging_face_folder(entry.path()) && !fs::exists(entry.path() / kUnfinished, closed);
  return entry.path().extension() == ".gguf" && !is_later_part(entry.path()) && has_all_parts(entry.path());
}

}  // namespace

Inspection inspect(const fs::path& path) {
  if (fs::is_directory(path)) return inspect_folder(path);
  if (path.extension() == ".safetensors" && !begins_with_magic(path))
    return inspect_safetensors(
        path, SafetensorsFile::open(path),
        "a safetensors file alone has no configuration; name the folder that it belongs to");
  const GgufFile file = GgufFile::open(path);
  std::string container = fmt::format("GGUF {}", file.version());
  if (file.parts() > 1) container += fmt::format(" in {} parts", file.parts());
  return inspect_gguf(path, file, std::move(container));
}

std::vector<fs::path> find_model_files(const fs::path& folder) {
  // Times are asked for once: a file that changes while it is sorted would leave no order at all.
  std::vector<std::pair<fs::file_time_type, fs::path>> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (is_complete_model(entry))
      found.emplace_back(fs::last_write_time(entry.path(), ignored), entry.path());
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::vector<fs::path> paths;
  for (auto& [changed, path] : found) paths.push_back(std::move(path));
  return paths;
}

}  // namespace fathom::model
