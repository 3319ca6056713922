#include "live/world/generator.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/error.h"

namespace fathom::live::world {
namespace {

constexpr size_t kMostPosts = 5'000'000;
constexpr int kAttempts = 8;
constexpr uint32_t kNone = UINT32_MAX;

// Shares of the posts in thousandths; what is left are reposts.
constexpr size_t kStoryShare = 520, kChatterShare = 170, kSpamShare = 45, kReplyShare = 95, kQuoteShare = 30;

// How busy each hour is, 24 of them.
constexpr std::array<uint32_t, 24> kRhythm = {3, 2, 1, 1, 1, 2,  5,  8,  9,  8,  8, 8,
                                              9, 9, 8, 8, 9, 10, 11, 12, 12, 10, 7, 4};
constexpr uint32_t kBusiest = 12;

const Slang kNoSlang;  // the shared one is English

enum class Relation : uint8_t { kOriginal, kReply, kRepost, kQuote };

struct Draft {
  int64_t second = 0;
  uint32_t account = 0;
  uint32_t story = kNone;
  std::string text;
  std::vector<uint32_t> states;    // facts, by index in the truth
  std::vector<uint32_t> corrects;  // rumours, likewise
  Relation relation = Relation::kOriginal;
  uint32_t target = kNone;  // a draft
  uint32_t importance = 1;  // 0: nobody reposts it
  uint32_t reposts = 0, replies = 0;
};

// What is to be said; `compose` finds the words.
struct Order {
  const std::vector<Template>* templates = nullptr;
  uint32_t story = kNone;
  uint32_t account = 0;
  Voice voice = Voice::kCasual;
  int64_t second = 0;
  uint32_t importance = 1;
  const Fact* fact = nullptr;  // whose templates these are
  size_t value = 0;
  uint32_t states = kNone;    // a fact that the text must state
  uint32_t corrects = kNone;  // a rumour that it must correct
  bool needed = false;        // the truth rests on it: rather a repeat than nothing
};

int64_t clamp_second(int64_t second, int64_t from, int64_t to) {
  return std::max(from, std::min(second, to - 1));
}

class Generator {
 public:
  Generator(const Scenarios& scenarios, const WorldOptions& options)
      : scenarios_(scenarios),
        options_(options),
        people_(make_population(scenarios, options.accounts, options.seed)),
        stream_(options.seed) {}

  World make() {
    number_facts();
    add_stories();
    add_topics(scenarios_.common.chatter, "chatter", share(kChatterShare));
    add_topics(scenarios_.common.spam, "spam", share(kSpamShare));
    rank_originals();
    if (!ranks_.empty() && ranks_.back() > 0) {
      add_replies(share(kReplyShare));
      add_quotes(share(kQuoteShare));
      add_reposts();
    }
    World world;
    world.truth.seed = options_.seed;
    finish(world);
    add_questions(scenarios_, options_, origins_, world);
    return world;
  }

 private:
  size_t share(size_t thousandths) const { return options_.posts * thousandths / 1000; }

  const Storyline& story_of(uint32_t story) const { return scenarios_.storylines[story]; }

  // ---- facts

  void number_facts() {
    for (uint32_t s = 0; s < scenarios_.storylines.size(); ++s) {
      const Storyline& story = story_of(s);
      auto& fact_numbers = fact_numbers_.emplace_back();
      for (uint32_t f = 0; f < story.facts.size(); ++f) {
        fact_numbers.push_back(static_cast<uint32_t>(facts_.size()));
        for (uint32_t v = 0; v < story.facts[f].values.size(); ++v) add_fact({s, false, f, v});
      }
      auto& rumour_numbers = rumour_numbers_.emplace_back();
      for (uint32_t r = 0; r < story.rumours.size(); ++r) {
        rumour_numbers.push_back(static_cast<uint32_t>(facts_.size()));
        add_fact({s, true, r, 0});
      }
    }
  }

