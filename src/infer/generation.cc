#include "infer/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "tensor/ops.h"

namespace fathom::infer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Generation::Generation(const GenerateRequest& request, const GrammarVocabulary* vocabulary,
                       const GenerationContext& context, KvPool& pool)
    : context_(context),
      most_(std::min(request.max_tokens, context.context - request.prompt.size())),
      ignore_end_(request.ignore_end),
      keep_special_(request.keep_special),
      lookup_on_(request.lookup),
      logprobs_(request.logprobs),
      sampler_(request.sampling),
      stream_(request.stop),
      history_(request.prompt),
      kv_(pool) {
  if (request.grammar) matcher_.emplace(request.grammar, *vocabulary);
  history_.reserve(request.prompt.size() + std::min<size_t>(most_, 1024));
  result_.prompt_tokens = request.prompt.size();
  result_.finish = FinishReason::kCancelled;
  outbox_.note(result_);
}

void Generation::begin() {
  if (!std::exchange(began_, true)) begun_ = Clock::now();
  adopt();
}

void Generation::adopt() {
  // The last token is always computed: its logits are wanted.
  const size_t before = std::max(reached_, kv_.tokens().size());
  kv_.adopt(history().first(history_.size() - 1));
  // What it finds again of its own has been counted, or was computed for it.
  if (result_.completion_tokens > 0 || kv_.tokens().size() <= before) return;
  result_.cached_tokens += kv_.tokens().size() - before;
  outbox_.note(result_);
}

std::span<const int32_t> Generation::guess(size_t most) {
  guess_.clear();
  // The token due comes on top of the guessed ones.
  const size_t left = most_ - std::min(most_, result_.completion_tokens);
  if (lookup_on_ && left > 1) lookup_.propose(history_, std::min(most, left - 1), guess_);
  return guess_;
}

void Generation::preempt() {
  if (choosing()) {
    // What was chosen stays; what has not been chosen yet will be, after the same logits.
    kv_.truncate(std::min(kv_.tokens().size(), history_.size()));
    held_.clear();
    sampler_.start_over();
  }
  guess_.clear();
  reached_ = std::max(reached_, kv_.tokens().size());
  kv_.publish();
  kv_.discard();
}

void Generation::advance(std::span<float> logits, size_t vocabulary, Clock::time_point until) {
  if (answering_ == Clock::time_point{}) {
    result_.prefill_seconds = seconds_since(begun_);
    answering_ = Clock::now();
    outbox_.note(result_);
  }
  accepted_ = 0;
  choose_all(logits, vocabulary, until);
}

void Generation::go_on(size_t vocabulary, Clock::time_point until) {
  std::vector<float> logits = std::exchange(held_, {});
  choose_all(logits, vocabulary, until);
}

/// `logits`: from the token after the accepted ones on.
void Generation::choose_all(std::span<float> logits, size_t vocabulary, Clock::time_point until) {
  try {
    for (;; logits = logits.subspan(vocabulary)) {
      if (!choose(logits.first(vocabulary), until)) return hold(logits);
      if (over_ || accepted_ == guess_.size() || history_.back() != guess_[accepted_]) break;
      ++accepted_;
      ++result_.guessed_tokens;
    }
    if (!guess_.empty() && (!over_ || accepted_ == guess_.size())) lookup_.learn(guess_.size(), accepted_);
    // The last token is not computed yet; what was guessed wrongly never was.
    kv_.truncate(std::min(kv_.tokens().size(), history_.size() - (over_ ? 0 : 1)));
  } catch (...) {
    error_ = std::current_exception();
    over_ = true;
  }
  guess_.clear();
}

void Generation::hold(std::span<const float> logits) { held_.assign(logits.begin(), logits.end()); }

bool Generation::ends(int32_t token) const {
  return context_.tokenizer.is_end(token) && (matcher_ || !ignore_end_);
}

/// False: it is `until`, and nothing is chosen yet.
bool Generation::choose(std::span<float> logits, Clock::time_point until) {
  const bool fresh = !sampler_.underway();
  if (fresh && !tensor::all_finite(logits.data(), logits.size()))
    throw Error(
        ErrorCode::kCorrupt,
        fmt::format("{}: the model computed numbers that are not finite; its weights are damaged, get the "
                    "file again",
                    context_.model));
  if (result_.completion_tokens >= most_) {
    finish(FinishReason::kLength);
    return true;
  }
  if (fresh && logprobs_) own_logits_.assign(logits.begin(), logits.end());
  const auto token =
      sampler_.sample(logits, history_, result_.prompt_tokens, matcher_ ? &*matcher_ : nullptr, until);
  if (!token) return false;
  if (ends(*token)) {
    finish(FinishReason::kStop);
    return true;
  }
  std::optional<TokenChoice> choice;
  if (logprobs_) choice = describe(own_logits_, *token, *logprobs_);
  say(*token, std::move(choice));
  return true;
}

void Generation::say(int32_t token, std::optional<TokenChoice> choice) {
  const model::Tokenizer& tokenizer = context_.tokenizer;
  history_.push_back(token);
  ++result_.completion_tokens;
  std::string text;
  if (static_cast<size_t>(token) < tokenizer.size()) {
    const bool special = keep_special_ && tokenizer.is_control(token);
    text = stream_.push(special ? tokenizer.text(token) : tokenizer.piece(token));
  }
  outbox_.put({std::move(choice), std::move(text)});
  if (matcher_) matcher_->accept(token);
  if (stream_.stopped() || (matcher_ && matcher_->must_end())) return finish(FinishReason::kStop);
  if (result_.completion_tokens >= most_) finish(FinishReason::kLength);
}

void Generation::finish(FinishReason reason) {
  over_ = true;
  result_.finish = reason;
  result_.stop_string = stream_.stopped_by();
  result_.text = stream_.finish();  // what was held back; the reader puts it after the rest
}

void Generation::close() {
  if (error_) return fail(std::exchange(error_, nullptr));
  if (answering_ != Clock::time_point{}) result_.decode_seconds = seconds_since(answering_);
  kv_.release();
  outbox_.close(result_);
}

void Generation::fail(std::exception_ptr error) {
  kv_.discard();
  outbox_.fail(std::move(error));
}

}  // namespace fathom::infer
