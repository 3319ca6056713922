#include "answer/retrieve.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "answer/scope.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kTellingShape = 12;  // bytes: posts of a shorter one are not copies for being alike
constexpr size_t kEnough = 12;        // posts that pass the gate: no wider search is needed

/// The term as the query language reads it. A hashtag is asked for as a word, so that both forms are found.
std::string query_word(const Word& word) {
  if (word.kind == WordKind::kHandle) return "@" + word.folded;
  if (word.kind == WordKind::kTicker) return "$" + word.folded;
  return word.folded;
}

/// Runs the searches of one question and gathers what they find.
class Reader {
 public:
  Reader(const live::Store& store, const Plan& plan, const SearchParameters& parameters,
         const StepSink& on_step)
      : store_(store), plan_(plan), parameters_(parameters), on_step_(on_step) {
    for (const Term& term : plan.terms) {
      if (!term.weak) strong_.push_back(&term.word);
    }
    if (strong_.empty()) {
      for (const Term& term : plan.terms) strong_.push_back(&term.word);
    }
  }

  Reading run() {
    reading_.as_of = store_.feed_time();
    posts_ = static_cast<size_t>(store_.stats().posts);
    reading_.relevance = std::make_unique<Relevance>(plan_, frequencies_, posts_);
    search_speaker();
    search_all();
    search_newest();
    search_any();
    search_rarest();
    rank();
    return std::move(reading_);
  }

 private:
  std::string words(const std::vector<const Word*>& list) const {
    std::string text;
    for (const Word* word : list) text += (text.empty() ? "" : " ") + query_word(*word);
    return text;
  }

  /// Words of one author: by handle, or by the name that authors of matching posts bear.
  void search_speaker() {
    std::vector<std::string> handles = plan_.speakers;
    if (handles.empty() && !plan_.speaker_names.empty()) {
      std::vector<const Word*> names;
      for (const Word& word : plan_.speaker_names) names.push_back(&word);
      live::Query query = base_query(parameters_);
      query.text = words(names) + " " + words(strong_);
      query.limit = 60;
      search(std::move(query), false);
      handles = handles_of_names();
      if (handles.empty()) {  // its own posts seldom say its name: a word of it is enough
        live::Query wider = base_query(parameters_);
        wider.text = words(names);
        wider.limit = 200;
        search(std::move(wider), false);
        handles = handles_of_names();
      }
    }
    std::erase_if(handles, [&](const std::string& handle) { return !admits_author(parameters_, handle); });
    if (handles.empty()) {  // nobody of that name posts: others may report what was said
      for (const Word& word : plan_.speaker_names) strong_.push_back(&word);
      return;
    }
    live::Query query = base_query(parameters_);
    query.authors = handles;
    query.text = words(strong_);
    query.limit = 40;
    if (strong_.empty()) query.order = live::Query::Order::kNewest;
    reading_.speaker_handles = handles;
    search(std::move(query), true);
  }

  std::vector<std::string> handles_of_names() const {
    std::vector<std::string> out;
    for (const auto& evidence : found_) {
      size_t had = 0;
      for (const Word& name : plan_.speaker_names) {
        had += evidence.is_about(name) && month_number(name.folded) == 0 && weekday_number(name.folded) == 0
                   ? 1
                   : 0;
      }
      const std::string handle = to_lower_ascii(evidence.post.author.handle);
      const bool enough = had > 0 && had * 2 >= plan_.speaker_names.size();
      if (enough && !handle.empty() && std::ranges::find(out, handle) == out.end() && out.size() < 5)
        out.push_back(handle);
    }
    return out;
  }

  void search_all() {
    if (strong_.empty()) return;
    live::Query query = windowed();
    query.text = words(strong_);
    for (const std::string& phrase : plan_.phrases) query.text += " \"" + phrase + "\"";
    query.require_all = true;
    query.limit = surveys() ? 120 : 50;
    all_matched_ = search(std::move(query), true);
  }

