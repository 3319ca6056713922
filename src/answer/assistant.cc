#include "answer/assistant.h"

#include <fmt/format.h>

#include <algorithm>

#include "answer/compose.h"
#include "answer/digest.h"
#include "answer/extract.h"
#include "answer/generate.h"
#include "answer/model_plan.h"
#include "answer/plan.h"
#include "answer/retrieve.h"
#include "answer/style.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kLongestQuestion = 8 * 1024;  // bytes that are planned for; the rest is not read
constexpr size_t kDigestPosts = 1000;
constexpr size_t kStories = 6;

void validate(const Request& request) {
  const bool asked = std::ranges::any_of(request.messages, [](const infer::ChatMessage& m) {
    return m.role == "user" && !trim(m.content).empty();
  });
  if (!asked)
    throw Error(ErrorCode::kInvalidArgument,
                "there is no user message: send at least one with role \"user\"");
  if (request.search.max_results < 1 || request.search.max_results > 50) {
    throw Error(ErrorCode::kInvalidArgument, "max_search_results must be between 1 and 50");
  }
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
    Answer answer;
    answer.writer = "none";
    answer.as_of = store_.feed_time();
    Composer out(answer, events);
    const Time now = answer.as_of == Time{} ? clock_.now() : answer.as_of;
    const Plan plan = make_plan(planned_messages(request), now);
    if (request.search.mode == SearchMode::kOff)
      return without_search(request, answer, out, events, stop, false);
    if (plan.ask == Ask::kSmallTalk && request.search.mode == SearchMode::kAuto) {
      return without_search(request, answer, out, events, stop, true);
    }
    if (plan.ask == Ask::kDigest || plan.ask == Ask::kSmallTalk)
      return digest(request, plan, answer, out, events);
    return ground(request, plan, answer, out, events, stop);
  }

 private:
  Answer without_search(const Request& request, Answer& answer, Composer& out, const Events& events,
                        const std::stop_token& stop, bool small_talk) const {
    if (engine_ != nullptr && request.writer != Writer::kExtract) {
      write_chat(*engine_, request, answer, events, stop);
    } else if (small_talk) {
      out.remark(
          "Hello. Ask me what is being posted: I search the feed and answer with the posts that say it.");
    } else {
      out.remark(
          "Search is off and no model may write: turn search on, or load a model and choose the writer "
          "\"auto\" or "
          "\"generate\".");
    }
    return std::move(answer);
  }

  static void report_read(const std::vector<Evidence>& evidence, Answer& answer, const Events& events) {
    for (const Evidence& e : evidence) answer.read.push_back(e.post);
    if (events.on_read) events.on_read(answer.read);
  }

  Answer digest(const Request& request, const Plan& plan, Answer& answer, Composer& out,
                const Events& events) const {
    const Reading reading = read_newest(store_, plan, request.search, kDigestPosts, events.on_step);
    answer.steps = reading.steps;
    const std::vector<Story> stories = find_stories(reading, std::min(kStories, request.search.max_results));
    std::vector<Evidence> told;
    for (const Story& story : stories) told.push_back(reading.evidence[story.lead.index]);
    report_read(told, answer, events);
    if (stories.empty()) {
      say_nothing_found(answer, out);
    } else {
      answer.writer = "extract";
      write_digest(stories, reading, out);
    }
    if (out.cancelled()) answer.finish = infer::FinishReason::kCancelled;
    return std::move(answer);
  }

  Answer ground(const Request& request, const Plan& plan, Answer& answer, Composer& out, const Events& events,
                const std::stop_token& stop) const {
    Reading reading = read_posts(store_, plan, request.search, events.on_step);
    if (model_plans(engine_, request)) {
      const Tools tools(store_, trends_, request.search);
      search_with_model(*engine_, request, plan.resolved, tools, events.on_step, reading, answer, stop);
    }
    answer.steps = reading.steps;
    std::vector<ChosenQuote> quotes = choose_quotes(plan, reading);
    arrange(plan, request.search.max_results, reading, quotes);
    report_read(reading.evidence, answer, events);
    const bool cites = engine_ != nullptr && engine_->info().cites;
    Written written;
    if (engine_ != nullptr && request.writer != Writer::kExtract && !plan.overview &&
        (cites || !quotes.empty()))
      written = generate(request, plan, reading, quotes, answer, out, stop);
    if (written.refused || (written.sentences == 0 && quotes.empty())) {
      say_nothing_found(answer, out);
      return std::move(answer);
    }
    if (answer.citations.empty() && !stop.stop_requested() && !out.cancelled()) {
      if (request.writer == Writer::kGenerate && answer.dropped_sentences > 0) {
        out.remark("What the model wrote is not supported by the posts. They say:");
      }
      answer.writer = "extract";
      answer.finish = infer::FinishReason::kStop;
      write_quotes(quotes, plan, reading, out);
    }
    if (out.cancelled() || stop.stop_requested()) answer.finish = infer::FinishReason::kCancelled;
    return std::move(answer);
  }

  Written generate(const Request& request, const Plan& plan, const Reading& reading,
                   const std::vector<ChosenQuote>& quotes, Answer& answer, Composer& out,
                   const std::stop_token& stop) const {
    const Written written = write_generated(*engine_, request, plan, reading, quotes, answer, out, stop);
    if (written.sentences == 0) return written;
    answer.writer = "generate";
    // That a figure was another before, or that somebody denies it, is told in the posts' own words.
    std::vector<ChosenQuote> others;
    for (const ChosenQuote& chosen : quotes) {
      if (chosen.role == QuoteRole::kEarlier || chosen.role == QuoteRole::kDiffers) others.push_back(chosen);
    }
    if (!out.cancelled() && !stop.stop_requested()) write_quotes(others, plan, reading, out);
    return written;
  }

  void say_nothing_found(Answer& answer, Composer& out) const {
    if (store_.stats().posts == 0) {
      out.remark("The feed holds no posts yet: start a source or post some, then ask again.");
      return;
    }
    std::string searched;
    for (const Step& step : answer.steps) {
      if (step.by_model || searched.find(step.query) != std::string::npos || searched.size() > 200) continue;
      searched += (searched.empty() ? "" : "; ") + step.query;
    }
    std::string text = fmt::format("I found no post that answers this in the feed up to {}.",
                                   written_time(answer.as_of, Time{}));
    if (!searched.empty()) text += " Searched for: " + searched + ".";
    out.remark(text);
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
