#include "train/documents.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace fathom::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 32;             // of JSON
constexpr size_t kMostMembers = 20'000;  // of the objects within one line

/// The extension that tells the format: that before ".zst".
std::string format_extension(const std::filesystem::path& path) {
  return to_lower_ascii((path.extension() == ".zst" ? path.stem() : path).extension().string());
}

bool is_json_name(const std::filesystem::path& path) {
  const std::string extension = format_extension(path);
  return extension == ".jsonl" || extension == ".ndjson" || extension == ".json";
}

bool is_read_from_folders(const std::filesystem::path& path) {
  const std::string extension = format_extension(path);
  return extension == ".jsonl" || extension == ".ndjson" || extension == ".txt" || extension == ".md";
}

std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder) {
  std::error_code failed;
  std::vector<std::filesystem::path> files;
  for (std::filesystem::recursive_directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed))
    if (entry->is_regular_file() && is_read_from_folders(entry->path())) files.push_back(entry->path());
  if (failed)
    throw Error(ErrorCode::kIo,
                fmt::format("the folder '{}' cannot be read: {}", folder.string(), failed.message()));
  if (files.empty())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the folder '{}' has no file that ends in .jsonl, .ndjson, .txt or .md (with or "
                            "without .zst)",
                            folder.string()));
  std::sort(files.begin(), files.end());
  return files;
}

[[noreturn]] void refuse(std::string_view what) { throw Error(ErrorCode::kCorrupt, std::string(what)); }

/// Only the members that are used are kept, and nothing nests deep.
Json parse_line(const RawDocument& raw, const DocumentOptions& options) {
  const auto wanted = [&](const std::string& key) {
    return key == options.field || (options.dialogues && (key == "messages" || key == options.prompt_field ||
                                                          key == options.answer_field));
  };
  size_t members = 0;
  const auto keep = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepest) refuse("its JSON is nested too deep");
    // Members are looked up one after another: too many in one object would take hours.
    if (depth > 1 && event == Json::parse_event_t::key && ++members > kMostMembers)
      refuse("its JSON has too many members");
    return depth != 1 || event != Json::parse_event_t::key || wanted(value.get_ref<const std::string&>());
  };
  try {
    Json json = Json::parse(raw.bytes, keep);
    if (!json.is_object()) refuse("it is not a JSON object");
    return json;
  } catch (const Json::exception&) {
    refuse("it is not JSON");
  }
}

bool is_text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string();
}

Json checked_messages(Json messages) {
  if (!messages.is_array() || messages.empty()) refuse("\"messages\" is no list of messages");
  for (const Json& message : messages)
    if (!message.is_object() || !is_text(message, "role") || !is_text(message, "content"))
      refuse("a message has no \"role\" and \"content\" that are texts");
  return messages;
}

/// The first of several answers is taken.
const std::string* text_or_first(const Json& value) {
  const Json& text = value.is_array() && !value.empty() ? value.front() : value;
  return text.is_string() ? &text.get_ref<const std::string&>() : nullptr;
}

Json question_and_answer(const std::string& prompt, const std::string& answer) {
  return Json::array({{{"role", "user"}, {"content", prompt}}, {{"role", "assistant"}, {"content", answer}}});
}

bool has_nul(const Document& document) {
  if (document.text.find('\0') != std::string::npos) return true;
  return std::any_of(document.messages.begin(), document.messages.end(), [](const Json& message) {
    return message["content"].get_ref<const std::string&>().find('\0') != std::string::npos;
  });
}

Document from_json(const RawDocument& raw, const DocumentOptions& options) {
  Json json = parse_line(raw, options);
  if (options.dialogues) {
    if (const auto messages = json.find("messages"); messages != json.end())
      return {"", checked_messages(std::move(*messages))};
    const auto prompt = json.find(options.prompt_field), answer = json.find(options.answer_field);
    if (prompt != json.end() && answer != json.end()) {
      const std::string* text = text_or_first(*answer);
      if (!prompt->is_string() || text == nullptr) refuse("its prompt and answer are no texts");
      return {"", question_and_answer(prompt->get_ref<const std::string&>(), *text)};
    }
  }
  if (!is_text(json, options.field.c_str()))
    refuse(fmt::format("it has no text \"{}\"{}", options.field,
                       options.dialogues ? ", no \"messages\", and no prompt with an answer" : ""));
  return {std::move(json[options.field].get_ref<std::string&>()), nullptr};
}

}  // namespace

