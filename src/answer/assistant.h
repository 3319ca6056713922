// The assistant: a conversation in, an answer out whose every claim cites a post of the live store.
//
// question -> searches -> posts (folded, newest and most relevant first) -> a writer -> a check of every sentence.
// Two writers: `extract` quotes the best sentences of the posts and needs no model; `generate` lets the model write from
// the numbered posts and keeps only sentences that the posts they cite support. `auto` generates, and extracts when too
// little of what was generated survives the check.
//
// Ownership: store, engine, styles and trends are the caller's and outlive the assistant. Thread safety: `answer` may run on any number
// of threads at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "infer/engine.h"
#include "live/store.h"
#include "live/trends/trends.h"

namespace fathom::answer {

class Styles;  // answer/style.h

enum class Writer { kAuto, kExtract, kGenerate };
enum class SearchMode { kOff, kAuto, kOn };

/// What is made of the posts.
enum class Mode {
  kAnswer,   // the question answered
  kDigest,   // what happened, as stories
  kExplain,  // one post: who wrote it, what it answers to, what else is said, whether it is disputed
  kDeep,     // several rounds of questions, searches and answers, told as a report with sections
};

/// Who says what is searched for.
enum class Planning {
  kAuto,  // the model besides the rules where it is big enough and knows tools (model_plan.h), else the rules
  kRules,  // the rules alone
  kModel,  // the model in any case, besides the rules
};

/// xAI's `search_parameters`, obeyed to the letter; docs/api.md gives the mapping.
struct SearchParameters {
  SearchMode mode = SearchMode::kAuto;
  std::optional<Time> from, to;      // to: exclusive
  size_t max_results = 20;           // 1..50
  std::vector<std::string> sources;  // of the store; empty: all
  std::vector<std::string> handles, not_handles;
  std::optional<int64_t> min_likes, min_views;
  bool return_citations = true;
};

struct Request {
  std::vector<infer::ChatMessage> messages;  // the last of role "user" is the question
  SearchParameters search;
  Writer writer = Writer::kAuto;
  Mode mode = Mode::kAnswer;
  Planning planner = Planning::kAuto;
  std::string subject;  // kExplain: the key of the post ("source:id")
  std::string style;    // a name of the assistant's styles; empty: as it comes
  size_t rounds = 4;    // kDeep: questions that may be raised, 1..12
  bool think = false;   // let a model that can think aloud do so before it writes; told by on_thought
  infer::Sampling sampling;
  size_t max_tokens = 400;
  std::vector<std::string> stop;
  std::optional<std::chrono::steady_clock::time_point>
      deadline;  // of what a model writes: then it ends where it is
};

/// One `[n]` in the text. Offsets are bytes, half-open.
struct Citation {
  size_t number = 0;  // the n shown; one post has one number in an answer
  live::Post post;
  size_t begin = 0, end = 0;                  // of "[n]" in Answer::text
  size_t claim_begin = 0, claim_end = 0;      // the sentence it supports, in Answer::text
  size_t passage_begin = 0, passage_end = 0;  // the words that support it, in post.text
};

struct Step {
  std::string tool = "search_posts";  // search_posts, get_thread, get_trends, get_author
  std::string query;                  // as searched; of the others, what they were asked for
  std::string question{};             // kDeep: the question that this is for; else empty
  size_t found = 0;                   // posts matched
  size_t read = 0;                    // of them, new and kept
  bool found_exact = true;            // false: at least so many
  bool by_model = false;              // a call that the model made (model_plan.h)
};

struct Answer {
  std::string text;
  std::vector<Citation> citations;  // in order of appearance
  std::vector<live::Post> read;     // every post that was read, best first; citations point into these
  std::vector<Step> steps;
  Time as_of{};                   // the feed's clock
  std::string writer;             // "extract", "generate" or "none" (no search was made or nothing was found)
  bool found = false;             // some claim is cited
  bool fiction = false;           // a cited post is from the sample world
  size_t dropped_sentences = 0;   // generated, not supported, left out
  std::vector<std::string> plan;  // kDeep: the questions that were raised, in order
  std::string reasoning;          // what the model thought aloud; claims nothing, cites nothing
  infer::FinishReason finish = infer::FinishReason::kStop;
  size_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
};

/// What happens while an answer is made, in this order: the plan, steps, the posts read, thoughts, text; with kDeep again and
/// again. All optional.
struct Events {
  /// The questions of a deep answer, all that are known so far, each time that some are raised.
  std::function<void(const std::vector<std::string>& questions)> on_plan;
  /// A piece of Answer::reasoning. Returning false cancels.
  std::function<bool(std::string_view piece)> on_thought;
  std::function<void(const Step&)> on_step;
  std::function<void(const std::vector<live::Post>&)> on_read;
  /// A piece of checked text and the citations that it completes. Returning false cancels.
  std::function<bool(std::string_view piece, const std::vector<Citation>& citations)> on_text;
};

class Assistant {
 public:
  /// `engine` may be null: then `extract` answers, and `generate` is an Error. `styles` null: there are none. `trends` null:
  /// a digest finds the stories itself.
  static std::unique_ptr<Assistant> create(const live::Store& store, infer::Engine* engine,
                                           const Clock& clock, const Styles* styles = nullptr,
                                           const live::Trends* trends = nullptr);
  virtual ~Assistant() = default;
  virtual bool has_model() const = 0;
  /// Errors: kInvalidArgument (no user message, limits; a style's file), kNotFound (the style, the post to explain),
  /// kUnsupported (generate without a model),
  /// kResourceExhausted (conversation longer than the model's context), kDeadlineExceeded (before a chat's first word;
  /// where posts can be quoted, they are).
  virtual Answer answer(const Request& request, const Events& events, const std::stop_token& stop) const = 0;
};

}  // namespace fathom::answer
