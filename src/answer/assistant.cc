#include "answer/assistant.h"

#include <fmt/format.h>

#include <algorithm>

#include "answer/compose.h"
#include "answer/deep.h"
#include "answer/digest.h"
#include "answer/explain.h"
#include "answer/generate.h"
#include "answer/ground.h"
#include "answer/plan.h"
#include "answer/task.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kLongestQuestion = 8 * 1024;  // bytes that are planned for; the rest is not read

void validate(const Request& request) {
  const bool asked = std::ranges::any_of(request.messages, [](const infer::ChatMessage& m) {
    return m.role == "user" && !trim(m.content).empty();
  });
  if (!asked && request.mode != Mode::kExplain)
    throw Error(ErrorCode::kInvalidArgument,
                "there is no user message: send at least one with role \"user\"");
  if (request.search.max_results < 1 || request.search.max_results > 50) {
    throw Error(ErrorCode::kInvalidArgument, "max_search_results must be between 1 and 50");
  }
  if (request.mode == Mode::kExplain && request.subject.empty())
    throw Error(ErrorCode::kInvalidArgument, "there is no post to explain: name one as \"source:id\"");
  if (request.mode == Mode::kExplain && request.search.mode == SearchMode::kOff)
    throw Error(ErrorCode::kInvalidArgument, "a post cannot be explained with the search off: turn it on");
  if (request.mode == Mode::kDeep && (request.rounds < 1 || request.rounds > kMostRounds))
    throw Error(ErrorCode::kInvalidArgument, fmt::format("rounds must be between 1 and {}", kMostRounds));
  if (request.max_tokens < 1) throw Error(ErrorCode::kInvalidArgument, "max_tokens must be at least 1");
  if (request.search.from && request.search.to && *request.search.from >= *request.search.to) {
    throw Error(ErrorCode::kInvalidArgument, "from_date must be before to_date");
  }
}

/// The user's turns, cut to what planning reads.
std::vector<infer::ChatMessage> planned_messages(const Request& request) {
  std::vector<infer::ChatMessage> out;
  for (const infer::ChatMessage& message : request.messages) {
    if (message.role != "user" || trim(message.content).empty()) continue;
    std::string text = sanitize_utf8(message.content);
    if (text.size() > kLongestQuestion) {
      text.resize(kLongestQuestion);
      text.resize(text.size() - incomplete_utf8_tail(text));
    }
    out.push_back({message.role, std::move(text)});
  }
  constexpr size_t kMostTurns = 20;
  if (out.size() > kMostTurns) out.erase(out.begin(), out.end() - kMostTurns);
  return out;
}

class GroundedAssistant final : public Assistant {
 public:
  GroundedAssistant(const live::Store& store, infer::Engine* engine, const Clock& clock, const Styles* styles,
                    const live::Trends* trends)
      : store_(store), engine_(engine), clock_(clock), styles_(styles), trends_(trends) {}

  bool has_model() const override { return engine_ != nullptr; }

  Answer answer(const Request& request, const Events& events, const std::stop_token& stop) const override {
    validate(request);
    if (request.writer == Writer::kGenerate && engine_ == nullptr) {
      throw Error(ErrorCode::kUnsupported,
                  "no model is loaded: start the server with --model FILE.gguf, or ask with the "
                  "writer \"extract\"");
    }
    const Style style = style_of(request);
    Answer answer;
    answer.writer = "none";
    answer.as_of = store_.feed_time();
    Composer out(answer, events);
    const Time now = answer.as_of == Time{} ? clock_.now() : answer.as_of;
    const Task task{store_, engine_, trends_, request, events, stop, style, phrases_for(request.messages),
                    answer, out,     now};
    tell(task);
    close(task);
    return answer;
  }

 private:
  Style style_of(const Request& request) const {
    if (request.style.empty()) return {};
    if (styles_ == nullptr) throw Error(ErrorCode::kNotFound, "there are no styles here: ask without one");
    return styles_->find(request.style);
  }

  static void tell(const Task& task) {
    const Request& request = task.request;
    if (request.mode == Mode::kExplain) return explain(task);
    const Plan plan = make_plan(planned_messages(request), task.now);
    if (request.search.mode == SearchMode::kOff) return without_search(task, task.phrases.search_off);
    if (request.mode == Mode::kDigest) return digest(task, plan);
    if (plan.ask == Ask::kSmallTalk && request.search.mode == SearchMode::kAuto)
      return without_search(task, task.phrases.hello);
    if (plan.ask == Ask::kDigest || plan.ask == Ask::kSmallTalk) return digest(task, plan);
    if (request.mode == Mode::kDeep) return go_deep(task, plan);
    Findings findings = find_answer(task, plan);
    if (!write_answer(task, plan, findings)) say_nothing_found(task);
  }

  static void without_search(const Task& task, std::string_view otherwise) {
    if (task.generates()) {
      write_chat(task);
    } else {
      task.out.remark(otherwise);
    }
  }

  /// A style's last line, behind quotations only; and why it ended, where somebody ended it.
  static void close(const Task& task) {
    const std::string_view closing = task.style.closing(task.phrases.code);
    if (task.answer.writer == "extract" && task.answer.found && !closing.empty() && !task.ended())
      task.out.remark(closing, "\n\n");
    if (task.ended()) task.answer.finish = infer::FinishReason::kCancelled;
  }

  const live::Store& store_;
  infer::Engine* engine_;
  const Clock& clock_;
  const Styles* styles_;
  const live::Trends* trends_;
};

}  // namespace

std::unique_ptr<Assistant> Assistant::create(const live::Store& store, infer::Engine* engine,
                                             const Clock& clock, const Styles* styles,
                                             const live::Trends* trends) {
  return std::make_unique<GroundedAssistant>(store, engine, clock, styles, trends);
}

}  // namespace fathom::answer
