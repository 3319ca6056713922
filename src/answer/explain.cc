#include "answer/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "answer/dispute.h"
#include "answer/ground.h"
#include "answer/scope.h"
#include "answer/thread.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kLongestQuote = 400;   // bytes of a post that are quoted
constexpr size_t kAround = 3;           // posts of the thread that are quoted above, and so many below
constexpr size_t kOthers = 4;           // other accounts
constexpr size_t kTerms = 6;            // words by which other accounts are found
constexpr size_t kFewPosts = 20;        // that share a word do not make it a common one
constexpr size_t kMostCandidates = 24;  // words of the post that are weighed
constexpr int kHalvings = 40;           // of the time before the post: to the minute, over a century

/// Sentences from the beginning, as many as fit; cleaned.
Span opening_of(const Evidence& evidence) {
  const std::string& text = evidence.post.text;
  Span out = clean_span(text, {0, text.size()});
  if (out.size() <= kLongestQuote || evidence.sentences.empty()) return out;
  out = clean_span(text, evidence.sentences.front());
  for (const Span sentence : evidence.sentences)
    if (sentence.end > out.end && sentence.end - out.begin <= kLongestQuote) out.end = sentence.end;
  return out;
}

/// The earliest post of the author that the feed holds and the request admits, found by halving the time before `post`.
live::Post first_post(const Task& task, const live::Post& post) {
  live::Post first = post;
  live::Query query = base_query(task.request.search);
  query.authors = {post.author.handle};
  query.sources = {post.source};
  query.order = live::Query::Order::kNewest;
  query.limit = 1;
  query.fold = false;
  Time low = query.since.value_or(Time{});
  for (int i = 0; i < kHalvings && first.created_at - low > std::chrono::minutes{1}; ++i) {
    const Time middle = low + (first.created_at - low) / 2;
    // The first look is at anything earlier at all: most authors of a young feed have nothing.
    query.until = i == 0 ? first.created_at : middle;
    auto hits = task.store.search(query).hits;
    if (!hits.empty() && hits.front().post.created_at < first.created_at) {
      first = std::move(hits.front().post);
    } else if (i == 0) {
      break;
    } else {
      low = middle;
    }
  }
  return first;
}

/// What a post is about, as a question would name it: names and rare words that other posts use too.
class Subject {
 public:
  Subject(const Task& task, const Evidence& post, Span passage) : task_(task), post_(post) {
    collect(passage);
    weigh();
  }

  Plan plan() {
    Plan plan;
    plan.overview = true;
    for (Candidate& candidate : kept_) {
      Term term;
      term.word = *candidate.word;
      // One name must be there; a second one may be left out by others.
      term.name = candidate.name && std::ranges::none_of(plan.terms, &Term::name);
      term.run = term.name ? 1 : 0;
      plan.resolved += (plan.resolved.empty() ? "" : " ") + term.word.folded;
      plan.terms.push_back(std::move(term));
    }
    plan.question = plan.resolved;
    return plan;
  }

 private:
  struct Candidate {
    const Word* word;
    bool name;
    size_t posts;  // that have it
  };

  void collect(Span passage) {
    std::unordered_set<std::string_view> seen;
    for (const Word& word : post_.words) {
      const bool inside = word.span.begin >= passage.begin && word.span.end <= passage.end;
      const bool tells = is_content(word) && word.kind != WordKind::kHandle &&
                         word.kind != WordKind::kNumber && word.folded.size() >= 3;
      if (inside && tells && seen.insert(word.stem).second && all_.size() < kMostCandidates)
        all_.push_back(
            {&word, is_name(word) && word.kind == WordKind::kWord && !word.opens && !word.all_caps, 0});
    }
  }

  /// Words that no other post has find nothing; words that all have tell nothing apart.
  void weigh() {
    const size_t posts = static_cast<size_t>(task_.store.stats().posts);
    const size_t common = std::max(posts / 10, kFewPosts);
    for (Candidate& candidate : all_) {
      live::Query query;
      query.text = candidate.word->folded;
      query.limit = 1;
      const live::SearchResult result = task_.store.search(query);
      candidate.posts = result.terms.empty() ? 0 : result.terms.front().second;
      if (candidate.posts >= 2 && candidate.posts <= common) kept_.push_back(candidate);
    }
    std::ranges::stable_sort(kept_, [](const Candidate& a, const Candidate& b) {
      return a.name != b.name ? a.name : a.posts < b.posts;
    });
    if (kept_.size() > kTerms) kept_.resize(kTerms);
  }

