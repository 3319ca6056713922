#include "live/world/accounts.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace fathom::live::world {
namespace {

constexpr size_t kPoolSize = 60;
constexpr size_t kFewestOthers = 80;
constexpr size_t kLongestHandle = 20;
constexpr int kDepthLimit = 12;

std::string two_digits(int64_t value) {
  std::string out = std::to_string(value);
  return out.size() < 2 ? "0" + out : out;
}

std::string address_of(const Account& author, Random& random) {
  std::string host = to_lower_ascii(author.handle);
  std::erase(host, '_');
  return "https://" + host + ".invalid/" + std::to_string(10'000 + random.below(90'000));
}

const std::string& pick_form(const std::vector<std::string>& forms, bool formal, Random& random) {
  if (formal || forms.size() == 1 || random.below(100) < 60) return forms[0];
  return forms[1 + random.below(forms.size() - 1)];
}

class SceneFiller {
 public:
  SceneFiller(const Scene& scene, Random& random) : scene_(scene), random_(random) {}

  std::string text_of(const Template& source) {
    if (++depth_ > kDepthLimit) fail(source.place, "lists name each other in a circle");
    std::string out = render(source, random_, [this](const Slot& slot) { return fill(slot); });
    --depth_;
    return out;
  }

 private:
  std::string fill(const Slot& slot) {
    switch (slot.kind) {
      case SlotKind::kValue: return pick_form(*scene_.value, scene_.formal, random_);
      case SlotKind::kPrevious: return pick_form(*scene_.previous, scene_.formal, random_);
      case SlotKind::kClock: {
        const int64_t minutes = scene_.second / 300 * 5;
        return two_digits(minutes / 60) + ":" + two_digits(minutes % 60);
      }
      case SlotKind::kDaypart: return daypart();
      case SlotKind::kNumber:
        return std::to_string(
            slot.low + static_cast<int64_t>(random_.below(static_cast<uint64_t>(slot.high - slot.low) + 1)));
      case SlotKind::kTag: return "#" + tag();
      case SlotKind::kLink: return address_of(*scene_.author, random_);
      case SlotKind::kCast: return member(slot.index).name;
      case SlotKind::kHandle: return "@" + member(slot.index).handle;
      case SlotKind::kFact: return fact(slot.index);
      case SlotKind::kList: return entry(scene_.story->lists[slot.index]);
      case SlotKind::kShared: return shared(slot.index);
    }
    return {};
  }

  std::string daypart() const {
    const int64_t hour = scene_.second / 3600;
    return hour >= 4 && hour < 12 ? "morning" : hour >= 12 && hour < 17 ? "afternoon" : "evening";
  }

  const std::string& tag() {
    const auto& stories = scene_.scenarios->storylines;
    const Storyline& story = scene_.story ? *scene_.story : stories[random_.below(stories.size())];
    return story.tags[random_.below(story.tags.size())];
  }

  const CastMember& member(uint32_t role) {
    const std::string& name = scene_.story->roles[role];
    std::vector<const CastMember*> found;
    for (const CastMember& one : scene_.story->cast) {
      if (one.role == name) found.push_back(&one);
    }
    return *found[random_.below(found.size())];
  }

  std::string fact(uint32_t index) {
    const Fact& found = scene_.story->facts[index];
    if (scene_.used_facts) scene_.used_facts->push_back(index);
    const auto value = found.value_at(scene_.second);
    FATHOM_CHECK(value.has_value(), "a template was used before its fact had a value");
    return pick_form(found.values[*value].forms, scene_.formal, random_);
  }

  // A list named my_... always gives the same author the same entry: whom one cheers for, where one lives.
  std::string entry(const WordList& list) {
    const size_t count = list.entries.size();
    const bool own = list.name.starts_with("my_") && scene_.author;
    const size_t at = own ? hash_text(scene_.author->handle + list.name) % count : random_.below(count);
    return text_of(list.entries[at]);
  }

  std::string shared(uint32_t index) {
    const WordList& list = scene_.scenarios->common.lists[index];
    if (!scene_.picks) return entry(list);
    const auto found = scene_.picks->find(index);
    if (found != scene_.picks->end()) return found->second;
    std::string text = entry(list);
    scene_.picks->emplace(index, text);
    return text;
  }

  const Scene& scene_;
  Random& random_;
  int depth_ = 0;
};

Habits make_habits(const std::string& kind, Random& random) {
  Habits habits;
  if (kind != "local" && kind != "fan") return habits;
  habits.lower_case = random.below(100) < 17;
  habits.no_full_stop = habits.lower_case || random.below(100) < 55;
  habits.slang = random.below(100) < 45 ? static_cast<uint32_t>(100 + random.below(600)) : 0;
  habits.typo = random.below(100) < 50 ? static_cast<uint32_t>(40 + random.below(220)) : 0;
  habits.emoji = random.below(100) < 55 ? static_cast<uint32_t>(60 + random.below(440)) : 0;
  habits.shout = static_cast<uint32_t>(random.below(200));
  return habits;
}

// Small counts are common and large ones rare: the cube of an even spread.
int64_t skewed(int64_t low, int64_t high, Random& random) {
  const auto part = static_cast<int64_t>(random.below(1000));
  return low + (high - low) / 1000 * (part * part * part / 1'000'000) +
         static_cast<int64_t>(random.below(static_cast<uint64_t>((high - low) / 50) + 1));
}

