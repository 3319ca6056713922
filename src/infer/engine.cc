#include "infer/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "base/error.h"
#include "infer/kv_cache.h"
#include "infer/sampler.h"
#include "infer/text_stream.h"
#include "infer/transformer.h"
#include "infer/turnstile.h"
#include "infer/weights.h"
#include "model/chat_template.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "tensor/ops.h"

namespace fathom::infer {
namespace {

constexpr size_t kDefaultContext = 8192;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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

model::ChatTemplate load_template(const model::GgufFile& file) {
  const auto text = file.find_string("tokenizer.chat_template");
  return text ? model::ChatTemplate::parse(*text) : model::ChatTemplate::chatml();
}

ModelInfo describe(const model::ModelConfig& config, const model::GgufFile& file,
                   const std::filesystem::path& path, size_t context) {
  return {config.name.empty() ? path.stem().string() : config.name,
          config.architecture,
          model::dominant_format(file),
          config.parameters(),
          file.file_bytes(),
          context,
          config.vocab};
}

class LocalEngine final : public Engine {
 public:
  LocalEngine(const std::filesystem::path& path, const EngineOptions& options, ThreadPool& pool)
      : LocalEngine(path, model::GgufFile::open(path), options, pool) {}

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

 private:
  /// One generation under way.
  struct Run {
    const GenerateRequest& request;
    const TextSink& sink;
    const std::stop_token& stop;
    GenerateResult result;
    TextStream stream;

    /// Hands text to the sink; false when it wants no more.
    bool emit(std::string piece) {
      if (piece.empty()) return true;
      result.text += piece;
      return !sink || sink(piece);
    }
  };

  LocalEngine(const std::filesystem::path& path, const model::GgufFile& file, const EngineOptions& options,
              ThreadPool& pool);

  void check(const std::vector<int32_t>& tokens) const;
  bool prefill(KvSequence& kv, Run& run);
  FinishReason decode(KvSequence& kv, Run& run);
  void step(KvSequence& kv, std::span<const int32_t> tokens, SequenceChunk::Logits wanted,
            std::span<float> logits);
  void require_finite(std::span<const float> logits) const;

  model::ModelConfig config_;
  size_t context_;
  ModelInfo info_;
  model::Tokenizer tokenizer_;
  model::ChatTemplate template_;
  std::string bos_text_, eos_text_;
  Weights weights_;
  Turnstile turnstile_;

  // Touched only by whoever has the turn.
  Transformer transformer_;
  KvPool kv_pool_;
  std::vector<float> logits_;
};

LocalEngine::LocalEngine(const std::filesystem::path& path, const model::GgufFile& file,
                         const EngineOptions& options, ThreadPool& pool)
    : config_(model::ModelConfig::from_gguf(file)),
      context_(choose_context(config_, options)),
      info_(describe(config_, file, path, context_)),
      tokenizer_(model::Tokenizer::from_gguf(file)),
      template_(load_template(file)),
      weights_(config_, file, true, pool),
      transformer_(config_, weights_, context_, pool),
      kv_pool_(config_, weights_.cache_dtype(),
               std::max<size_t>(options.cache_bytes / KvPool::page_bytes(config_, weights_.cache_dtype()),
                                KvPool::pages_of(context_))),
      logits_(config_.vocab) {
  if (tokenizer_.size() > config_.vocab)
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: the tokenizer has {} tokens, but the embedding has {} rows; the file "
                            "was put together wrongly, convert the model again",
                            path.string(), tokenizer_.size(), config_.vocab));
  if (const auto id = tokenizer_.bos()) bos_text_ = tokenizer_.text(*id);
  if (const auto id = tokenizer_.eos()) eos_text_ = tokenizer_.text(*id);
}

