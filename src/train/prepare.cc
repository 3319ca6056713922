#include "train/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "base/work_shares.h"
#include "model/chat_template.h"
#include "train/dialogue.h"
#include "train/near_duplicates.h"

namespace fathom::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kBatchDocuments = 4096;
constexpr size_t kBatchBytes = size_t{8} << 20;
constexpr size_t kMostProblems = 20;

/// A SHA-256, as the two ends that are looked at: the first 16 bytes tell documents apart, the last 8 choose the side.
struct ContentDigest {
  std::array<uint64_t, 2> name{};
  uint64_t lot = 0;
};

struct NameHash {
  size_t operator()(const std::array<uint64_t, 2>& name) const { return name[0]; }
};

/// What threads make of a document.
struct Prepared {
  TokenDocument document;
  ContentDigest digest;
  std::optional<MinHash> near;
  size_t bytes = 0;
  bool dialogue = false;
  std::string refusal;  // empty: none
};

ContentDigest digest_of(std::string_view content) {
  Digest digest(DigestKind::kSha256);
  digest.update(content);
  const std::string hex = digest.finish();
  const auto word = [&](size_t at) { return std::stoull(hex.substr(at, 16), nullptr, 16); };
  return {{word(0), word(16)}, word(48)};
}

/// What is compared of a dialogue: who says what.
std::string content_of(const Document& document) {
  if (document.messages.is_null()) return document.text;
  std::string content;
  for (const Json& message : document.messages)
    content += fmt::format("{}: {}\n", message["role"].get_ref<const std::string&>(),
                           message["content"].get_ref<const std::string&>());
  return content;
}

/// Removes what was written unless it is kept.
class OutputFolder {
 public:
  explicit OutputFolder(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code failed;
    made_ = std::filesystem::create_directories(path_, failed);
    if (failed || !std::filesystem::is_directory(path_))
      throw Error(ErrorCode::kIo,
                  fmt::format("cannot make the folder '{}': {}", path_.string(), failed.message()));
    if (!std::filesystem::is_empty(path_))
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the folder '{}' is not empty; name a new one", path_.string()));
  }
  ~OutputFolder() {
    if (kept_) return;
    std::error_code ignored;
    for (const char* name : {"train", "held-out", "tokenizer.gguf"})
      std::filesystem::remove_all(path_ / name, ignored);
    if (made_) std::filesystem::remove(path_, ignored);
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void keep() { kept_ = true; }

 private:
  std::filesystem::path path_;
  bool made_ = false, kept_ = false;
};

model::ChatTemplate chat_template_of(const model::GgufFile& file, const model::Tokenizer& tokenizer) {
  if (const auto text = file.find_string("tokenizer.chat_template")) return model::ChatTemplate::parse(*text);
  if (tokenizer.find("<|im_start|>") && tokenizer.find("<|im_end|>")) return model::ChatTemplate::chatml();
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("'{}' has no chat template, which dialogues need", file.name()));
}

void check(const PrepareOptions& options) {
  const auto require = [](bool condition, const char* what) {
    if (!condition) throw Error(ErrorCode::kInvalidArgument, what);
  };
  require(!options.documents.inputs.empty(), "there is no input");
  require(options.held_out >= 0 && options.held_out < 1, "the share held out is from 0 % to below 100 %");
  require(options.near_duplicates >= 0 && options.near_duplicates <= 1,
          "the similarity of near-duplicates is from 0 to 1");
  require(options.max_document == 0 || options.max_document >= 8, "a document has at least 8 tokens");
}

class Preparation {
 public:
  Preparation(const TokenizerFile& file, const PrepareOptions& options)
      : options_(options),
        file_(file.file),
        tokenizer_(model::Tokenizer::from_gguf(file.file)),
        near_(options.near_duplicates),
        reader_(options.documents),
        folder_(options.out) {
    if (options.documents.dialogues) chat_.emplace(chat_template_of(file.file, tokenizer_));
    train_.emplace(writer("train"));
    if (options.held_out > 0) held_out_.emplace(writer("held-out"));
  }

  PrepareReport run(ThreadPool& pool, const std::function<void(uint64_t, uint64_t)>& progress) {
    std::vector<RawDocument> batch;
    std::vector<Prepared> prepared;
    WorkShares shares(pool.size());
    while (reader_.next(batch, kBatchDocuments, kBatchBytes, options_.stop)) {
      prepared.assign(batch.size(), {});
      shares.begin(batch.size());
      pool.run([&](size_t thread) {
        for (auto piece = shares.take(thread, 1, 64); !piece.empty(); piece = shares.take(thread, 1, 64))
          for (size_t i = piece.begin; i < piece.end; ++i) prepared[i] = prepare_one(batch[i]);
      });
      for (size_t i = 0; i < batch.size(); ++i) take(batch[i], prepared[i]);
      progress(reader_.position(), reader_.total_bytes());
    }
    return finish();
  }