  /// The newest posts about the names (or the two rarest terms): where a changed figure stands.
  void search_newest() {
    if (strong_.empty()) return;
    std::vector<const Word*> names;
    const bool counts = plan_.ask == Ask::kHowMany || plan_.ask == Ask::kHowMuch;
    for (const Term& term : plan_.terms) {
      if (term.name) names.push_back(&term.word);
    }
    for (const bool focus : {true, false}) {  // what is counted tells more than what happened to it
      for (const size_t i : reading_.relevance->rarest()) {
        if (names.size() >= 2) break;
        const Term& term = plan_.terms[i];
        const bool measured = counts && term.focus && plan_.unit != Unit::kNone && plan_.unit != Unit::kScore;
        if (!term.name && (!term.weak || measured) && (!focus || (counts && term.focus)))
          names.push_back(&term.word);
      }
    }
    if (all_matched_ > 50) names = strong_;
    if (names.empty()) return;
    live::Query query = windowed();
    query.text = words(names);
    query.require_all = true;
    query.order = live::Query::Order::kNewest;
    query.limit = surveys() ? 20 : 60;
    search(std::move(query), true);
  }

  /// "What happened": an event shows in many posts of any age.
  bool surveys() const { return plan_.overview && !plan_.latest; }

  void search_any() {
    if (strong_.empty() || passing() >= kEnough * 2) return;
    live::Query query = base_query(parameters_);
    if (plan_.window.hard || passing() > 0) query = windowed();
    query.text = words(strong_);
    size_t added = 0;
    for (const Term& term : plan_.terms) {
      for (const std::string_view other : related_words(term.word)) {
        if (++added > 24) break;
        query.text += " " + std::string(other);
      }
      if (term.weak) query.text += " " + query_word(term.word);
    }
    query.limit = 160;
    search(std::move(query), true);
  }

  /// The rarest terms alone, when all together found next to nothing.
  void search_rarest() {
    if (plan_.terms.size() < 2 || passing() >= 3) return;
    std::vector<const Word*> rare;
    for (const size_t i : reading_.relevance->rarest()) {
      if (rare.size() < 2) rare.push_back(&plan_.terms[i].word);
    }
    live::Query query = base_query(parameters_);
    if (plan_.window.hard) query = windowed();
    query.text = words(rare);
    query.require_all = true;
    query.limit = 60;
    search(std::move(query), true);
  }

  live::Query windowed() const {
    live::Query query = base_query(parameters_);
    query.since = later(query.since, plan_.window.since);
    query.until = earlier(query.until, plan_.window.until);
    return query;
  }

  size_t passing() const {
    return static_cast<size_t>(
        std::ranges::count_if(found_, [&](const Evidence& e) { return reading_.relevance->passes(e); }));
  }

  size_t search(live::Query query, bool learn) {
    query.weights.recency = surveys() ? 0 : 0.15;
    if (surveys()) query.weights.engagement = 0;
    const std::string text = query.text;
    const live::SearchResult result = store_.search(query);
    if (learn && frequencies_.size() < result.terms.size()) {
      frequencies_ = result.terms;
      reading_.relevance = std::make_unique<Relevance>(plan_, frequencies_, posts_);
    }
    Step step;
    step.query = text.empty() && !query.authors.empty() ? "from:" + query.authors.front() : text;
    step.found = result.matched;
    step.found_exact = result.matched_exact;
    double best = 0;
    for (const live::Hit& hit : result.hits) best = std::max(best, hit.text_score);
    for (const live::Hit& hit : result.hits) step.read += keep(hit, best) ? 1 : 0;
    report(std::move(step));
    return result.matched;
  }

  /// A search for the same words in another order is one step with the first.
  void report(Step step) {
    const auto same =
        std::ranges::find_if(reading_.steps, [&](const Step& s) { return s.query == step.query; });
    if (same != reading_.steps.end()) {
      same->read += step.read;
      return;
    }
    reading_.steps.push_back(step);
    if (on_step_) on_step_(step);
  }

  bool keep(const live::Hit& hit, double best) {
    if (!admits_author(parameters_, hit.post.author.handle) || !seen_.insert(hit.post.key()).second)
      return false;
    Evidence evidence = prepare(hit.post);
    evidence.text_score = best > 0 ? hit.text_score / best : 0;
    evidence.copies = hit.folded.size();
    if (const auto [at, fresh] = shapes_.try_emplace(evidence.shape, found_.size());
        !fresh && evidence.shape.size() > kTellingShape) {
      Evidence& first = found_[at->second];
      const size_t copies = first.copies + evidence.copies + 1;
      if (evidence.post.created_at < first.post.created_at && !is_repost(evidence))
        first = std::move(evidence);
      first.copies = copies;
      return false;
    }
    found_.push_back(std::move(evidence));
    return true;
  }

