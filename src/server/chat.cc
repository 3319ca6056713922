// POST /v1/chat/completions: who writes the answer, and how it goes out.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

#include "server/api_error.h"
#include "server/chat_request.h"
#include "server/chat_response.h"
#include "server/chat_stream.h"
#include "server/context.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kPlainTokens = 1024;  // of an answer by the model alone, unless the request says

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

uint64_t fresh_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

/// The sampling of grounded answers by default: the likeliest words, since facts are to be repeated, not varied.
infer::Sampling grounded_sampling() {
  infer::Sampling sampling;
  sampling.temperature = 0;
  return sampling;
}

class Chat {
 public:
  Chat(const Context& context, ChatRequest request, std::shared_ptr<Reply> reply, std::string request_id)
      : context_(context),
        services_(context.services),
        request_(std::move(request)),
        reply_(std::move(reply)),
        request_id_(std::move(request_id)) {}

  /// Errors: any, before the stream has begun; from there on they are told in the stream.
  void run() {
    choose_writer();
    ChatIdentity identity{"chatcmpl-" + random_hex(), unix_seconds(), request_.model};
    if (!request_.stream) {
      const answer::Answer answer = make_answer(nullptr);
      return reply_->send(json_response(completion_json(identity, answer, view_)));
    }
    ChatStream stream(reply_, std::move(identity), view_, request_.include_usage);
    try {
      stream.finish(make_answer(&stream));
    } catch (const std::exception& error) {
      if (!stream.is_open()) throw;
      stream.fail(told(error));
    }
  }

  /// An error as its client is told: a conversation beyond the model's context is the client's to shorten.
  ApiError told(const std::exception& error) const {
    const auto* known = dynamic_cast<const Error*>(&error);
    if (known != nullptr && known->code() == ErrorCode::kResourceExhausted)
      return ApiError(400, known->what(), "context_length_exceeded", "messages");
    return to_api_error(error, request_id_);
  }

 private:
  int64_t unix_seconds() const {
    return std::chrono::duration_cast<std::chrono::seconds>(services_.clock.now().time_since_epoch()).count();
  }

  void choose_writer() {
    const std::string& name = request_.model;
    if (name == kAutoModel) {
      writer_ = answer::Writer::kAuto;
    } else if (name == kExtractModel) {
      writer_ = answer::Writer::kExtract;
    } else if (name == kGenerateModel && services_.engine != nullptr) {
      writer_ = answer::Writer::kGenerate;
    } else if (services_.engine != nullptr && name == services_.engine->info().name) {
      plain_ = !request_.search || request_.search->mode == answer::SearchMode::kOff;
    } else {
      throw model_not_found(name, services_);
    }
    view_.grounded = !plain_;
    view_.return_citations = !request_.search || request_.search->return_citations;
  }

  answer::Answer make_answer(ChatStream* stream) {
    const auto start = SteadyClock::now();
    answer::Answer answer = plain_ ? generate(stream, start) : ask(stream, start);
    if (answer.finish == infer::FinishReason::kCancelled || reply_->stop().stop_requested())
      throw ApiError(503, "the answer was stopped before its end", "cancelled");
    context_.metrics.answer(answer.writer, seconds_since(start), answer.prompt_tokens, answer.cached_tokens,
                            answer.completion_tokens);
    return answer;
  }

  answer::Answer ask(ChatStream* stream, SteadyClock::time_point start) {
    answer::Request ask;
    ask.messages = request_.messages;
    ask.search = request_.search.value_or(answer::SearchParameters{});
    ask.writer = writer_;
    ask.sampling = request_.sampling(grounded_sampling());
    if (request_.max_tokens) ask.max_tokens = *request_.max_tokens;
    ask.stop = request_.stop;
    answer::Events events;
    if (stream != nullptr) {
      events.on_step = [stream](const answer::Step& step) { stream->step(step); };
      events.on_read = [stream](const std::vector<live::Post>& posts) { stream->read(posts); };
    }
    events.on_text = [&](std::string_view piece, const std::vector<answer::Citation>& citations) {
      note_text(start);
      return stream != nullptr ? stream->text(piece, citations) : !reply_->stop().stop_requested();
    };
    if (stream != nullptr && ask.search.mode == answer::SearchMode::kOff &&
        writer_ != answer::Writer::kExtract) {
      if (services_.engine != nullptr) chat_prompt();  // too long: said before the stream begins
      stream->open();  // no step will come to open it, and reading the prompt takes time
    }
    return services_.assistant.answer(ask, events, reply_->stop());
  }

  /// The conversation as tokens. Error: ApiError 400 when it leaves no room for an answer.
  std::vector<int32_t> chat_prompt() const {
    auto prompt = services_.engine->tokenize_chat(request_.messages);
    const size_t context = services_.engine->info().context;
    if (prompt.size() < context) return prompt;
    throw ApiError(
        400,
        fmt::format("the conversation has {} tokens; the model takes {} with its answer: shorten it",
                    prompt.size(), context),
        "context_length_exceeded", "messages");
  }

  /// The model alone: no search, no posts, its own sampling defaults as OpenAI's.
  answer::Answer generate(ChatStream* stream, SteadyClock::time_point start) {
    infer::GenerateRequest ask;
    ask.prompt = chat_prompt();
    const size_t room = services_.engine->info().context - ask.prompt.size();
    ask.max_tokens = std::min(request_.max_tokens.value_or(kPlainTokens), room);
    ask.stop = request_.stop;
    infer::Sampling defaults;
    defaults.seed = fresh_seed();
    ask.sampling = request_.sampling(defaults);
    if (stream != nullptr) stream->open();
    const auto sink = [&](std::string_view piece) {
      note_text(start);
      return stream != nullptr ? stream->text(piece, {}) : !reply_->stop().stop_requested();
    };
    auto result = services_.engine->generate(ask, sink, reply_->stop());
    answer::Answer answer;
    answer.text = std::move(result.text);
    answer.writer = "model";
    answer.finish = result.finish;
    answer.prompt_tokens = result.prompt_tokens;
    answer.cached_tokens = result.cached_tokens;
    answer.completion_tokens = result.completion_tokens;
    return answer;
  }

  void note_text(SteadyClock::time_point start) {
    if (has_text_) return;
    has_text_ = true;
    context_.metrics.first_text(seconds_since(start));
  }

  const Context& context_;
  const Services& services_;
  const ChatRequest request_;
  std::shared_ptr<Reply> reply_;
  const std::string request_id_;
  answer::Writer writer_ = answer::Writer::kAuto;
  bool plain_ = false;
  bool has_text_ = false;
  ChatView view_;
};

void handle_chat(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  if (request.body.empty()) throw ApiError(415, "the body is empty; send a JSON object", "empty_body");
  Chat chat(context, parse_chat_request(request.body), reply, request.id);
  try {
    chat.run();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kResourceExhausted) throw chat.told(error);
    throw;
  }
}

}  // namespace

void add_chat_routes(Router& router, const Context& context) {
  router.add({.method = "POST",
              .pattern = "/v1/chat/completions",
              .name = "chat",
              .lane = Lane::kAnswers,
              .max_body = context.options.limits.chat_body_bytes,
              .json_body = true,
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                handle_chat(context, request, reply);
              }});
}

}  // namespace fathom::server
