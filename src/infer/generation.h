// One generation under way: the tokens so far, its keys and values, and how the next token is chosen from logits.
//
// A choice that takes long, because a grammar is slow, is made in pieces (`choosing`): others go on meanwhile.
//
// Belongs to the scheduler's thread but for the outbox, which its reader shares. What it says depends on its request alone:
// not on when its steps come, with what else, or how often it has to begin again.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "infer/grammar.h"
#include "infer/kv_cache.h"
#include "infer/lookup.h"
#include "infer/outbox.h"
#include "infer/sampler.h"
#include "infer/text_stream.h"
#include "model/tokenizer.h"

namespace fathom::infer {

/// What all generations of an engine share; outlives them.
struct GenerationContext {
  const model::Tokenizer& tokenizer;
  size_t context;     // tokens of prompt and answer together
  std::string model;  // its name, for errors
};

class Generation {
 public:
  /// `vocabulary`: of the request's grammar; null without one. The request has been checked.
  Generation(const GenerateRequest& request, const GrammarVocabulary* vocabulary,
             const GenerationContext& context, KvPool& pool);

  /// Prompt and answer so far. Keys and values are computed for a beginning of them.
  std::span<const int32_t> history() const { return history_; }
  /// Tokens whose keys and values are still to be computed: at least one, and one when the answer goes on. REQUIRES:
  /// !choosing().
  size_t pending() const { return history_.size() - kv_.tokens().size(); }
  KvSequence& kv() { return kv_; }
  const KvSequence& kv() const { return kv_; }
  Outbox& outbox() { return outbox_; }

  /// It has been let in: the clock of its prompt starts.
  void begin();
  /// Takes over keys and values that others have computed.
  void adopt();
  /// Tokens that may come after the last one, at most `most`, and never more than it may still say.
  std::span<const int32_t> guess(size_t most);
  /// Its keys and values are given up; what it has said stays.
  void preempt();

  /// The logits after its last token and after each of its guesses, [1 + guesses, vocabulary], which are changed: chooses
  /// tokens until one differs from the guess. At `until` it leaves off, perhaps in the middle: then it is `choosing`, has
  /// kept the logits that it needs and takes part in no step until `go_on` is through. REQUIRES: the step computed all
  /// pending tokens and the guesses.
  void advance(std::span<float> logits, size_t vocabulary, std::chrono::steady_clock::time_point until);
  bool choosing() const { return !held_.empty(); }
  /// REQUIRES: choosing().
  void go_on(size_t vocabulary, std::chrono::steady_clock::time_point until);
  /// It is over, by itself or by an error.
  bool over() const { return over_; }
  bool failed() const { return error_ != nullptr; }
  /// Leaves keys and values to be found by others (none after an error) and tells the reader. REQUIRES: over(), or the
  /// generation is cut off, which the result calls kCancelled.
  void close();
  void fail(std::exception_ptr error);

  const GenerateResult& result() const { return result_; }

 private:
  void choose_all(std::span<float> logits, size_t vocabulary, std::chrono::steady_clock::time_point until);
  bool choose(std::span<float> logits, std::chrono::steady_clock::time_point until);
  void hold(std::span<const float> logits);
  void say(int32_t token, std::optional<TokenChoice> choice);
  void finish(FinishReason reason);
  bool ends(int32_t token) const;

  const GenerationContext& context_;
  size_t most_;  // tokens of the answer
  bool ignore_end_;
  bool keep_special_;
  bool lookup_on_;
  std::optional<int> logprobs_;
  Sampler sampler_;
  std::optional<GrammarMatcher> matcher_;
  TextStream stream_;
  std::vector<int32_t> history_;
  KvSequence kv_;
  size_t reached_ = 0;  // tokens whose keys and values it had when they were given up
  PromptLookup lookup_;
  std::vector<int32_t> guess_;
  size_t accepted_ = 0;            // of them, in the choice that is made
  std::vector<float> held_;        // logits from the token after those on, while it is choosing
  std::vector<float> own_logits_;  // of the model itself, where log-probabilities are wanted
  GenerateResult result_;
  std::chrono::steady_clock::time_point begun_, answering_;
  bool began_ = false;
  bool over_ = false;
  std::exception_ptr error_;
  Outbox outbox_;
};

}  // namespace fathom::infer
