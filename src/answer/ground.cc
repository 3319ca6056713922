#include "answer/ground.h"

#include <algorithm>
#include <unordered_set>

#include "answer/generate.h"
#include "answer/model_plan.h"

namespace fathom::answer {
namespace {

/// That a figure was another before, or that somebody denies it: told in the posts' own words whoever writes.
std::vector<ChosenQuote> opposing(const std::vector<ChosenQuote>& quotes) {
  std::vector<ChosenQuote> out;
  for (const ChosenQuote& chosen : quotes)
    if (chosen.role == QuoteRole::kEarlier || chosen.role == QuoteRole::kDiffers) out.push_back(chosen);
  return out;
}

Written generate(const Task& task, const Plan& plan, const Findings& findings) {
  const Written written = write_generated(task, plan, findings.reading, findings.quotes);
  if (written.sentences == 0) return written;
  task.answer.writer = "generate";
  if (!task.ended()) write_quotes(opposing(findings.quotes), plan, findings.reading, task.phrases, task.out);
  return written;
}

}  // namespace

StepSink step_sink(const Task& task, const std::string& question) {
  return [&task, question](const Step& made) {
    Step step = made;
    step.question = question;
    if (task.events.on_step) task.events.on_step(step);
  };
}

void report_read(const Task& task, const std::vector<Evidence>& evidence) {
  std::unordered_set<std::string> known;
  for (const live::Post& post : task.answer.read) known.insert(post.key());
  for (const Evidence& e : evidence)
    if (known.insert(e.post.key()).second) task.answer.read.push_back(e.post);
  if (task.events.on_read) task.events.on_read(task.answer.read);
}

Findings find_answer(const Task& task, const Plan& plan, const std::string& question) {
  const Request& request = task.request;
  const StepSink on_step = step_sink(task, question);
  Findings out;
  out.reading = read_posts(task.store, plan, request.search, on_step);
  if (model_plans(task.engine, request)) {
    const Tools tools(task.store, task.trends, request.search);
    search_with_model(*task.engine, request, plan.resolved, tools, on_step, out.reading, task.answer,
                      task.stop);
  }
  for (Step& step : out.reading.steps) {
    step.question = question;
    task.answer.steps.push_back(step);
  }
  const Style& style = task.style;
  out.quotes = choose_quotes(plan, out.reading, style.more ? style.sentences : 0);
  if (style.sentences > 0 && out.quotes.size() > style.sentences) out.quotes.resize(style.sentences);
  arrange(plan, request.search.max_results, out.reading, out.quotes);
  report_read(task, out.reading.evidence);
  return out;
}

bool write_answer(const Task& task, const Plan& plan, Findings& findings) {
  Answer& answer = task.answer;
  const size_t before = task.out.claims();
  const size_t dropped = answer.dropped_sentences;
  Written written;
  const bool cites = task.engine != nullptr && task.engine->info().cites;
  if (task.generates() && !plan.overview && (cites || !findings.quotes.empty()))
    written = generate(task, plan, findings);
  findings.refused = written.refused;
  if (written.refused || (written.sentences == 0 && findings.quotes.empty())) return false;
  if (task.out.claims() == before && !task.ended()) {
    if (task.request.writer == Writer::kGenerate && answer.dropped_sentences > dropped)
      task.out.remark(task.phrases.unsupported);
    if (answer.writer != "generate") {
      answer.writer = "extract";
      if (before == 0) task.out.opening(task.style.opening(task.phrases.code));
    }
    answer.finish = infer::FinishReason::kStop;
    write_quotes(findings.quotes, plan, findings.reading, task.phrases, task.out);
  }
  return true;
}

void say_nothing_found(const Task& task) {
  if (task.store.stats().posts == 0) {
    task.out.remark(task.phrases.no_posts);
    return;
  }
  std::string searched;
  for (const Step& step : task.answer.steps) {
    if (step.by_model || searched.find(step.query) != std::string::npos || searched.size() > 200) continue;
    searched += (searched.empty() ? "" : "; ") + step.query;
  }
  std::string text = say(task.phrases.found_none, time_in(task.phrases, task.answer.as_of, Time{}));
  if (!searched.empty()) text += " " + say(task.phrases.searched, searched);
  task.out.remark(text);
}

}  // namespace fathom::answer