 private:
  DatasetWriter writer(const char* name) {
    return {folder_.path() / name, tokenizer_.size(), options_.documents.dialogues,
            tokenizer_digest(tokenizer_)};
  }

  /// On any thread.
  Prepared prepare_one(const RawDocument& raw) const {
    Prepared out;
    try {
      const Document document = parse_document(raw, options_.documents);
      const std::string content = content_of(document);
      out.bytes = content.size();
      out.digest = digest_of(content);
      if (options_.near_duplicates > 0) out.near = min_hash(content);
      out.dialogue = !document.messages.is_null();
      const Learn learn = options_.learn_all ? Learn::kAll : Learn::kAssistant;
      out.document = out.dialogue ? encode_dialogue(tokenizer_, *chat_, document.messages, learn)
                                  : encode_text(tokenizer_, document.text);
    } catch (const Error& error) {
      out.refusal = error.what();
    }
    return out;
  }

  /// In the order of the input.
  void take(const RawDocument& raw, Prepared& prepared) {
    ++report_.documents;
    if (!prepared.refusal.empty()) return refuse(raw, prepared.refusal);
    if (options_.drop_duplicates && !seen_.insert(prepared.digest.name).second) {
      ++report_.duplicates;
      return;
    }
    if (prepared.near && !near_.add(*prepared.near)) {
      ++report_.near_duplicates;
      return;
    }
    report_.bytes += prepared.bytes;
    const bool hold_out = static_cast<double>(prepared.digest.lot >> 11) * 0x1.0p-53 < options_.held_out;
    write(hold_out ? *held_out_ : *train_, prepared);
  }

  void refuse(const RawDocument& raw, const std::string& why) {
    const std::string problem = fmt::format("{}: {}", reader_.place(raw), why);
    if (options_.strict) throw Error(ErrorCode::kInvalidArgument, problem);
    ++report_.refused;
    if (report_.problems.size() < kMostProblems) report_.problems.push_back(problem);
  }

  void write(DatasetWriter& out, const Prepared& prepared) const {
    const std::span<const int32_t> tokens(prepared.document.tokens);
    const std::span<const uint8_t> learn(prepared.document.learn);
    const size_t most = options_.max_document == 0 ? tokens.size() : options_.max_document;
    for (size_t at = 0; at < tokens.size(); at += most) {
      const size_t size = std::min(most, tokens.size() - at);
      out.add(tokens.subspan(at, size), learn.empty() ? learn : learn.subspan(at, size));
      if (prepared.dialogue) break;  // the rest of a dialogue would stand without its beginning
    }
  }

  PrepareReport finish() {
    if (report_.documents == report_.refused)
      throw Error(ErrorCode::kInvalidArgument,
                  report_.problems.empty() ? "the input holds no document"
                                           : "no document could be used; the first: " + report_.problems[0]);
    const std::string made_by = description();
    report_.train = train_->finish(made_by);
    if (held_out_) report_.held_out = held_out_->finish(made_by);
    write_tokenizer();
    folder_.keep();
    return std::move(report_);
  }

  void write_tokenizer() const {
    model::GgufWriter writer;
    for (const auto& [key, value] : file_.metadata())
      if (key.starts_with("tokenizer.") || key.starts_with("fathom.tokenizer.")) writer.set(key, value);
    writer.write(folder_.path() / "tokenizer.gguf");
  }

  /// What made the dataset, for the manifest.
  std::string description() const {
    Json inputs = Json::array();
    for (const auto& input : options_.documents.inputs) inputs.push_back(input.string());
    const Json made_by = {{"inputs", inputs},
                          {"field", options_.documents.field},
                          {"dialogues", options_.documents.dialogues},
                          {"learn_all", options_.learn_all},
                          {"drop_duplicates", options_.drop_duplicates},
                          {"near_duplicates", options_.near_duplicates},
                          {"max_document", options_.max_document},
                          {"held_out", options_.held_out},
                          {"refused", report_.refused},
                          {"duplicates_dropped", report_.duplicates},
                          {"near_duplicates_dropped", report_.near_duplicates},
                          {"bytes", report_.bytes}};
    return made_by.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  const PrepareOptions& options_;
  const model::GgufFile& file_;
  model::Tokenizer tokenizer_;
  std::optional<model::ChatTemplate> chat_;
  std::unordered_set<std::array<uint64_t, 2>, NameHash> seen_;
  NearDuplicates near_;
  DocumentReader reader_;
  OutputFolder folder_;
  std::optional<DatasetWriter> train_, held_out_;
  PrepareReport report_;
};

}  // namespace

PrepareReport prepare(const TokenizerFile& tokenizer, const PrepareOptions& options, ThreadPool& pool,
                      const std::function<void(uint64_t, uint64_t)>& progress) {
  check(options);
  return Preparation(tokenizer, options).run(pool, progress);
}

}  // namespace fathom::train
