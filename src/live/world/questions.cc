// Questions about the sample world, each with the answer that is right when it is asked.
#include <algorithm>

#include "live/world/generator.h"

namespace fathom::live::world {
namespace {

constexpr int64_t kSettled = 120;  // seconds between the first post that knows and the question

class Questioner {
 public:
  Questioner(const Scenarios& scenarios, const WorldOptions& options, const std::vector<FactOrigin>& origins,
             World& world)
      : scenarios_(scenarios), options_(options), origins_(origins), world_(world) {}

  void ask_all() {
    size_t next = 0;
    for (uint32_t s = 0; s < scenarios_.storylines.size(); ++s) {
      const Storyline& story = scenarios_.storylines[s];
      Random random(options_.seed ^ hash_text(story.id + "/questions"));
      for (; next < origins_.size() && origins_[next].story == s; ++next) ask_fact(story, next, random);
      for (const FalsePremise& premise : story.false_premises) ask_premise(s, story, premise, random);
      for (const NoAnswer& question : story.no_answers) ask_nothing(story, question, random);
      for (const Inquiry& inquiry : story.inquiries) ask_inquiry(s, story, inquiry, random);
    }
  }

 private:
  static int64_t second_of(Time time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time - world_day()).count();
  }

  // Ids begin with the second since 1970.
  static int64_t second_of(const std::string& id) {
    const int64_t day =
        std::chrono::duration_cast<std::chrono::seconds>(world_day().time_since_epoch()).count();
    return std::stoll(id) / 1'000'000 - day;
  }

  static std::string kind_of(const Storyline& story, const FactOrigin& origin) {
    const std::string& kind = story.facts[origin.index].kind;
    if (kind == "who") return "who_said_what";
    if (kind == "when" || kind == "where") return kind;
    if (origin.value > 0) return "changed_figure";
    return kind == "count" ? "count" : "current_value";
  }

  void ask_fact(const Storyline& story, size_t number, Random& random) {
    const FactOrigin& origin = origins_[number];
    if (origin.rumour) {
      ask_rumour(story, story.rumours[origin.index].questions, number, {}, 0, "corrected_rumour", random);
      return;
    }
    const WorldFact& fact = world_.truth.facts[number];
    const Fact& source = story.facts[origin.index];
    const FactValue& value = source.values[origin.value];
    if (!value.ask) return;
    const auto& forms = value.questions.empty() ? source.questions : value.questions;
    ask(story, forms, fact, fact.posts, fact.accepted, source.end_of(origin.value), 0, kind_of(story, origin),
        random);
  }

  // Asked once it has been corrected; what corrects it is what answers.
  void ask_rumour(const Storyline& story, const std::vector<Template>& forms, size_t number,
                  const std::vector<std::string>& more_answers, int64_t after, const std::string& kind,
                  Random& random) {
    const Rumour& rumour = story.rumours[origins_[number].index];
    const WorldFact& fact = world_.truth.facts[number];
    std::vector<std::string> answers = rumour.answers;
    answers.insert(answers.end(), more_answers.begin(), more_answers.end());
    ask(story, forms, fact, fact.corrected_by, answers, kDaySeconds, std::max(after, rumour.corrected), kind,
        random);
  }

  void ask(const Storyline& story, const std::vector<Template>& forms, const WorldFact& fact,
           const std::vector<std::string>& posts, const std::vector<std::string>& answers, int64_t until,
           int64_t after, const std::string& kind, Random& random) {
    if (posts.empty()) return;
    const int64_t from = std::max(second_of(posts.front()) + kSettled, after);
    if (from >= until) return;
    const size_t first = random.below(forms.size());
    for (size_t i = 0; i < options_.questions_per_value; ++i) {
      WorldQuestion out;
      out.kind = kind;
      out.asked_at =
          world_day() + std::chrono::seconds(
                            from + static_cast<int64_t>(random.below(static_cast<uint64_t>(until - from))));
      out.question = words(story, forms[(first + i) % forms.size()], random);
      out.answers = answers;
      out.gold_posts = until_then(posts, out.asked_at);
      out.fact = fact.id;
      add(story, std::move(out));
    }
  }

