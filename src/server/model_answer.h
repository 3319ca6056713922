// The language model alone answers a conversation: through its template, with tools, held to a format, in several choices.
// What chat completions and responses have in common below their wire formats.
//
// Ownership: the context and the request outlive the answer. Used on one thread; its events come one at a time.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "server/context.h"
#include "server/conversation.h"
#include "server/sampling_request.h"
#include "server/text_format.h"
#include "server/tools_request.h"

namespace fathom::server {

inline constexpr size_t kAnswerTokens = 1024;  // unless the request says

struct ModelQuestion {
  const Conversation& conversation;
  const ToolsRequest& tools;
  const TextFormat& format;
  const SamplingRequest& sampling;
  std::vector<std::string> stop;
  std::optional<size_t> max_tokens;
  std::optional<int> logprobs;
  size_t choices = 1;
  std::string messages_param = "messages";  // for errors
};

struct ToolCall {
  std::string id;  // "call_..."
  std::string name;
  std::string arguments;  // JSON text
  bool complete = false;  // the arguments are whole
};

/// What a choice grew by. `calls`: of each, `index` among the choice's calls; the first of an index has id and name, all
/// have the arguments' next piece, and the last one says that they are complete.
struct ModelDelta {
  struct Call {
    size_t index = 0;
    ToolCall piece;
  };
  std::string content, reasoning;
  std::vector<Call> calls;
  std::vector<infer::TokenChoice> tokens;

  bool empty() const { return content.empty() && reasoning.empty() && calls.empty() && tokens.empty(); }
};

struct ModelChoice {
  std::string content, reasoning;
  std::vector<ToolCall> calls;
  std::vector<infer::TokenChoice> tokens;
  infer::FinishReason finish = infer::FinishReason::kStop;
};

struct ModelUsage {
  size_t prompt = 0, cached = 0, completion = 0, reasoning = 0;  // tokens; reasoning is part of completion
};

struct ModelAnswer {
  std::vector<ModelChoice> choices;
  ModelUsage usage;
};

class ModelAnswerer {
 public:
  struct Events {
    std::function<bool(size_t choice, const ModelDelta& delta)> on_delta;  // false: nobody listens any more
    std::function<void(size_t choice, const ModelChoice& whole)> on_end;
  };

  /// Renders the prompt and compiles what holds the answer. Errors: ApiError 400.
  ModelAnswerer(const Context& context, const ModelQuestion& question);
  ~ModelAnswerer();

  /// Errors: as generate_all. Counts into the metrics.
  ModelAnswer run(const Events& events, const std::stop_token& stop);

 private:
  struct Prepared;
  const Context& context_;
  std::unique_ptr<Prepared> prepared_;
};

}  // namespace fathom::server
