#include "server/grounded.h"

#include <chrono>

#include "base/error.h"
#include "server/api_error.h"
#include "server/generation.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

}  // namespace

infer::Sampling grounded_sampling() {
  infer::Sampling sampling;
  sampling.temperature = 0;
  return sampling;
}

std::optional<answer::Writer> writer_of(const std::string& model, const Services& services) {
  if (model == kAutoModel) return answer::Writer::kAuto;
  if (model == kExtractModel) return answer::Writer::kExtract;
  if (model == kGenerateModel && services.engine != nullptr) return answer::Writer::kGenerate;
  if (services.engine != nullptr && model == services.engine->info().name) return std::nullopt;
  throw model_not_found(model, services);
}

bool GroundedAsker::begins_slowly(const answer::Request& request) const {
  if (request.search.mode != answer::SearchMode::kOff || request.writer == answer::Writer::kExtract)
    return false;
  if (const infer::Engine* engine = context_.services.engine; engine != nullptr)
    require_room(*engine, engine->tokenize_chat(request.messages).size(), "messages", "the conversation");
  return true;
}

answer::Answer GroundedAsker::made(const answer::Request& request, const answer::Events& events) {
  try {
    return context_.services.assistant.answer(request, events, reply_->stop());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    // The engine's queue or the conversation: only the client can tell which it may send again.
    const infer::Engine* engine = context_.services.engine;
    if (engine != nullptr && engine->status().waiting > 0) throw engine_is_full();
    throw ApiError(400, error.what(), "context_length_exceeded", "messages");
  }
}

answer::Answer GroundedAsker::ask(const answer::Request& request, answer::Events events) {
  const auto start = SteadyClock::now();
  bool has_text = false;
  events.on_text = [&, tell = std::move(events.on_text)](std::string_view piece,
                                                         const std::vector<answer::Citation>& citations) {
    if (!std::exchange(has_text, true)) context_.metrics.first_text(seconds_since(start));
    return tell ? tell(piece, citations) : !reply_->stop().stop_requested();
  };
  answer::Request bounded = request;
  if (const auto limit = context_.options.limits.answer_time; limit.count() > 0)
    bounded.deadline = start + limit;
  answer::Answer answer = made(bounded, events);
  if (answer.finish == infer::FinishReason::kCancelled || reply_->stop().stop_requested())
    throw ApiError(503, "the answer was stopped before its end", "cancelled");
  context_.metrics.answer(answer.writer, seconds_since(start), answer.prompt_tokens, answer.cached_tokens,
                          answer.completion_tokens);
  return answer;
}

}  // namespace fathom::server