  // About each value that holds after the inquiry's time.
  void ask_inquiry(uint32_t s, const Storyline& story, const Inquiry& inquiry, Random& random) {
    for (size_t number = 0; number < origins_.size(); ++number) {
      const FactOrigin& origin = origins_[number];
      if (origin.story != s || origin.rumour || origin.index != inquiry.fact) continue;
      const int64_t until = story.facts[inquiry.fact].end_of(origin.value);
      const auto settled = settled_second(number, inquiry.by);
      const int64_t from = std::max({settled.value_or(until), inquiry.after});
      if (from >= until) continue;
      WorldQuestion out;
      out.kind = inquiry.kind;
      out.lang = inquiry.lang;
      out.question = words(story, inquiry.question, random);
      out.asked_at =
          world_day() + std::chrono::seconds(
                            from + static_cast<int64_t>(random.below(static_cast<uint64_t>(until - from))));
      out.fact = world_.truth.facts[number].id;
      out.answers = world_.truth.facts[number].accepted;
      out.gold_posts = until_then(posts_of(number, inquiry.by), out.asked_at);
      if (inquiry.than && !compare(s, story, inquiry, number, out)) continue;
      out.answers.insert(out.answers.end(), inquiry.answers.begin(), inquiry.answers.end());
      add(story, std::move(out));
    }
  }

  // The other figure as it is when the question is asked: its posts are gold too, and it answers when it wins. False when
  // nobody has told it, or when the two are equal.
  bool compare(uint32_t s, const Storyline& story, const Inquiry& inquiry, size_t number,
               WorldQuestion& out) {
    const int64_t second = second_of(out.asked_at);
    const auto value = story.facts[*inquiry.than].value_at(second);
    if (!value) return false;
    const auto other = std::find_if(origins_.begin(), origins_.end(), [&](const FactOrigin& origin) {
      return origin.story == s && !origin.rumour && origin.index == *inquiry.than && origin.value == *value;
    });
    const auto index = static_cast<size_t>(other - origins_.begin());
    const WorldFact& rival = world_.truth.facts[index];
    const std::vector<std::string> told = until_then(posts_of(index, {}), out.asked_at);
    const double mine = figure_of(world_.truth.facts[number].value, story.lang);
    const double theirs = figure_of(rival.value, story.lang);
    if (told.empty() || mine == theirs) return false;
    if ((theirs > mine) != inquiry.less) {
      out.answers = rival.accepted;
      out.fact = rival.id;
    }
    out.gold_posts.insert(out.gold_posts.end(), told.begin(), told.end());
    std::sort(out.gold_posts.begin(), out.gold_posts.end());
    out.gold_posts.erase(std::unique(out.gold_posts.begin(), out.gold_posts.end()), out.gold_posts.end());
    return true;
  }

  // The first number of a value, as it is written in a language.
  static double figure_of(const std::string& value, std::string_view lang) {
    const char point = lang == "en" || lang == "ja" ? '.' : ',';
    double out = 0, unit = 1;
    bool begun = false, behind = false;
    for (const char c : value) {
      if (c >= '0' && c <= '9') {
        begun = true;
        if (behind) unit /= 10;
        out = behind ? out + unit * (c - '0') : out * 10 + (c - '0');
      } else if (begun && c == point) {
        behind = true;
      } else if (begun && c != '.' && c != ',') {
        break;
      }
    }
    return out;
  }

  // The posts that state a fact, or those of them by accounts of one role of its storyline.
  std::vector<std::string> posts_of(size_t number, const std::string& by) const {
    std::vector<std::string> out;
    for (const std::string& id : world_.truth.facts[number].posts) {
      if (by.empty() || said_by(id, scenarios_.storylines[origins_[number].story], by)) out.push_back(id);
    }
    return out;
  }

