#include "infer/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/error.h"
#include "infer/adapter.h"
#include "infer/generation.h"
#include "infer/grammar.h"
#include "infer/kv_cache.h"
#include "infer/sampler.h"
#include "infer/scheduler.h"
#include "infer/transformer.h"
#include "infer/weights.h"
#include "model/chat_template.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace fathom::infer {
namespace {

constexpr size_t kDefaultContext = 8192;
constexpr int kMostLogprobs = 20;
/// Tokens of `logits` between two steps of the others: what these wait at most.
constexpr size_t kLogitsPiece = 64;

/// What can be described need not be something that this engine computes.
model::ModelConfig runnable(model::ModelConfig config, const std::filesystem::path& path) {
  if (!config.runs())
    throw Error(ErrorCode::kUnsupported,
                fmt::format("'{}' is a model with {}, which this build can plan for but not run",
                            path.string(), config.runs_not()));
  return config;
}

size_t choose_context(const model::ModelConfig& config, const EngineOptions& options) {
  if (options.context > config.context)
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "a context of {} tokens was asked for, but the model was trained with {}; ask for at most that",
            options.context, config.context));
  return options.context != 0 ? options.context : std::min(config.context, kDefaultContext);
}

/// As many as fit the limit, but enough for one sequence (and a copy of its last page).
size_t cache_pages(const model::ModelConfig& config, tensor::DType dtype, size_t context, uint64_t bytes) {
  return std::max<size_t>(bytes / KvPool::page_bytes(config, dtype), KvPool::pages_of(context) + 1);
}

ModelInfo describe(const model::ModelConfig& config, const model::GgufFile& file,
                   const AdaptedTensors& adapted, const std::filesystem::path& path, size_t context) {
  return {config.name.empty() ? path.stem().string() : config.name,
          config.architecture,
          model::dominant_format(file),
          config.parameters(),
          file.file_bytes(),
          context,
          config.vocab,
          adapted.name(),
          adapted.cites()};
}

AdaptedTensors adapt(const model::GgufFile& file, const EngineOptions& options,
                     const std::filesystem::path& path, ThreadPool& pool) {
  if (options.adapter.empty()) return {};
  return {runnable(model::ModelConfig::from_gguf(file), path), file, options.adapter, pool};
}

class LocalEngine final : public Engine {
 public:
  LocalEngine(const std::filesystem::path& path, const EngineOptions& options, ThreadPool& pool)
      : LocalEngine(path, model::GgufFile::open(path), options, pool) {}
  LocalEngine(const std::filesystem::path& path, const model::GgufFile& file, const EngineOptions& options,
              ThreadPool& pool)
      : LocalEngine(path, file, adapt(file, options, path, pool), options, pool) {}

  const ModelInfo& info() const override { return info_; }
  std::vector<int32_t> tokenize(std::string_view text) const override { return tokenizer_.encode(text); }
  std::string detokenize(const std::vector<int32_t>& tokens) const override {
    return tokenizer_.decode(tokens);
  }
  std::vector<int32_t> tokenize_chat(const std::vector<ChatMessage>& messages) const override;
  GenerateResult generate(const GenerateRequest& request, const TextSink& sink,
                          const std::stop_token& stop) override;
  std::optional<int32_t> bos() const override {
    return tokenizer_.add_bos() ? tokenizer_.bos() : std::nullopt;
  }
  std::vector<float> logits(const std::vector<int32_t>& tokens, size_t first) override;
  std::vector<int32_t> apply_template(const ChatRequest& request) const override;
  std::string token_text(int32_t token) const override;
  std::string chat_template() const override { return template_text_; }
  EngineStatus status() const override { return scheduler_.status(); }

 private:
  LocalEngine(const std::filesystem::path& path, const model::GgufFile& file, const AdaptedTensors& adapted,
              const EngineOptions& options, ThreadPool& pool);