  void add_fact(const FactOrigin& origin) {
    const Storyline& story = story_of(origin.story);
    WorldFact out;
    out.storyline = story.id;
    int64_t from = 0, to = kDaySeconds;
    if (origin.rumour) {
      const Rumour& rumour = story.rumours[origin.index];
      out.key = story.id + "." + rumour.key;
      out.subject = rumour.subject;
      out.attribute = rumour.attribute;
      out.accepted = rumour.accepted;
      out.is_false = true;
      from = rumour.from;
      to = rumour.corrected;
    } else {
      const Fact& fact = story.facts[origin.index];
      out.key = story.id + "." + fact.key;
      out.subject = fact.subject;
      out.attribute = fact.attribute;
      out.accepted = fact.values[origin.value].accepted;
      from = fact.values[origin.value].from;
      to = fact.end_of(origin.value);
    }
    out.value = out.accepted[0];
    out.id = out.key + "." + std::to_string(origin.value + 1);
    out.valid_from = world_day() + std::chrono::seconds(from);
    if (to < kDaySeconds) out.valid_to = world_day() + std::chrono::seconds(to);
    facts_.push_back(std::move(out));
    origins_.push_back(origin);
  }

  uint32_t fact_number(uint32_t story, size_t fact, size_t value) const {
    return fact_numbers_[story][fact] + static_cast<uint32_t>(value);
  }

  // ---- times

  int64_t any_second(int64_t from, int64_t to, Random& random) const {
    int64_t second = from;
    for (int attempt = 0; attempt < 8; ++attempt) {
      second = from + static_cast<int64_t>(random.below(static_cast<uint64_t>(to - from)));
      if (random.below(kBusiest) < kRhythm[static_cast<size_t>(second / 3600)]) break;
    }
    return second;
  }

  // Soon after something happened, seldom much later: most within the first quarter of `within`.
  static int64_t soon_after(int64_t from, int64_t within, Random& random) {
    const auto part = static_cast<int64_t>(random.below(1000));
    return from + within * (part * part * part / 1'000'000) / 1000 + static_cast<int64_t>(random.below(40));
  }

  int64_t second_in(int64_t from, int64_t to, Random& random) const {
    if (random.below(100) < 30) return any_second(from, to, random);
    return clamp_second(soon_after(from, std::min<int64_t>(to - from, 7200), random), from, to);
  }

  // ---- who

  uint32_t of_kind(const std::string& kind, Random& random) const {
    const auto& some = people_.by_kind.at(kind);
    return some[random.below(some.size())];
  }

  // `role` empty: any.
  uint32_t of_cast(uint32_t story, Voice voice, const std::string& role, Random& random) const {
    const auto& members = story_of(story).cast;
    std::vector<uint32_t> found;
    for (size_t i = 0; i < members.size(); ++i) {
      if (members[i].voice != voice || (!role.empty() && members[i].role != role)) continue;
      found.push_back(people_.cast[story][i]);
    }
    return found.empty() ? kNone : found[random.below(found.size())];
  }

  // `by`: the role of the official accounts that may say it.
  uint32_t speaker(uint32_t story, Voice voice, const std::string& by, Random& random) const {
    if (voice == Voice::kOfficial) return of_cast(story, voice, by, random);
    if (voice == Voice::kPress) {
      const bool others = people_.by_kind.contains("press " + story_of(story).lang);
      return !others || random.below(100) < 62 ? of_cast(story, voice, {}, random)
                                               : of_kind("press " + story_of(story).lang, random);
    }
    const uint32_t witness = random.below(100) < 14 ? of_cast(story, voice, {}, random) : kNone;
    if (witness != kNone) return witness;
    const auto& pool = people_.pool[story];
    return pool[random.below(pool.size())];
  }

  // ---- words

  bool usable(const Template& source, const Order& order) const {
    if (source.needs_previous && (!order.fact || order.value == 0)) return false;
    return std::all_of(source.facts.begin(), source.facts.end(), [&](uint32_t fact) {
      return story_of(order.story).facts[fact].value_at(order.second).has_value();
    });
  }

  Scene scene_of(const Order& order, std::vector<uint32_t>& used) const {
    Scene scene;
    scene.scenarios = &scenarios_;
    scene.story = order.story == kNone ? nullptr : &story_of(order.story);
    scene.author = &people_.accounts[order.account];
    scene.second = order.second;
    // The other forms of a value are in the storyline's language, and an authority keeps to one.
    const std::string_view own = scene.story ? std::string_view(scene.story->lang) : "en";
    scene.formal = order.voice == Voice::kOfficial || scene.author->lang != own;
    scene.used_facts = &used;
    if (order.fact) {
      scene.value = &order.fact->values[order.value].forms;
      if (order.value > 0) scene.previous = &order.fact->values[order.value - 1].forms;
    } else if (const uint32_t rumour = order.corrects != kNone ? order.corrects : order.states;
               rumour != kNone) {
      scene.value = &story_of(order.story).rumours[origins_[rumour].index].forms;
    }
    return scene;
  }