  const Task& task_;
  const Evidence& post_;
  std::vector<Candidate> all_, kept_;
};

/// Tells of one post, section by section.
class Explainer {
 public:
  explicit Explainer(const Task& task) : task_(task) {}

  void run() {
    std::optional<Thread> thread = read_thread(task_.store, task_.request.subject, task_.request.search);
    if (!thread)
      throw Error(
          ErrorCode::kNotFound,
          fmt::format("there is no post '{}' in the feed, or the search parameters exclude it: name one "
                      "that a search shows, as \"source:id\"",
                      sanitize_utf8(std::string_view(task_.request.subject).substr(0, 120))));
    read(std::move(*thread));
    find_others();
    report_read(task_, evidence_);
    task_.answer.writer = "extract";
    task_.out.opening(task_.style.opening(task_.phrases.code));
    task_.out.heading(task_.phrases.post);
    tell_post();
    tell_thread();
    tell_others();
    tell_disputes();
    task_.out.heading("");
  }

 private:
  void read(Thread thread) {
    const size_t most = task_.request.search.max_results;
    add(std::move(thread.post));
    const size_t first_above = thread.above.size() - std::min(thread.above.size(), kAround);
    for (size_t i = first_above; i < thread.above.size() && evidence_.size() < most; ++i)
      add(std::move(thread.above[i]));
    above_ = evidence_.size();
    for (size_t i = 0; i < std::min(thread.below.size(), kAround) && evidence_.size() < most; ++i)
      if (!thread.below[i].text.empty()) add(std::move(thread.below[i]));
    below_ = evidence_.size();
    step("get_thread", task_.request.subject, thread.above.size() + thread.below.size() + 1,
         evidence_.size());
    if (post().author.handle.empty() || evidence_.size() >= most) return;
    live::Post first = first_post(task_, post());
    const bool older = first.key() != post().key();
    step("get_author", "@" + post().author.handle, 1, older && !known(first.key()) ? 1 : 0);
    first_ = older && !known(first.key()) ? evidence_.size() : older ? index_of(first.key()) : 0;
    if (first_ == evidence_.size()) add(std::move(first));
  }

  void add(live::Post&& post) { evidence_.push_back(prepare(std::move(post))); }

  const live::Post& post() const { return evidence_.front().post; }

  size_t index_of(const std::string& key) const {
    const auto found =
        std::ranges::find_if(evidence_, [&](const Evidence& e) { return e.post.key() == key; });
    return static_cast<size_t>(found - evidence_.begin());
  }
  bool known(const std::string& key) const { return index_of(key) < evidence_.size(); }

  void step(std::string_view tool, std::string query, size_t found, size_t read) {
    Step made;
    made.tool = tool;
    made.query = std::move(query);
    made.found = found;
    made.read = read;
    task_.answer.steps.push_back(made);
    if (task_.events.on_step) task_.events.on_step(made);
  }

  /// Posts about the same thing, from outside the thread, that pass the gate.
  void find_others() {
    const size_t most = task_.request.search.max_results;
    const Evidence subject = evidence_.front();
    const Plan plan = Subject(task_, subject, opening_of(subject)).plan();
    if (plan.terms.empty()) return;
    Reading reading = read_posts(task_.store, plan, task_.request.search, task_.events.on_step);
    task_.answer.steps.insert(task_.answer.steps.end(), reading.steps.begin(), reading.steps.end());
    for (const Quote& quote : rank_quotes(plan, reading)) {
      if (evidence_.size() >= most) break;
      Evidence& other = reading.evidence[quote.index];
      if (other.shape == subject.shape || known(other.post.key()) || other.trust < kMinTrust) continue;
      others_.push_back({evidence_.size(), quote.passage, quote.score, {}, false});
      evidence_.push_back(other);
    }
  }