DocumentReader::DocumentReader(const DocumentOptions& options) : options_(options) {
  for (const auto& input : options.inputs) {
    if (std::filesystem::is_directory(input))
      for (const auto& file : files_below(input)) add(file);
    else
      add(input);
  }
}

void DocumentReader::add(const std::filesystem::path& path) {
  if (path != "-" && !std::filesystem::exists(path))
    throw Error(ErrorCode::kNotFound, fmt::format("there is no file '{}'", path.string()));
  std::error_code unknown;  // of a pipe
  const uint64_t size = std::filesystem::file_size(path, unknown);
  if (!unknown) total_ += size;
  files_.push_back(path);
}

bool DocumentReader::is_json(const std::filesystem::path& path) const {
  return options_.format == InputFormat::kByName ? is_json_name(path)
                                                 : options_.format == InputFormat::kNdjson;
}

std::string DocumentReader::place(const RawDocument& document) const {
  return fmt::format("{}:{}", files_[document.file].string(), document.line);
}

uint64_t DocumentReader::position() const { return before_ + (lines_ == nullptr ? 0 : lines_->position()); }

bool DocumentReader::next(std::vector<RawDocument>& batch, size_t most, size_t bytes,
                          const std::stop_token& stop) {
  batch.clear();
  for (size_t taken = 0; batch.size() < most && taken < bytes;) {
    RawDocument document;
    if (!next(document, stop)) break;
    taken += document.bytes.size();
    batch.push_back(std::move(document));
  }
  return !batch.empty();
}

bool DocumentReader::next(RawDocument& document, const std::stop_token& stop) {
  while (file_ < files_.size()) {
    if (lines_ == nullptr) lines_ = std::make_unique<LineReader>(files_[file_].string(), kLongestDocument);
    document.file = file_;
    document.json = is_json(files_[file_]);
    if (next_text(document, stop)) return true;
    before_ += lines_->position();
    lines_.reset();
    ++file_;
  }
  return false;
}

/// A line, or as many as make up a document; false at the end of the file.
bool DocumentReader::next_text(RawDocument& document, const std::stop_token& stop) {
  const bool whole = !document.json && !options_.lines;
  if (too_long_ != 0) {
    document.line = std::exchange(too_long_, 0);
    return document.too_long = true;
  }
  for (;;) {
    const auto result = lines_->next(line_, stop);
    if (result == LineReader::Result::kStopped) throw Error(ErrorCode::kCancelled, "stopped");
    if (result == LineReader::Result::kEnd) return !document.bytes.empty();
    document.too_long = result == LineReader::Result::kTooLong;
    if (document.too_long && !document.bytes.empty()) {
      too_long_ = lines_->number();
      document.too_long = false;
      return true;
    }
    if (document.bytes.empty() || document.too_long) document.line = lines_->number();
    if (document.too_long) return true;
    if (!whole) {
      if (line_.empty()) continue;
      document.bytes = std::move(line_);
      return true;
    }
    document.bytes += line_;
    document.bytes += '\n';
    if (document.bytes.size() >= kLongestText) return true;
  }
}

Document parse_document(const RawDocument& raw, const DocumentOptions& options) {
  if (raw.too_long) refuse(fmt::format("it is longer than {} MiB", kLongestDocument >> 20));
  Document document = raw.json ? from_json(raw, options) : Document{raw.bytes, nullptr};
  if (!raw.json && !is_valid_utf8(document.text)) refuse("it is not UTF-8");
  if (has_nul(document)) refuse("it has a NUL character");
  if (document.messages.is_null() && trim(document.text).empty()) refuse("it is empty");
  return document;
}

}  // namespace fathom::train
