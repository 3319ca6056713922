// A language model ready to answer: loads a model file, turns messages into tokens, generates, streams.
//
// Ownership: the engine owns weights, cache and tokenizer; the thread pool is the caller's and outlives it. Thread
// safety: every method may be called from any thread; generations that run at the same time share each step of the model
// (continuous batching, infer/scheduler.h), and one that waits leaves the queue when its stop token says so. Sinks are
// called on the thread that called `generate`, so that a slow reader holds up nobody else.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/thread_pool.h"

namespace fathom::infer {

class Grammar;  // infer/grammar.h

struct ChatMessage {
  std::string role;  // system, user, assistant, tool
  std::string content;
};

/// Order of application: repetition penalty (over the last `repeat_window` tokens), temperature, top-k, top-p, min-p.
/// temperature 0 is greedy: the highest logit, the lowest id on a tie.
struct Sampling {
  float temperature = 1.0f;
  int top_k = 0;       // 0: off
  float top_p = 1.0f;  // 1: off
  float min_p = 0.0f;  // 0: off
  float repetition_penalty = 1.0f;
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  int repeat_window = 64;
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to these tokens' logits before all else
  uint64_t seed = 0;
};

/// A token as it was chosen: natural logarithms of probabilities under the model itself, before bias, penalties,
/// temperature and grammar.
struct TokenChoice {
  int32_t token = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>>
      top;  // the likeliest, at most GenerateRequest::logprobs of them, best first
};

struct GenerateRequest {
  std::vector<int32_t> prompt;  // token ids
  size_t max_tokens = 256;
  std::vector<std::string> stop;  // the text ends before the first of these; it is not part of it
  Sampling sampling;
  std::shared_ptr<const Grammar> grammar;  // what the text must be; null: anything
  std::optional<int> logprobs;             // report choices with so many alternatives, 0..20
  std::function<void(const TokenChoice&)>
      on_token;  // with `logprobs`; called before the sink gets the token's text
  std::optional<std::chrono::steady_clock::time_point> deadline;  // then it ends with kDeadlineExceeded
  bool ignore_end = false;                                        // go on to max_tokens (benchmarks)
  bool keep_special = false;  // control tokens give their text (tool calls in some models' formats)
  bool lookup =
      true;  // guess tokens by what followed the same words in the prompt; the result is the same (speculation)
};

enum class FinishReason { kStop, kLength, kCancelled };

struct GenerateResult {
  std::string text;  // all that the sink was given
  FinishReason finish = FinishReason::kStop;
  size_t prompt_tokens = 0;
  size_t cached_tokens = 0;      // of the prompt, found in the cache
  size_t completion_tokens = 0;  // without the token that ended it
  size_t guessed_tokens = 0;     // of them, taken from the prompt by lookup
  std::string stop_string;       // the one that ended it, else empty
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

struct ModelInfo {
  std::string name;          // general.name, else the file's stem
  std::string architecture;  // "llama"
  std::string quantisation;  // "Q4_1"
  uint64_t parameters = 0;
  uint64_t file_bytes = 0;
  size_t context = 0;  // tokens that a prompt and its answer may have together
  size_t vocabulary = 0;
  std::string adapter;  // the folder's name of the one that was applied (infer/adapter.h), else empty
  bool cites =
      false;  // its adapter was trained to answer from numbered posts with "[n]" marks (recipes/grounded)
};

struct EngineOptions {
  size_t context = 0;                        // 0: what the model was trained with, at most 8192
  size_t sequences = 16;                     // that share a step
  size_t waiting = 256;                      // more are refused: kResourceExhausted
  uint64_t cache_bytes = uint64_t{1} << 30;  // of keys and values, at least one full context
  bool cache_q8 = false;                     // keys and values in Q8_0 in place of F16
  std::filesystem::path adapter{};           // a LoRA adapter in PEFT's layout to apply; empty: none
  std::chrono::microseconds choice{
      4000};  // of a step for a token whose grammar is slow; more takes more steps
};

/// A conversation as the chat completions API has it.
struct ChatRequest {
  const nlohmann::ordered_json* messages = nullptr;  // array of {role, content, tool_calls, ...}
  const nlohmann::ordered_json* tools = nullptr;     // array of {type, function}; null: none
  const nlohmann::ordered_json* extra = nullptr;     // object: further template variables; null: none
};

/// The engine's counters, for metrics.
struct EngineStatus {
  size_t running = 0, waiting = 0;               // generations
  size_t cache_pages = 0, cache_pages_used = 0;  // used: by running generations or kept for later
  uint64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0,
           guessed_tokens = 0;  // since the start
};

/// Receives each piece of text as it is certain (never half a character, never the beginning of a stop string).
/// Returning false ends the generation (kCancelled).
using TextSink = std::function<bool(std::string_view piece)>;

class Engine {
 public:
  /// Errors: kNotFound, kIo, kCorrupt (names the place in the file), kUnsupported (names architecture or format); those of
  /// apply_adapter (infer/adapter.h).
  static std::unique_ptr<Engine> load(const std::filesystem::path& gguf, const EngineOptions& options,
                                      ThreadPool& pool);
  virtual ~Engine() = default;

  virtual const ModelInfo& info() const = 0;

  /// Plain text to tokens (no beginning-of-text token, special tokens in the text are not recognised).
  virtual std::vector<int32_t> tokenize(std::string_view text) const = 0;
  virtual std::string detokenize(const std::vector<int32_t>& tokens) const = 0;
  /// The conversation through the model's chat template, ready for `generate`, ending where the assistant begins.
  /// What users wrote cannot form a special token.
  virtual std::vector<int32_t> tokenize_chat(const std::vector<ChatMessage>& messages) const = 0;
  /// The same with tools and the template's other variables. Errors: as model::ChatTemplate::render.
  virtual std::vector<int32_t> apply_template(const ChatRequest& request) const;
  /// The text that a token adds to an answer, perhaps part of a character; control tokens as they are written.
  virtual std::string token_text(int32_t token) const;
  /// The text of the model's chat template; empty when it brings none.
  virtual std::string chat_template() const { return {}; }

  /// Errors: kInvalidArgument (empty prompt, token out of range, sampling out of range), kResourceExhausted (prompt longer
  /// than the context; the sentence gives both numbers; or too many wait: tell the client to come again),
  /// kDeadlineExceeded (before the first token; afterwards what there is returns with finish kLength).
  virtual GenerateResult generate(const GenerateRequest& request, const TextSink& sink,
                                  const std::stop_token& stop) = 0;

  /// The token that a plain text to complete begins with, where the model wants one. `tokenize_chat` has seen to it.
  virtual std::optional<int32_t> bos() const { return std::nullopt; }

  /// The logits after each of the tokens from index `first` on, [tokens.size() - first, vocabulary], computed without the
  /// cache: for tests and perplexity. Errors: as `generate`; kInvalidArgument where no token is left; kUnsupported for an
  /// engine that has none to give.
  virtual std::vector<float> logits(const std::vector<int32_t>& tokens, size_t first);

  virtual EngineStatus status() const { return {}; }
};

}  // namespace fathom::infer
