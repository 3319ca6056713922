// A language model ready to answer: loads a GGUF file, turns messages into tokens, generates, streams.
//
// Ownership: the engine owns weights, cache and tokenizer; the thread pool is the caller's and outlives it. Thread
// safety: every method may be called from any thread; generations are queued and run one after another (continuous
// batching is the scheduler's future work), and a queued one leaves the queue when its stop token says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"

namespace fathom::infer {

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
  uint64_t seed = 0;
};

struct GenerateRequest {
  std::vector<int32_t> prompt;  // token ids
  size_t max_tokens = 256;
  std::vector<std::string> stop;  // the text ends before the first of these; it is not part of it
  Sampling sampling;
};

enum class FinishReason { kStop, kLength, kCancelled };

struct GenerateResult {
  std::string text;  // all that the sink was given
  FinishReason finish = FinishReason::kStop;
  size_t prompt_tokens = 0;
  size_t cached_tokens = 0;      // of the prompt, found in the cache
  size_t completion_tokens = 0;  // without the token that ended it
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
};

struct EngineOptions {
  size_t context = 0;  // 0: what the model was trained with, at most 8192
};

/// Receives each piece of text as it is certain (never half a character, never the beginning of a stop string).
/// Returning false ends the generation (kCancelled).
using TextSink = std::function<bool(std::string_view piece)>;

class Engine {
 public:
  /// Errors: kNotFound, kIo, kCorrupt (names the place in the file), kUnsupported (names architecture or format).
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

  /// Errors: kInvalidArgument (empty prompt, token out of range, sampling out of range), kResourceExhausted (prompt longer
  /// than the context; the sentence gives both numbers).
  virtual GenerateResult generate(const GenerateRequest& request, const TextSink& sink,
                                  const std::stop_token& stop) = 0;

  /// The token that a plain text to complete begins with, where the model wants one. `tokenize_chat` has seen to it.
  virtual std::optional<int32_t> bos() const { return std::nullopt; }

  /// The logits after each of the tokens from index `first` on, [tokens.size() - first, vocabulary], computed without the
  /// cache: for tests and perplexity. Errors: as `generate`; kInvalidArgument where no token is left; kUnsupported for an
  /// engine that has none to give.
  virtual std::vector<float> logits(const std::vector<int32_t>& tokens, size_t first);
};

}  // namespace fathom::infer
