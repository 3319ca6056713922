#include "answer/eval_run.h"

#include <fmt/format.h>

#include <charconv>

#include "answer/generate.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kLongestAnswer = 96;  // tokens

JudgedAnswer asked_of_assistant(const EvalSubject& subject, Writer writer, const std::string& question) {
  Request request;
  request.messages = {{"user", question}};
  request.search.mode = SearchMode::kOn;
  request.writer = writer;
  request.sampling.temperature = 0;
  const Answer answer = subject.assistant.answer(request, {}, {});
  JudgedAnswer out;
  out.text = answer.text;
  out.refused = answer.citations.empty();
  std::vector<Span> claims;
  for (const Citation& citation : answer.citations) {
    claims.push_back({citation.claim_begin, citation.claim_end});
    out.marks.push_back(
        {answer.text.substr(citation.claim_begin, citation.claim_end - citation.claim_begin), citation.post});
  }
  if (!out.refused) out.uncited = count_uncited(answer.text, claims);
  return out;
}

JudgedAnswer asked_of_model(const EvalSubject& subject, const std::string& question) {
  const Shown shown = shown_for(subject.store, question);
  if (shown.posts.empty()) return {{}, {}, true};
  std::vector<const live::Post*> posts;
  for (const live::Post& post : shown.posts) posts.push_back(&post);
  infer::GenerateRequest request;
  request.prompt = subject.engine->tokenize_chat(cited_prompt(shown.question, posts, shown.as_of));
  request.max_tokens = kLongestAnswer;
  request.stop = {"\n"};
  request.sampling.temperature = 0;
  return read_marks(subject.engine->generate(request, {}, {}).text, shown.posts);
}

}  // namespace

EvalWriter parse_eval_writer(std::string_view text) {
  if (text == "extract") return EvalWriter::kExtract;
  if (text == "generate") return EvalWriter::kGenerate;
  if (text == "auto") return EvalWriter::kAuto;
  if (text == "model") return EvalWriter::kModel;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("the writer '{}' is not one of extract, generate, auto and model", text));
}

JudgedAnswer read_marks(const std::string& text, const std::vector<live::Post>& posts) {
  JudgedAnswer out;
  out.text = std::string(trim(text));
  out.refused = out.text.starts_with(kNoAnswer.substr(0, kNoAnswer.size() - 1));
  std::string claim;
  size_t after = 0;  // the mark before
  for (size_t at = text.find('['); at != std::string::npos && !out.refused; at = text.find('[', at + 1)) {
    size_t number = 0;
    const auto [end, failed] = std::from_chars(text.data() + at + 1, text.data() + text.size(), number);
    if (failed != std::errc() || end == text.data() + text.size() || *end != ']') continue;
    std::string_view between = trim(std::string_view(text).substr(after, at - after));
    while (!between.empty() && std::string_view(".,; ").find(between.front()) != std::string_view::npos)
      between.remove_prefix(1);
    if (!between.empty()) claim = std::string(between);
    after = static_cast<size_t>(end - text.data()) + 1;
    if (number >= 1 && number <= posts.size()) out.marks.push_back({claim, posts[number - 1]});
  }
  return out;
}

JudgedAnswer answer_for_eval(const EvalSubject& subject, EvalWriter writer, const std::string& question) {
  if (writer != EvalWriter::kExtract && subject.engine == nullptr)
    throw Error(ErrorCode::kInvalidArgument, "this writer needs a model: give --model FILE");
  switch (writer) {
    case EvalWriter::kExtract: return asked_of_assistant(subject, Writer::kExtract, question);
    case EvalWriter::kGenerate: return asked_of_assistant(subject, Writer::kGenerate, question);
    case EvalWriter::kAuto: return asked_of_assistant(subject, Writer::kAuto, question);
    case EvalWriter::kModel: return asked_of_model(subject, question);
  }
  return {};
}

}  // namespace fathom::answer