  bool said_by(const std::string& id, const Storyline& story, const std::string& role) const {
    const auto post =
        std::lower_bound(world_.posts.begin(), world_.posts.end(), id,
                         [](const Post& one, const std::string& wanted) { return one.id < wanted; });
    return post != world_.posts.end() && post->id == id && post->repost_of.empty() &&
           std::any_of(story.cast.begin(), story.cast.end(), [&](const CastMember& member) {
             return member.role == role && member.handle == post->author.handle;
           });
  }

  // When the first such post has settled; empty when there is none.
  std::optional<int64_t> settled_second(size_t number, const std::string& by) const {
    const std::vector<std::string> posts = posts_of(number, by);
    if (posts.empty()) return std::nullopt;
    return second_of(posts.front()) + kSettled;
  }

  // About the first value that still holds after the premise's time.
  void ask_premise(uint32_t s, const Storyline& story, const FalsePremise& premise, Random& random) {
    for (size_t number = 0; number < origins_.size(); ++number) {
      const FactOrigin& origin = origins_[number];
      if (origin.story != s || origin.rumour != premise.rumour || origin.index != premise.index) continue;
      const size_t before = world_.truth.questions.size();
      if (premise.rumour) {
        ask_rumour(story, {premise.question}, number, premise.answers, premise.after, "false_premise",
                   random);
      } else {
        ask_premise_of_fact(story, premise, number, random);
      }
      if (world_.truth.questions.size() > before) return;
    }
  }

  void ask_premise_of_fact(const Storyline& story, const FalsePremise& premise, size_t number,
                           Random& random) {
    const FactOrigin& origin = origins_[number];
    const WorldFact& fact = world_.truth.facts[number];
    const int64_t end = story.facts[premise.index].end_of(origin.value);
    if (end <= premise.after) return;
    std::vector<std::string> answers = fact.accepted;
    answers.insert(answers.end(), premise.answers.begin(), premise.answers.end());
    ask(story, {premise.question}, fact, fact.posts, answers, end, premise.after, "false_premise", random);
  }

  void ask_nothing(const Storyline& story, const NoAnswer& question, Random& random) {
    WorldQuestion out;
    out.kind = "no_answer";
    out.asked_at = world_day() + std::chrono::seconds(36'000 + static_cast<int64_t>(random.below(49'000)));
    out.question = words(story, question.question, random);
    add(story, std::move(out));
  }

  std::string words(const Storyline& story, const Template& source, Random& random) const {
    Scene scene;
    scene.scenarios = &scenarios_;
    scene.story = &story;
    std::string text = render_in(source, scene, random);
    capitalise(text);
    return text;
  }

  static std::vector<std::string> until_then(const std::vector<std::string>& posts, Time asked_at) {
    std::vector<std::string> out;
    for (const std::string& id : posts) {
      if (second_of(id) <= second_of(asked_at)) out.push_back(id);
    }
    return out;
  }

  void add(const Storyline& story, WorldQuestion question) {
    const std::string number = std::to_string(++count_);
    question.id = "q" + std::string(number.size() < 4 ? 4 - number.size() : 0, '0') + number;
    question.storyline = story.id;
    if (question.lang.empty()) question.lang = story.lang;
    world_.truth.questions.push_back(std::move(question));
  }

  const Scenarios& scenarios_;
  const WorldOptions& options_;
  const std::vector<FactOrigin>& origins_;
  World& world_;
  size_t count_ = 0;
};

}  // namespace

void add_questions(const Scenarios& scenarios, const WorldOptions& options,
                   const std::vector<FactOrigin>& origins, World& world) {
  Questioner(scenarios, options, origins, world).ask_all();
}

}  // namespace fathom::live::world