  static bool states_any(std::string_view text, const std::vector<std::string>& answers) {
    return std::any_of(answers.begin(), answers.end(),
                       [&](const std::string& answer) { return states(text, answer); });
  }

  const std::vector<std::string>& answers_of(uint32_t rumour) const {
    return story_of(origins_[rumour].story).rumours[origins_[rumour].index].answers;
  }

  // The facts of the story that the text states; those whose slot it used but whose value it lacks are left out.
  std::vector<uint32_t> stated_by(const std::string& text, const Order& order,
                                  const std::vector<uint32_t>& used) const {
    std::vector<uint32_t> out;
    const auto add = [&](uint32_t number) {
      if (states_any(text, facts_[number].accepted)) out.push_back(number);
    };
    if (order.states != kNone) add(order.states);
    for (const uint32_t fact : used) {
      add(fact_number(order.story, fact, *story_of(order.story).facts[fact].value_at(order.second)));
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  void check_said(const Template& source, const std::string& text, const Order& order) const {
    if (order.states != kNone && !states_any(text, facts_[order.states].accepted)) {
      fail(source.place, "this post does not state the value \"" + facts_[order.states].value +
                             "\"; use {value} outside of optional parts (it says: " + text + ")");
    }
    if (order.corrects != kNone && !states_any(text, answers_of(order.corrects))) {
      fail(source.place, "this correction contains none of the rumour's 'answers' (it says: " + text + ")");
    }
  }

  // A post that states something says what about: by a name or, failing that, a hashtag.
  void name_story(std::string& text, const Storyline& story, Random& random) const {
    const auto named = [&](const std::string& name) { return contains_ignore_case(text, name); };
    if (std::any_of(story.names.begin(), story.names.end(), named)) return;
    if (std::any_of(story.tags.begin(), story.tags.end(),
                    [&](const std::string& tag) { return named("#" + tag); })) {
      return;
    }
    text += " #" + story.tags[random.below(story.tags.size())];
  }

  std::string typed(std::string text, const Order& order, const std::vector<uint32_t>& states_before,
                    const std::vector<uint32_t>& used, Random& random) const {
    const Account& author = people_.accounts[order.account];
    if (order.voice != Voice::kCasual) {
      capitalise(text);
      return text;
    }
    if (author.kind == "bot" || author.kind == "spam") return text;
    capitalise(text);
    const Storyline* story = order.story == kNone ? nullptr : &story_of(order.story);
    const auto& emoji = story && !story->emoji.empty() ? story->emoji : scenarios_.common.emoji;
    const Slang& slang = author.lang == "en" ? scenarios_.common.slang : kNoSlang;
    std::string out = apply_habits(text, author.habits, slang, emoji, random);
    const bool same = stated_by(out, order, used) == states_before &&
                      (order.corrects == kNone || states_any(out, answers_of(order.corrects)));
    return same ? out : text;
  }

  // Two posts that differ by their address only say the same.
  static std::string without_links(std::string text) {
    for (const std::string& link : find_links(text)) text.erase(text.find(link), link.size());
    return text;
  }

  // Finds words for an order that no other post has. False when no template can be used at that time, and mostly when
  // all that was tried has been said: people repeat each other, but not often.
  bool compose(const Order& order, Random& random, Draft& draft) {
    std::vector<const Template*> choices;
    for (const Template& source : *order.templates) {
      if (usable(source, order)) choices.push_back(&source);
    }
    if (choices.empty()) return false;
    draft.second = order.second;
    draft.account = order.account;
    draft.story = order.story;
    draft.importance = order.importance;
    if (order.corrects != kNone) draft.corrects = {order.corrects};
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      write(*choices[random.below(choices.size())], order, random, draft);
      if (seen_.insert(hash_text(without_links(draft.text))).second) return true;
    }
    return order.needed || random.below(6) == 0;
  }

  void write(const Template& source, const Order& order, Random& random, Draft& draft) const {
    std::vector<uint32_t> used;
    std::string text = render_in(source, scene_of(order, used), random);
    check_said(source, text, order);
    draft.states = stated_by(text, order, used);
    draft.text = typed(std::move(text), order, draft.states, used, random);
    if (!draft.states.empty() || !draft.corrects.empty())
      name_story(draft.text, story_of(order.story), random);
  }

  bool post(const Order& order, Random& random) {
    Draft draft;
    if (!compose(order, random, draft)) return false;
    drafts_.push_back(std::move(draft));
    return true;
  }

  // ---- storylines

  void add_stories() {
    int64_t weights = 0;
    for (const Storyline& story : scenarios_.storylines) weights += story.weight;
    for (uint32_t s = 0; s < scenarios_.storylines.size(); ++s) {
      Random random(stream_ ^ hash_text(story_of(s).id));
      const size_t budget =
          share(kStoryShare) * static_cast<size_t>(story_of(s).weight) / static_cast<size_t>(weights);
      const size_t before = drafts_.size();
      add_essentials(s, random);
      fill_story(s, before + budget, random);
    }
  }

  // What the truth needs: each value told by those who know and those who report, each rumour spread and corrected.
  void add_essentials(uint32_t s, Random& random) {
    const Storyline& story = story_of(s);
    for (size_t f = 0; f < story.facts.size(); ++f) {
      for (size_t v = 0; v < story.facts[f].values.size(); ++v) {
        const int64_t from = story.facts[f].values[v].from;
        state(s, f, v, Voice::kOfficial, from + static_cast<int64_t>(random.below(60)), random, true);
        state(s, f, v, Voice::kPress, soon_after(from + 60, 900, random), random, true);
        state(s, f, v, Voice::kCasual, soon_after(from + 90, 1800, random), random, true);
      }
    }
    for (uint32_t r = 0; r < story.rumours.size(); ++r) {
      const Rumour& rumour = story.rumours[r];
      for (int i = 0; i < 3; ++i)
        spread(s, r, i == 0 ? rumour.from : second_in(rumour.from, rumour.corrected, random), random, true);
      correct(s, r, Voice::kOfficial, rumour.corrected + static_cast<int64_t>(random.below(60)), random,
              true);
      correct(s, r, Voice::kPress, soon_after(rumour.corrected + 60, 1200, random), random, true);
      correct(s, r, Voice::kCasual, soon_after(rumour.corrected + 120, 2400, random), random, true);
    }
  }

  void fill_story(uint32_t s, size_t until, Random& random) {
    const Storyline& story = story_of(s);
    for (size_t attempts = 0; drafts_.size() < until && attempts < 4 * until + 64; ++attempts) {
      const uint64_t dice = random.below(100);
      if (dice < 36 && !story.phases.empty()) {
        add_phase_post(s, random);
      } else if (dice < 45 && !story.rumours.empty()) {
        add_rumour_post(s, random);
      } else {
        add_statement(s, random);
      }
    }
  }

  void add_statement(uint32_t s, Random& random) {
    if (story_of(s).facts.empty()) return;
    const auto [f, v] = pick_value(s, random);
    const Fact& fact = story_of(s).facts[f];
    const uint64_t dice = random.below(100);
    const Voice voice = dice < 10 ? Voice::kOfficial : dice < 46 ? Voice::kPress : Voice::kCasual;
    const int64_t second = second_in(fact.values[v].from, fact.end_of(v), random);
    if (!fact.voices.foreign.empty() && random.below(100) < 12) {
      state_abroad(s, f, v, second, random);
    } else {
      state(s, f, v, voice, second, random);
    }
  }

  // A value by weight: the fact's own, less when the value held for minutes only.
  std::pair<size_t, size_t> pick_value(uint32_t s, Random& random) const {
    const Storyline& story = story_of(s);
    const auto weight_of = [&](size_t f, size_t v) {
      const int64_t minutes = (story.facts[f].end_of(v) - story.facts[f].values[v].from) / 60;
      return static_cast<uint64_t>(story.facts[f].weight * std::clamp<int64_t>(minutes, 15, 60));
    };
    uint64_t total = 0;
    for (size_t f = 0; f < story.facts.size(); ++f) {
      for (size_t v = 0; v < story.facts[f].values.size(); ++v) total += weight_of(f, v);
    }
    uint64_t at = random.below(total);
    for (size_t f = 0; f < story.facts.size(); ++f) {
      for (size_t v = 0; v < story.facts[f].values.size(); ++v) {
        if (at < weight_of(f, v)) return {f, v};
        at -= weight_of(f, v);
      }
    }
    return {0, 0};
  }

  static const std::vector<Template>* templates_for(const Voices& voices, Voice& voice) {
    if (voice == Voice::kOfficial && voices.official.empty()) voice = Voice::kPress;
    if (voice == Voice::kCasual && voices.casual.empty()) voice = Voice::kPress;
    return voice == Voice::kOfficial ? &voices.official
           : voice == Voice::kPress  ? &voices.press
                                     : &voices.casual;
  }

  static uint32_t importance_of(Voice voice) {
    return voice == Voice::kOfficial ? 6 : voice == Voice::kPress ? 4 : 1;
  }

  void state(uint32_t s, size_t f, size_t v, Voice voice, int64_t second, Random& random,
             bool needed = false) {
    const Fact& fact = story_of(s).facts[f];
    Order order;
    order.needed = needed;
    order.templates = templates_for(fact.voices, voice);
    order.story = s;
    order.voice = voice;
    order.account = speaker(s, voice, fact.by, random);
    order.second = clamp_second(second, fact.values[v].from, fact.end_of(v));
    order.importance = importance_of(voice);
    order.fact = &fact;
    order.value = v;
    order.states = fact_number(s, f, v);
    post(order, random);
  }

  void state_abroad(uint32_t s, size_t f, size_t v, int64_t second, Random& random) {
    const Fact& fact = story_of(s).facts[f];
    const ForeignPosts& foreign = fact.voices.foreign[random.below(fact.voices.foreign.size())];
    const std::string kind = "local " + foreign.lang;
    if (foreign.templates.empty()) return;
    if (!people_.by_kind.contains(kind))
      fail(fact.place, "accounts.toml has no accounts of language " + foreign.lang);
    Order order;
    order.templates = &foreign.templates;
    order.story = s;
    order.account = of_kind(kind, random);
    order.second = second;
    order.fact = &fact;
    order.value = v;
    order.states = fact_number(s, f, v);
    post(order, random);
  }

  void spread(uint32_t s, uint32_t r, int64_t second, Random& random, bool needed = false) {
    Order order;
    order.needed = needed;
    order.templates = &story_of(s).rumours[r].spread;
    order.story = s;
    order.account = speaker(s, Voice::kCasual, {}, random);
    order.second = second;
    order.importance = 3;
    order.states = rumour_numbers_[s][r];
    if (post(order, random)) claims_[order.states].push_back(static_cast<uint32_t>(drafts_.size() - 1));
  }

  void correct(uint32_t s, uint32_t r, Voice voice, int64_t second, Random& random, bool needed = false) {
    Order order;
    order.needed = needed;
    order.templates = templates_for(story_of(s).rumours[r].corrections, voice);
    order.story = s;
    order.voice = voice;
    order.account = speaker(s, voice, story_of(s).rumours[r].by, random);
    order.second = clamp_second(second, 0, kDaySeconds);
    order.importance = importance_of(voice) + 1;
    order.corrects = rumour_numbers_[s][r];
    if (!post(order, random)) return;
    const auto& claims = claims_[order.corrects];
    if (voice == Voice::kCasual && !claims.empty() && random.below(100) < 40) {
      answer(static_cast<uint32_t>(drafts_.size() - 1), claims[random.below(claims.size())]);
    }
  }

  // Makes a draft a reply to an earlier one.
  void answer(uint32_t reply, uint32_t target) {
    if (drafts_[target].second >= drafts_[reply].second || drafts_[target].account == drafts_[reply].account)
      return;
    drafts_[reply].relation = Relation::kReply;
    drafts_[reply].target = target;
    drafts_[reply].text = "@" + people_.accounts[drafts_[target].account].handle + " " + drafts_[reply].text;
  }

  void add_rumour_post(uint32_t s, Random& random) {
    const Storyline& story = story_of(s);
    const auto r = static_cast<uint32_t>(random.below(story.rumours.size()));
    const Rumour& rumour = story.rumours[r];
    if (random.below(100) < 60) {
      // A few still spread it after the correction.
      const int64_t end =
          std::min(kDaySeconds, rumour.corrected + (rumour.corrected - rumour.from) / 8 + 600);
      spread(s, r, second_in(rumour.from, end, random), random);
    } else {
      const uint64_t dice = random.below(100);
      const Voice voice = dice < 12 ? Voice::kOfficial : dice < 45 ? Voice::kPress : Voice::kCasual;
      correct(s, r, voice, soon_after(rumour.corrected + 60, 9000, random), random);
    }
  }

  void add_phase_post(uint32_t s, Random& random) {
    const Storyline& story = story_of(s);
    uint64_t total = 0;
    for (const Phase& phase : story.phases) total += static_cast<uint64_t>(phase.weight);
    uint64_t at = random.below(total);
    size_t p = 0;
    while (at >= static_cast<uint64_t>(story.phases[p].weight))
      at -= static_cast<uint64_t>(story.phases[p++].weight);
    const Phase& phase = story.phases[p];
    const uint64_t dice = random.below(100);
    Voice voice = dice < 5 ? Voice::kOfficial : dice < 18 ? Voice::kPress : Voice::kCasual;
    if ((voice == Voice::kOfficial && phase.voices.official.empty()) ||
        (voice == Voice::kPress && phase.voices.press.empty())) {
      voice = Voice::kCasual;
    }
    Order order;
    order.story = s;
    order.second = any_second(phase.from, phase.to, random);
    if (!phase.voices.foreign.empty() && random.below(100) < 15) {
      const ForeignPosts& foreign = phase.voices.foreign[random.below(phase.voices.foreign.size())];
      if (foreign.templates.empty() || !people_.by_kind.contains("local " + foreign.lang)) return;
      order.templates = &foreign.templates;
      order.account = of_kind("local " + foreign.lang, random);
    } else {
      order.templates = templates_for(phase.voices, voice);
      order.voice = voice;
      order.account = speaker(s, voice, story_of(s).authority, random);
      order.importance = importance_of(voice);
    }
    post(order, random);
  }

  // ---- small talk and spam

  void add_topics(const std::vector<Topic>& topics, std::string_view stream, size_t count) {
    Random random(stream_ ^ hash_text(stream));
    uint64_t total = 0;
    for (const Topic& topic : topics) total += static_cast<uint64_t>(topic.weight);
    for (size_t i = 0; i < count; ++i) {
      uint64_t at = random.below(total);
      size_t t = 0;
      while (at >= static_cast<uint64_t>(topics[t].weight)) at -= static_cast<uint64_t>(topics[t++].weight);
      Order order;
      order.templates = &topics[t].posts;
      order.account = of_kind(topics[t].kind + " " + topics[t].lang, random);
      order.voice = people_.accounts[order.account].voice;
      order.second = any_second(topics[t].from, topics[t].to, random);
      order.importance = topics[t].kind == "spam" || topics[t].kind == "bot" ? 0 : 1;
      post(order, random);
    }
  }

  // ---- replies, quotes and reposts

  // Running sums of how likely each draft so far is to be taken up.
  void rank_originals() {
    uint64_t sum = 0;
    for (const Draft& draft : drafts_) {
      uint64_t reach = 1;
      for (int64_t followers = people_.accounts[draft.account].followers; followers > 8; followers /= 3)
        ++reach;
      sum += draft.importance * reach;
      ranks_.push_back(sum);
    }
  }

  uint32_t pick_original(Random& random) const {
    const uint64_t at = random.below(ranks_.back());
    return static_cast<uint32_t>(std::upper_bound(ranks_.begin(), ranks_.end(), at) - ranks_.begin());
  }

  uint32_t someone_but(uint32_t target, Random& random) const {
    const uint32_t story = drafts_[target].story;
    for (int attempt = 0; attempt < 20; ++attempt) {
      const bool anyone = story == kNone || (story_of(story).lang == "en" && random.below(100) < 35);
      const uint32_t account =
          anyone ? of_kind("local en", random) : speaker(story, Voice::kCasual, {}, random);
      if (account != drafts_[target].account) return account;
    }
    return kNone;
  }

  // Later on the same day: empty when the target stands at the very end of it.
  static std::optional<int64_t> later(int64_t second, int64_t within, Random& random) {
    const int64_t at = soon_after(second + 20, within, random);
    return at < kDaySeconds ? std::optional(at) : std::nullopt;
  }

  bool react(uint32_t target, const std::vector<Template>& templates, Relation relation, int64_t within,
             Random& random) {
    const auto second = later(drafts_[target].second, within, random);
    const uint32_t account = someone_but(target, random);
    if (!second || account == kNone) return false;
    Order order;
    order.templates = &templates;
    order.story = drafts_[target].story;
    order.account = account;
    order.second = *second;
    Draft draft;
    if (!compose(order, random, draft)) return false;
    draft.importance = 0;
    draft.relation = relation;
    draft.target = target;
    const Account& author = people_.accounts[drafts_[target].account];
    if (relation == Relation::kReply) draft.text = "@" + author.handle + " " + draft.text;
    drafts_.push_back(std::move(draft));
    return true;
  }

  // Whether people react in the storyline's own words: always where the shared ones are in another language.
  bool has_own(uint32_t story, const std::vector<Template>& words, uint64_t percent, Random& random) const {
    return !words.empty() && (random.below(100) < percent || story_of(story).lang != "en");
  }

  void add_replies(size_t count) {
    Random random(stream_ ^ hash_text("replies"));
    const Common& common = scenarios_.common;
    for (size_t made = 0, attempts = 0; made < count && attempts < 4 * count; ++attempts) {
      const uint32_t target = pick_original(random);
      const uint32_t story = drafts_[target].story;
      const bool own = story != kNone && has_own(story, story_of(story).replies, 65, random);
      const auto& templates = own              ? story_of(story).replies
                              : story == kNone ? common.chatter_replies
                                               : common.news_replies;
      if (react(target, templates, Relation::kReply, 5400, random)) ++made;
    }
  }

  void add_quotes(size_t count) {
    Random random(stream_ ^ hash_text("quotes"));
    for (size_t made = 0, attempts = 0; made < count && attempts < 8 * count; ++attempts) {
      const uint32_t target = pick_original(random);
      const uint32_t story = drafts_[target].story;
      if (story == kNone) continue;
      const bool own = has_own(story, story_of(story).quotes, 60, random);
      const auto& templates = own ? story_of(story).quotes : scenarios_.common.quotes;
      if (react(target, templates, Relation::kQuote, 7200, random)) ++made;
    }
  }

  void add_reposts() {
    Random random(stream_ ^ hash_text("reposts"));
    for (size_t attempts = 0; drafts_.size() < options_.posts && attempts < 8 * options_.posts; ++attempts) {
      const uint32_t target = pick_original(random);
      const auto second = later(drafts_[target].second, 10'800, random);
      const uint32_t account = someone_but(target, random);
      if (!second || account == kNone) continue;
      Draft draft;
      draft.second = *second;
      draft.account = account;
      draft.story = drafts_[target].story;
      draft.text = "RT @" + people_.accounts[drafts_[target].account].handle + ": " + drafts_[target].text;
      draft.states = drafts_[target].states;
      draft.corrects = drafts_[target].corrects;
      draft.relation = Relation::kRepost;
      draft.target = target;
      drafts_.push_back(std::move(draft));
    }
  }

  // ---- the feed

  void finish(World& world) {
    std::vector<uint32_t> by_time(drafts_.size());
    for (uint32_t i = 0; i < by_time.size(); ++i) by_time[i] = i;
    std::sort(by_time.begin(), by_time.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(drafts_[a].second, a) < std::pair(drafts_[b].second, b);
    });
    give_ids(by_time);
    for (const Draft& draft : drafts_) {
      if (draft.target == kNone) continue;
      if (draft.relation == Relation::kReply) ++drafts_[draft.target].replies;
      if (draft.relation == Relation::kRepost) ++drafts_[draft.target].reposts;
    }
    Random random(stream_ ^ hash_text("metrics"));
    world.posts.reserve(drafts_.size());
    for (const uint32_t i : by_time) {
      world.posts.push_back(post_of(i, random));
      for (const uint32_t fact : drafts_[i].states) facts_[fact].posts.push_back(ids_[i]);
      for (const uint32_t rumour : drafts_[i].corrects) facts_[rumour].corrected_by.push_back(ids_[i]);
    }
    world.truth.facts = std::move(facts_);
    for (const Storyline& story : scenarios_.storylines)
      world.truth.storylines.push_back({story.id, story.title});
    for (const Account& account : people_.accounts) {
      world.truth.accounts.push_back(
          {account.handle, account.name, account.kind, account.bio, account.followers});
    }
  }

  // The second since 1970 and a count within it: unique, and rising with time.
  void give_ids(const std::vector<uint32_t>& by_time) {
    ids_.resize(drafts_.size());
    const int64_t day =
        std::chrono::duration_cast<std::chrono::seconds>(world_day().time_since_epoch()).count();
    int64_t last = -1, count = 0;
    for (const uint32_t i : by_time) {
      count = drafts_[i].second == last ? count + 1 : 0;
      last = drafts_[i].second;
      ids_[i] = std::to_string((day + last) * 1'000'000 + count);
    }
  }

  Post post_of(uint32_t i, Random& random) const {
    const Draft& draft = drafts_[i];
    const Account& author = people_.accounts[draft.account];
    Post post;
    post.id = ids_[i];
    post.source = "world";
    post.author = {author.handle, {}, author.name, author.followers};
    post.text = draft.text;
    post.lang = author.lang;
    post.created_at = world_day() + std::chrono::seconds(draft.second);
    post.received_at = post.created_at;
    post.url = "https://world.invalid/@" + author.handle + "/" + post.id;
    post.links = find_links(draft.text);
    post.tags = find_tags(draft.text);
    post.fiction = true;
    if (draft.relation == Relation::kReply) post.reply_to = ids_[draft.target];
    if (draft.relation == Relation::kRepost) post.repost_of = ids_[draft.target];
    if (draft.relation == Relation::kQuote) {
      post.quote_of = ids_[draft.target];
      post.links.push_back("https://world.invalid/@" +
                           people_.accounts[drafts_[draft.target].account].handle + "/" + post.quote_of);
    }
    post.metrics = metrics_of(draft, author, random);
    return post;
  }

  // Grows with the author's followers and the post's importance; a repost keeps the counts on the original.
  static Metrics metrics_of(const Draft& draft, const Account& author, Random& random) {
    if (draft.relation == Relation::kRepost) return {0, 0, 0, 0};
    const auto part = static_cast<int64_t>(random.below(1000));
    const int64_t luck = part * part / 1000 * part / 1000;  // 0..999, mostly small
    const int64_t reach = author.followers * static_cast<int64_t>(draft.importance + 1);
    Metrics out;
    const int64_t reposts = draft.reposts;
    const int64_t likes =
        std::min(author.followers, reach * (4 + luck) / 90'000) + static_cast<int64_t>(random.below(4));
    out.likes = likes + 2 * reposts;
    out.reposts = reposts + likes / static_cast<int64_t>(3 + random.below(7));
    out.replies = static_cast<int64_t>(draft.replies) + likes / static_cast<int64_t>(6 + random.below(12));
    // Two draws in one expression would come in an order that each compiler chooses.
    const auto views_per_like = static_cast<int64_t>(20 + random.below(60));
    out.views = *out.likes * views_per_like + static_cast<int64_t>(random.below(90));
    return out;
  }

  const Scenarios& scenarios_;
  const WorldOptions& options_;
  Population people_;
  uint64_t stream_;
  std::vector<Draft> drafts_;
  std::vector<std::string> ids_;  // by draft
  std::vector<uint64_t> ranks_;
  std::vector<WorldFact> facts_;
  std::vector<FactOrigin> origins_;
  std::vector<std::vector<uint32_t>> fact_numbers_, rumour_numbers_;  // [storyline][fact]: its first value
  std::map<uint32_t, std::vector<uint32_t>> claims_;                  // rumour -> drafts that spread it
  std::unordered_set<uint64_t> seen_;                                 // hashes of texts; never walked
};

}  // namespace

World build_world(const Scenarios& scenarios, const WorldOptions& options) {
  if (options.posts < 1 || options.posts > kMostPosts) {
    throw Error(ErrorCode::kInvalidArgument,
                "the sample world can have 1 to 5000000 posts; asked for " + std::to_string(options.posts));
  }
  if (options.questions_per_value < 1 || options.questions_per_value > 16) {
    throw Error(ErrorCode::kInvalidArgument, "questions per value must be from 1 to 16; asked for " +
                                                 std::to_string(options.questions_per_value));
  }
  return Generator(scenarios, options).make();
}

}  // namespace fathom::live::world
