// Covers what the answer floor reads of posts, questions and model output: words, sentences, facts, plans, the check.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "answer/check.h"
#include "answer/plan.h"
#include "answer/words.h"

namespace {

using fathom::answer::Span;

void require(bool holds) {
  if (!holds) std::abort();
}

bool within(Span span, std::string_view text) { return span.begin <= span.end && span.end <= text.size(); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t half = input.find('\n');
  const std::string_view sentence = input.substr(0, half);
  const std::string_view text = half == std::string_view::npos ? input : input.substr(half + 1);

  size_t last = 0;
  for (const auto& word : fathom::answer::split_words(text)) {
    require(within(word.span, text) && word.span.begin >= last && word.span.size() > 0);
    last = word.span.end;
  }
  for (const Span span : fathom::answer::split_sentences(text)) {
    require(within(span, text));
    require(within(fathom::answer::clean_span(text, span), text));
  }
  const fathom::Time now = fathom::Time{} + std::chrono::hours{24 * 365 * 50};
  fathom::answer::plan_question(sentence, now);
  fathom::live::Post post;
  post.id = "1";
  post.source = "fuzz";
  post.text = text;
  post.created_at = now;
  const auto evidence = fathom::answer::prepare(post);
  const auto support = fathom::answer::check_support(sentence, evidence);
  require(within(support.passage, text));
  return 0;
}