  void check(const std::vector<int32_t>& tokens) const;
  void check(const GenerateRequest& request) const;
  model::ChatOptions chat_options() const;
  std::vector<int32_t> encode_chat(std::span<const model::Segment> segments) const;
  const GrammarVocabulary& grammar_vocabulary(bool special);

  model::ModelConfig config_;
  size_t context_;
  ModelInfo info_;
  model::Tokenizer tokenizer_;
  std::string template_text_;
  model::ChatTemplate template_;
  std::string bos_text_, eos_text_;
  GenerationContext generation_context_;
  // Without and with the text of control tokens; each made when first asked for.
  std::array<std::once_flag, 2> grammar_once_;
  std::array<std::unique_ptr<const GrammarVocabulary>, 2> grammar_vocabularies_;
  Weights weights_;
  tensor::DType cache_dtype_;
  // The scheduler's, and its thread's.
  Transformer transformer_;
  KvPool kv_pool_;
  Scheduler scheduler_;
};

LocalEngine::LocalEngine(const std::filesystem::path& path, const model::GgufFile& file,
                         const AdaptedTensors& adapted, const EngineOptions& options, ThreadPool& pool)
    : config_(runnable(model::ModelConfig::from_gguf(file), path)),
      context_(choose_context(config_, options)),
      info_(describe(config_, file, adapted, path, context_)),
      tokenizer_(model::Tokenizer::from_gguf(file)),
      template_text_(file.find_string("tokenizer.chat_template").value_or("")),
      template_(template_text_.empty() ? model::ChatTemplate::chatml()
                                       : model::ChatTemplate::parse(template_text_)),
      generation_context_{tokenizer_, context_, info_.name},
      weights_(config_, file, true, pool, adapted),
      cache_dtype_(options.cache_q8 ? tensor::DType::kQ8_0 : weights_.cache_dtype()),
      transformer_(config_, weights_, context_, pool),
      kv_pool_(config_, cache_dtype_, cache_pages(config_, cache_dtype_, context_, options.cache_bytes)),
      scheduler_(transformer_, kv_pool_, pool, config_.vocab,
                 {options.sequences, options.waiting, options.choice}) {
  if (tokenizer_.size() > config_.vocab)
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: the tokenizer has {} tokens, but the embedding has {} rows; the file "
                            "was put together wrongly, convert the model again",
                            path.string(), tokenizer_.size(), config_.vocab));
  if (const auto id = tokenizer_.bos()) bos_text_ = tokenizer_.text(*id);
  if (const auto id = tokenizer_.eos()) eos_text_ = tokenizer_.text(*id);
}

model::ChatOptions LocalEngine::chat_options() const {
  model::ChatOptions options;
  options.bos = bos_text_;
  options.eos = eos_text_;
  return options;
}

std::vector<int32_t> LocalEngine::encode_chat(std::span<const model::Segment> segments) const {
  auto tokens = tokenizer_.encode(segments);
  const auto first = bos();
  if (first && (tokens.empty() || tokens.front() != *first)) tokens.insert(tokens.begin(), *first);
  return tokens;
}

std::vector<int32_t> LocalEngine::tokenize_chat(const std::vector<ChatMessage>& messages) const {
  std::vector<model::ChatTurn> turns;
  for (const auto& m : messages) turns.push_back({m.role, m.content});
  return encode_chat(template_.render(turns, chat_options()));
}

std::vector<int32_t> LocalEngine::apply_template(const ChatRequest& request) const {
  if (request.messages == nullptr)
    throw Error(ErrorCode::kInvalidArgument, "a conversation needs messages; give at least one");
  auto options = chat_options();
  options.tools = request.tools;
  options.extra = request.extra;
  return encode_chat(template_.render(*request.messages, options));
}

std::string LocalEngine::token_text(int32_t token) const {
  if (token < 0 || static_cast<size_t>(token) >= tokenizer_.size()) return {};
  return std::string(tokenizer_.is_control(token) ? tokenizer_.text(token) : tokenizer_.piece(token));
}