  bool quote(std::string_view phrase, size_t index) {
    const Evidence& e = evidence_[index];
    const Span passage = opening_of(e);
    if (passage.size() == 0) return true;
    const std::string words = quoted(slice(e.post.text, passage));
    return task_.out.claim(say(phrase, attribution(e), task_.time(e.post.created_at), words), {{&e, passage}},
                           "\n");
  }

  void tell_post() {
    const Evidence& e = evidence_.front();
    const Span passage = opening_of(e);
    if (passage.size() > 0)
      task_.out.claim(fmt::format("{} - {}, {}", quoted(slice(e.post.text, passage)), attribution(e),
                                  task_.time(e.post.created_at)),
                      {{&e, passage}}, "\n");
    if (e.post.author.handle.empty()) return;
    task_.out.heading(task_.phrases.author);
    quote(task_.phrases.first_post, first_);
  }

  void tell_thread() {
    if (below_ == 1) return;
    task_.out.heading(task_.phrases.thread);
    for (size_t i = 1; i < below_; ++i) {
      const bool quoted_post = i < above_ && evidence_[i].post.id == post().quote_of;
      const std::string_view phrase = i >= above_   ? task_.phrases.reply
                                      : quoted_post ? task_.phrases.quotes
                                                    : task_.phrases.answers;
      // Further up it is no answer of this post's, only what came before.
      const bool direct = i >= above_ || i + 1 == above_;
      if (!quote(direct ? phrase : std::string_view("{}, {}: {}"), i)) return;
    }
  }

  void tell_others() {
    task_.out.heading(task_.phrases.others);
    const Evidence& subject = evidence_.front();
    const auto words = stems_in(subject, opening_of(subject));
    size_t count = 0;
    bool disputed = false;  // then there is something else: it is told below
    std::unordered_set<std::string_view> authors;
    for (const Quote& other : others_) {
      const Evidence& e = evidence_[other.index];
      const bool opposes = disputes_subject(other.index).has_value();
      disputed = disputed || opposes;
      if (opposes || count >= kOthers || !authors.insert(e.handle).second) continue;
      const std::string text = quoted(slice(e.post.text, other.passage));
      const bool same = alike(words, stems_in(e, other.passage)) >= 0.8;
      const std::string line =
          same ? say(task_.phrases.same, attribution(e), text)
               : fmt::format("{} - {}, {}", text, attribution(e), task_.time(e.post.created_at));
      if (!task_.out.claim(line, {{&e, other.passage}}, "\n")) return;
      ++count;
    }
    if (count == 0 && !disputed) task_.out.remark(task_.phrases.nothing_else);
  }

  /// The dispute of the subject with this post alone.
  std::optional<Dispute> disputes_subject(size_t index) const {
    const Evidence& subject = evidence_.front();
    return find_dispute(evidence_, {index}, subject, opening_of(subject));
  }

  void tell_disputes() {
    task_.out.heading(task_.phrases.disputed);
    size_t count = 0;
    for (size_t i = 1; i < evidence_.size() && count < kOthers; ++i) {
      const auto dispute = disputes_subject(i);
      if (!dispute) continue;
      const Evidence& e = evidence_[i];
      const std::string words = quoted(slice(e.post.text, dispute->passage));
      const std::string when = task_.time(e.post.created_at);
      const bool earlier = e.post.created_at < post().created_at;
      const std::string line = !dispute->figure ? say(task_.phrases.but, attribution(e), when, words)
                               : earlier        ? say(task_.phrases.earlier, when, words, attribution(e))
                                                : say(task_.phrases.later, when, words, attribution(e));
      if (!task_.out.claim(line, {{&e, dispute->passage}}, "\n")) return;
      ++count;
    }
    if (count == 0) task_.out.remark(task_.phrases.undisputed);
  }

  const Task& task_;
  std::vector<Evidence> evidence_;  // the post, above, below, the author's first, others
  size_t above_ = 1, below_ = 1;    // ends of these parts
  size_t first_ = 0;                // of the author; 0: the post itself
  std::vector<Quote> others_;
};

}  // namespace

void explain(const Task& task) { Explainer(task).run(); }

}  // namespace fathom::answer