std::vector<int32_t> LocalEngine::tokenize_chat(const std::vector<ChatMessage>& messages) const {
  std::vector<model::ChatTurn> turns;
  for (const auto& m : messages) turns.push_back({m.role, m.content});
  model::ChatOptions options;
  options.bos = bos_text_;
  options.eos = eos_text_;
  const auto segments = template_.render(turns, options);
  auto tokens = tokenizer_.encode(segments);
  const auto first = bos();
  if (first && (tokens.empty() || tokens.front() != *first)) tokens.insert(tokens.begin(), *first);
  return tokens;
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

void LocalEngine::require_finite(std::span<const float> logits) const {
  if (tensor::all_finite(logits.data(), logits.size())) return;
  throw Error(
      ErrorCode::kCorrupt,
      fmt::format(
          "{}: the model computed numbers that are not finite; its weights are damaged, get the file again",
          info_.name));
}

void LocalEngine::step(KvSequence& kv, std::span<const int32_t> tokens, SequenceChunk::Logits wanted,
                       std::span<float> logits) {
  FATHOM_CHECK(kv.reserve(kv.tokens().size() + tokens.size()));
  transformer_.forward(kv, tokens, wanted, logits);
}

/// Computes what the cache does not hold of the prompt; false when stopped.
bool LocalEngine::prefill(KvSequence& kv, Run& run) {
  const std::span<const int32_t> prompt = run.request.prompt;
  run.result.cached_tokens = kv.adopt(prompt.first(prompt.size() - 1));
  for (size_t at = kv.tokens().size(); at < prompt.size();) {
    if (run.stop.stop_requested()) return false;
    const size_t n = std::min(Transformer::kChunk, prompt.size() - at);
    const bool last = at + n == prompt.size();
    step(kv, prompt.subspan(at, n), last ? SequenceChunk::Logits::kLast : SequenceChunk::Logits::kNone,
         last ? std::span(logits_) : std::span<float>());
    at += n;
  }
  return true;
}

FinishReason LocalEngine::decode(KvSequence& kv, Run& run) {
  Sampler sampler(run.request.sampling);
  std::vector<int32_t> history = run.request.prompt;
  const size_t room = context_ - history.size();
  const size_t most = std::min(run.request.max_tokens, room);
  while (run.result.completion_tokens < most) {
    if (run.stop.stop_requested()) return FinishReason::kCancelled;
    require_finite(logits_);
    const int32_t token = sampler.sample(logits_, history);
    if (tokenizer_.is_end(token)) return FinishReason::kStop;
    ++run.result.completion_tokens;
    history.push_back(token);
    if (static_cast<size_t>(token) < tokenizer_.size() && !run.emit(run.stream.push(tokenizer_.piece(token))))
      return FinishReason::kCancelled;
    if (run.stream.stopped()) return FinishReason::kStop;
    if (run.result.completion_tokens < most)
      step(kv, std::span(&token, 1), SequenceChunk::Logits::kLast, logits_);
  }
  return FinishReason::kLength;
}

GenerateResult LocalEngine::generate(const GenerateRequest& request, const TextSink& sink,
                                     const std::stop_token& stop) {
  check(request.prompt);
  check_sampling(request.sampling);
  Run run{request, sink, stop, {}, TextStream(request.stop)};
  run.result.prompt_tokens = request.prompt.size();
  run.result.finish = FinishReason::kCancelled;
  const auto turn = turnstile_.enter(stop);
  if (!turn) return run.result;

  auto start = std::chrono::steady_clock::now();
  KvSequence kv(kv_pool_);
  const bool complete = prefill(kv, run);
  run.result.prefill_seconds = seconds_since(start);
  if (!complete) return run.result;

  start = std::chrono::steady_clock::now();
  run.result.finish = decode(kv, run);
  if (run.result.finish != FinishReason::kCancelled && !run.emit(run.stream.finish()))
    run.result.finish = FinishReason::kCancelled;
  run.result.decode_seconds = seconds_since(start);
  return run.result;
}

std::vector<float> LocalEngine::logits(const std::vector<int32_t>& tokens, size_t first) {
  check(tokens);
  if (first >= tokens.size())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("logits from token {} on were asked for, but there are only {} tokens", first,
                            tokens.size()));
  const auto turn = turnstile_.enter({});
  KvPool pool(config_, weights_.cache_dtype(), KvPool::pages_of(tokens.size()));
  KvSequence kv(pool);
  FATHOM_CHECK(kv.reserve(tokens.size()));
  std::vector<float> out((tokens.size() - first) * config_.vocab);
  for (size_t at = 0; at < tokens.size();) {
    const size_t end = std::min(at + Transformer::kChunk, at < first ? first : tokens.size());
    const auto chunk = std::span(tokens).subspan(at, end - at);
    std::span<float> wanted;
    if (at >= first)
      wanted = std::span(out).subspan((at - first) * config_.vocab, chunk.size() * config_.vocab);
    transformer_.forward(kv, chunk,
                         wanted.empty() ? SequenceChunk::Logits::kNone : SequenceChunk::Logits::kAll, wanted);
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
  return std::make_unique<LocalEngine>(gguf, options, pool);
}

}  // namespace fathom::infer