const GrammarVocabulary& LocalEngine::grammar_vocabulary(bool special) {
  auto& vocabulary = grammar_vocabularies_[special ? 1 : 0];
  std::call_once(grammar_once_[special ? 1 : 0], [&] {
    std::vector<std::string_view> pieces(config_.vocab);
    std::vector<int32_t> ends;
    for (size_t id = 0; id < tokenizer_.size(); ++id) {
      const auto token = static_cast<int32_t>(id);
      pieces[id] = special && tokenizer_.is_control(token) ? tokenizer_.text(token) : tokenizer_.piece(token);
      if (tokenizer_.is_end(token)) ends.push_back(token);
    }
    vocabulary = std::make_unique<const GrammarVocabulary>(pieces, std::move(ends));
  });
  return *vocabulary;
}

void LocalEngine::check(const std::vector<int32_t>& tokens) const {
  if (tokens.empty())
    throw Error(ErrorCode::kInvalidArgument, "the prompt is empty; give at least one token");
  for (const int32_t id : tokens)
    if (id < 0 || static_cast<size_t>(id) >= config_.vocab)
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("token {} is not in the vocabulary of {} tokens", id, config_.vocab));
  if (tokens.size() > context_)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format(
            "the prompt has {} tokens, but the context holds {}; shorten it or start with a larger context",
            tokens.size(), context_));
}

void LocalEngine::check(const GenerateRequest& request) const {
  check(request.prompt);
  check_sampling(request.sampling, config_.vocab);
  if (request.logprobs && (*request.logprobs < 0 || *request.logprobs > kMostLogprobs))
    throw Error(ErrorCode::kInvalidArgument, fmt::format("logprobs is {}; ask for 0 to {} alternatives",
                                                         *request.logprobs, kMostLogprobs));
}

GenerateResult LocalEngine::generate(const GenerateRequest& request, const TextSink& sink,
                                     const std::stop_token& stop) {
  check(request);
  const auto generation = std::make_shared<Generation>(
      request, request.grammar ? &grammar_vocabulary(request.keep_special) : nullptr, generation_context_,
      kv_pool_);
  return scheduler_.run(generation, request, sink, stop);
}

std::vector<float> LocalEngine::logits(const std::vector<int32_t>& tokens, size_t first) {
  check(tokens);
  if (first >= tokens.size())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("logits from token {} on were asked for, but there are only {} tokens", first,
                            tokens.size()));
  std::vector<float> out((tokens.size() - first) * config_.vocab);
  KvPool pool(config_, cache_dtype_, KvPool::pages_of(tokens.size()));
  KvSequence kv(pool);
  FATHOM_CHECK(kv.reserve(tokens.size()));
  for (size_t at = 0; at < tokens.size();) {
    const bool wanted = at >= first;
    const size_t end = std::min(at + kLogitsPiece, wanted ? tokens.size() : first);
    const auto piece = std::span(tokens).subspan(at, end - at);
    const auto rows = wanted
                          ? std::span(out).subspan((at - first) * config_.vocab, piece.size() * config_.vocab)
                          : std::span<float>();
    scheduler_.exclusively([&] {
      transformer_.forward(kv, piece, wanted ? SequenceChunk::Logits::kAll : SequenceChunk::Logits::kNone,
                           rows);
    });
    at = end;
  }
  return out;
}

}  // namespace

std::vector<float> Engine::logits(const std::vector<int32_t>&, size_t) {
  throw Error(ErrorCode::kUnsupported, "this engine does not give logits");
}

std::vector<int32_t> Engine::apply_template(const ChatRequest&) const {
  throw Error(ErrorCode::kUnsupported, "this engine does not take tools");
}

std::string Engine::token_text(int32_t token) const { return detokenize({token}); }

std::unique_ptr<Engine> Engine::load(const std::filesystem::path& gguf, const EngineOptions& options,
                                     ThreadPool& pool) {
  auto engine = std::make_unique<LocalEngine>(gguf, options, pool);
#ifdef __GLIBC__
  malloc_trim(0);  // what reading the file's tables took
#endif
  return engine;
}

}  // namespace fathom::infer