  static bool is_repost(const Evidence& evidence) {
    return !evidence.post.repost_of.empty() || (!evidence.words.empty() && evidence.words[0].folded == "rt");
  }

  /// The best first. Which of them is the answer is the writer's matter.
  void rank() {
    const Relevance& relevance = *reading_.relevance;
    Time newest{}, oldest = Time::max();
    for (const Evidence& e : found_) {
      if (!relevance.passes(e)) continue;
      newest = std::max(newest, e.post.created_at);
      oldest = std::min(oldest, e.post.created_at);
    }
    const double range = newest > oldest ? static_cast<double>((newest - oldest).count()) : 1;
    std::vector<std::pair<double, size_t>> order;
    for (size_t i = 0; i < found_.size(); ++i) {
      const Evidence& e = found_[i];
      const bool passes = relevance.passes(e);
      const double age = passes ? static_cast<double>((newest - e.post.created_at).count()) / range : 1;
      double score = relevance.coverage(e) + 0.2 * e.text_score + 0.25 * (1 - age) +
                     0.05 * std::log2(1 + static_cast<double>(e.copies)) + (passes ? 2 : 0);
      const std::string handle = to_lower_ascii(e.post.author.handle);
      if (std::ranges::find(reading_.speaker_handles, handle) != reading_.speaker_handles.end()) score += 1;
      order.emplace_back(score * e.trust, i);
    }
    std::ranges::sort(order, [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    for (const auto& [score, i] : order) {
      reading_.evidence.push_back(std::move(found_[i]));
    }
  }

  const live::Store& store_;
  const Plan& plan_;
  const SearchParameters& parameters_;
  const StepSink& on_step_;
  std::vector<const Word*> strong_;
  std::vector<std::pair<std::string, size_t>> frequencies_;
  size_t posts_ = 0;
  size_t all_matched_ = 0;
  std::vector<Evidence> found_;
  std::unordered_set<std::string> seen_;
  std::unordered_map<std::string, size_t> shapes_;
  Reading reading_;
};

}  // namespace

Reading read_posts(const live::Store& store, const Plan& plan, const SearchParameters& parameters,
                   const StepSink& on_step) {
  return Reader(store, plan, parameters, on_step).run();
}

size_t join(Reading& reading, std::vector<live::Post> posts) {
  size_t added = 0;
  for (live::Post& post : posts) {
    Evidence evidence = prepare(std::move(post));
    const bool had = std::ranges::any_of(reading.evidence, [&](const Evidence& other) {
      const bool copy = evidence.shape.size() > kTellingShape && evidence.shape == other.shape;
      return copy || other.post.key() == evidence.post.key();
    });
    if (had) continue;
    reading.evidence.push_back(std::move(evidence));
    ++added;
  }
  return added;
}

Reading read_newest(const live::Store& store, const Plan& plan, const SearchParameters& parameters,
                    size_t limit, const StepSink& on_step) {
  Reading reading;
  reading.as_of = store.feed_time();
  reading.relevance = std::make_unique<Relevance>(plan, std::vector<std::pair<std::string, size_t>>{}, 0);
  using std::chrono::hours;
  const bool given = plan.window.since || plan.window.until;
  for (const hours span : {hours{24}, hours{24 * 7}, hours{24 * 60}, hours{24 * 36500}}) {
    live::Query query = base_query(parameters);
    query.order = live::Query::Order::kNewest;
    query.limit = limit;
    query.since = later(query.since, given ? plan.window.since : reading.as_of - span);
    query.until = earlier(query.until, plan.window.until);
    const live::SearchResult result = store.search(query);
    Step step;
    step.query = "newest";
    if (query.since) step.query += " since:" + format_time(*query.since);
    step.found = result.matched;
    step.found_exact = result.matched_exact;
    reading.evidence.clear();
    for (const live::Hit& hit : result.hits) {
      reading.evidence.push_back(prepare(hit.post));
      reading.evidence.back().copies = hit.folded.size();
    }
    step.read = reading.evidence.size();
    reading.steps.push_back(step);
    if (on_step) on_step(step);
    if (given || reading.evidence.size() >= 12) break;
  }
  return reading;
}

}  // namespace fathom::answer