std::string as_handle(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter || (c >= '0' && c <= '9') || c == '_') out += c;
  }
  return out;
}

class PopulationMaker {
 public:
  PopulationMaker(const Scenarios& scenarios, uint64_t seed)
      : scenarios_(scenarios), random_(seed ^ hash_text("accounts")) {}

  Population make(size_t total) {
    add_cast();
    if (total < out_.accounts.size() + kFewestOthers) {
      throw Error(ErrorCode::kInvalidArgument, "the sample world needs at least " +
                                                   std::to_string(out_.accounts.size() + kFewestOthers) +
                                                   " accounts; asked for " + std::to_string(total));
    }
    add_others(total - out_.accounts.size());
    fill_pools();
    return std::move(out_);
  }

 private:
  void add_cast() {
    for (const Storyline& story : scenarios_.storylines) {
      auto& members = out_.cast.emplace_back();
      for (const CastMember& member : story.cast) {
        Account account;
        account.handle = member.handle;
        account.name = member.name;
        account.voice = member.voice;
        account.followers = member.followers;
        account.lang = story.lang;
        account.kind = member.voice == Voice::kOfficial ? "official"
                       : member.voice == Voice::kPress  ? "press"
                                                        : "witness";
        if (member.voice == Voice::kCasual) account.habits = make_habits("local", random_);
        account.bio = bio_of(story, member);
        if (!handles_.insert(to_lower_ascii(account.handle)).second) {
          fail({story.file, 1}, "the handle '" + account.handle + "' belongs to another member of a cast");
        }
        members.push_back(add(std::move(account)));
      }
    }
  }

  static std::string bio_of(const Storyline& story, const CastMember& member) {
    if (member.voice == Voice::kOfficial) return "Official account. " + member.name + ". Fiction.";
    if (member.voice == Voice::kPress) return "News. " + member.name + ". Fiction.";
    return "#" + story.tags[0] + ". Fiction.";
  }

  // Each kind takes its share; every kind gets one at least.
  void add_others(size_t count) {
    const auto& kinds = scenarios_.common.accounts;
    int64_t shares = 0;
    for (const AccountKind& kind : kinds) shares += kind.share;
    int64_t seen = 0;
    size_t made = 0;
    for (const AccountKind& kind : kinds) {
      seen += kind.share;
      const size_t until = static_cast<size_t>(seen) * count / static_cast<size_t>(shares);
      const size_t end = std::max(until, made + 1);
      for (; made < std::min(end, count); ++made) add_one(kind);
    }
  }

  void add_one(const AccountKind& kind) {
    Account account;
    account.kind = kind.kind;
    account.lang = kind.lang;
    account.voice = kind.kind == "press" ? Voice::kPress : Voice::kCasual;
    account.followers = skewed(kind.followers_low, kind.followers_high, random_);
    account.habits = make_habits(kind.kind, random_);
    for (int attempt = 0;; ++attempt) {
      std::map<uint32_t, std::string> picks;
      Scene scene;
      scene.scenarios = &scenarios_;
      scene.author = &account;
      scene.picks = &picks;
      account.name = text_of(kind.names, scene);
      account.handle = as_handle(text_of(kind.handles, scene));
      account.bio = text_of(kind.bios, scene);
      if (attempt >= 40) account.handle = account.handle.substr(0, 14) + std::to_string(random_.below(1000));
      if (account.handle.size() > kLongestHandle) {
        if (attempt < 40) continue;
        account.handle.resize(kLongestHandle);
      }
      const bool fresh_name = attempt >= 20 || names_.insert(account.name).second;
      if (fresh_name && !account.handle.empty() && handles_.insert(to_lower_ascii(account.handle)).second)
        break;
      if (attempt > 2000)
        fail(kind.place, "'handles' give too few different handles; add a number such as {10..99}");
    }
    out_.by_kind[account.kind + " " + account.lang].push_back(add(account));
  }

  std::string text_of(const std::vector<Template>& templates, const Scene& scene) {
    return render_in(templates[random_.below(templates.size())], scene, random_);
  }

  uint32_t add(Account account) {
    const auto index = static_cast<uint32_t>(out_.accounts.size());
    out_.accounts.push_back(std::move(account));
    return index;
  }

  void fill_pools() {
    for (const Storyline& story : scenarios_.storylines) {
      std::vector<uint32_t> people;
      for (const char* kind : {"local ", "fan "}) {
        const auto& some = out_.by_kind[kind + story.lang];
        people.insert(people.end(), some.begin(), some.end());
      }
      if (people.empty()) fail({story.file, 1}, "accounts.toml has no people who write '" + story.lang + "'");
      auto& pool = out_.pool.emplace_back();
      for (size_t i = 0; i < kPoolSize; ++i) pool.push_back(people[random_.below(people.size())]);
    }
  }

  const Scenarios& scenarios_;
  Random random_;
  Population out_;
  std::set<std::string> handles_, names_;
};

}  // namespace

std::string render_in(const Template& source, const Scene& scene, Random& random) {
  return tidy(SceneFiller(scene, random).text_of(source));
}

Population make_population(const Scenarios& scenarios, size_t total, uint64_t seed) {
  return PopulationMaker(scenarios, seed).make(total);
}

}  // namespace fathom::live::world
