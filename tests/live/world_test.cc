// The sample world of this repository: its counts, its posts, and every promise that its truth makes.
#include "live/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "live/world/scenario.h"
#include "live/world/wording.h"

namespace fathom::live {
namespace {

std::filesystem::path scenarios() { return std::filesystem::path(FATHOM_SOURCE_DIR) / "data/world"; }

WorldOptions options_of(uint64_t seed, size_t posts = WorldOptions{}.posts) {
  WorldOptions options;
  options.scenarios = scenarios();
  options.seed = seed;
  options.posts = posts;
  return options;
}

// Generated once for all tests: the world that `fathom world` writes.
const World& the_world() {
  static const World world = generate_world(options_of(1));
  return world;
}

std::map<std::string, const Post*> posts_by_id(const World& world) {
  std::map<std::string, const Post*> out;
  for (const Post& post : world.posts) out[post.id] = &post;
  return out;
}

std::map<std::string, const WorldFact*> facts_by_id(const World& world) {
  std::map<std::string, const WorldFact*> out;
  for (const WorldFact& fact : world.truth.facts) out[fact.id] = &fact;
  return out;
}

bool states_any(const std::string& text, const std::vector<std::string>& answers) {
  return std::any_of(answers.begin(), answers.end(),
                     [&](const auto& answer) { return states(text, answer); });
}

TEST(World, HasWhatTheIssueAsksFor) {
  const World& world = the_world();
  EXPECT_GE(world.posts.size(), 30'000u);
  EXPECT_EQ(world.truth.accounts.size(), 2'000u);
  EXPECT_EQ(world.truth.storylines.size(), 60u);
  EXPECT_GE(world.truth.questions.size(), 700u);
  std::set<std::string> authors, langs;
  size_t replies = 0, reposts = 0, quotes = 0, sensitive = 0;
  for (const Post& post : world.posts) {
    authors.insert(post.author.handle);
    langs.insert(post.lang);
    replies += !post.reply_to.empty();
    reposts += !post.repost_of.empty();
    quotes += !post.quote_of.empty();
    sensitive += post.sensitive;
  }
  EXPECT_GE(authors.size(), 1'800u);
  EXPECT_EQ(langs, (std::set<std::string>{"de", "en", "es", "fr", "it", "ja", "pt"}));
  EXPECT_GE(replies, 2'000u);
  EXPECT_GE(reposts, 3'000u);
  EXPECT_GE(quotes, 600u);
  EXPECT_EQ(sensitive, 0u);
}

TEST(World, AsksEveryKindOfQuestion) {
  std::map<std::string, size_t> kinds, langs;
  std::set<std::string> storylines;
  for (const WorldQuestion& question : the_world().truth.questions) {
    ++kinds[question.kind];
    ++langs[question.lang];
    storylines.insert(question.storyline);
  }
  for (const char* kind : {"current_value", "changed_figure", "corrected_rumour", "who_said_what", "when",
                           "where", "count", "no_answer", "false_premise", "comparison"}) {
    EXPECT_GE(kinds[kind], 40u) << kind;
  }
  EXPECT_EQ(kinds.size(), 10u);
  EXPECT_EQ(storylines.size(), 60u);
  for (const char* lang : {"de", "es", "fr", "it", "ja", "pt"}) EXPECT_GE(langs[lang], 20u) << lang;
}

TEST(World, AsksMoreQuestionsWhenTold) {
  WorldOptions options = options_of(1, 5'000);
  options.questions_per_value = 3;
  const World world = generate_world(options);
  EXPECT_GE(world.truth.questions.size(), 1'600u);
  std::set<std::string> ids;
  for (const WorldQuestion& question : world.truth.questions) EXPECT_TRUE(ids.insert(question.id).second);
}

TEST(World, SameSeedSameBytesOtherSeedOtherBytes) {
  const TempDir folder("world");
  const auto bytes_of = [&](const char* name, uint64_t seed) {
    write_world(generate_world(options_of(seed, 3'000)), folder.path() / name);
    return read_file(folder.path() / name / "posts.ndjson") + read_file(folder.path() / name / "truth.json");
  };
  const std::string first = bytes_of("a", 7);
  EXPECT_EQ(first, bytes_of("b", 7));
  EXPECT_NE(first, bytes_of("c", 8));
}

TEST(World, PostsAreSortedUniqueAndLabelledFiction) {
  std::set<std::string> ids;
  const Post* before = nullptr;
  for (const Post& post : the_world().posts) {
    EXPECT_TRUE(ids.insert(post.id).second) << post.id;
    EXPECT_TRUE(post.fiction);
    EXPECT_EQ(post.source, "world");
    EXPECT_EQ(post.url, "https://world.invalid/@" + post.author.handle + "/" + post.id);
    EXPECT_GE(post.created_at, world_day());
    EXPECT_LT(post.created_at, world_day() + std::chrono::hours(24));
    EXPECT_TRUE(is_valid_utf8(post.text));
    EXPECT_FALSE(post.text.empty());
    EXPECT_LE(post.text.size(), 700u) << post.text;
    for (const std::string& link : post.links) {
      EXPECT_TRUE(link.starts_with("https://")) << link;
      EXPECT_TRUE(link.find(".invalid") != std::string::npos || link.find(".example") != std::string::npos)
          << link;
    }
    if (before) {
      EXPECT_LE(before->created_at, post.created_at);
      EXPECT_LT(before->id.size() < post.id.size() ? std::string() : before->id, post.id);
    }
    before = &post;
  }
}

TEST(World, RepliesQuotesAndRepostsPointAtEarlierPosts) {
  const auto posts = posts_by_id(the_world());
  for (const Post& post : the_world().posts) {
    for (const std::string* target : {&post.reply_to, &post.quote_of, &post.repost_of}) {
      if (target->empty()) continue;
      ASSERT_TRUE(posts.contains(*target)) << post.text;
      const Post& other = *posts.at(*target);
      EXPECT_LT(other.created_at, post.created_at) << post.text;
      EXPECT_NE(other.author.handle, post.author.handle) << post.text;
      if (target == &post.repost_of) {
        EXPECT_EQ(post.text, "RT @" + other.author.handle + ": " + other.text);
      }
      if (target == &post.reply_to) {
        EXPECT_TRUE(post.text.starts_with("@" + other.author.handle + " ")) << post.text;
      }
    }
  }
}

TEST(World, CountsOnAPostCoverWhatTheFeedHolds) {
  std::map<std::string, int64_t> reposts, replies;
  for (const Post& post : the_world().posts) {
    if (!post.repost_of.empty()) ++reposts[post.repost_of];
    if (!post.reply_to.empty()) ++replies[post.reply_to];
  }
  for (const Post& post : the_world().posts) {
    if (!post.repost_of.empty()) continue;
    EXPECT_GE(post.metrics.reposts.value(), reposts[post.id]) << post.text;
    EXPECT_GE(post.metrics.replies.value(), replies[post.id]) << post.text;
    EXPECT_GE(post.metrics.views.value(), post.metrics.likes.value()) << post.text;
  }
}

TEST(World, HandlesAreDistinct) {
  std::set<std::string> handles;
  for (const WorldAccount& account : the_world().truth.accounts) {
    EXPECT_TRUE(handles.insert(to_lower_ascii(account.handle)).second) << account.handle;
    EXPECT_FALSE(account.name.empty());
  }
  for (const Post& post : the_world().posts)
    EXPECT_TRUE(handles.contains(to_lower_ascii(post.author.handle)));
}

TEST(World, EveryFactIsStatedByItsPosts) {
  const auto posts = posts_by_id(the_world());
  for (const WorldFact& fact : the_world().truth.facts) {
    EXPECT_GE(fact.posts.size(), 3u) << fact.id;
    ASSERT_FALSE(fact.accepted.empty());
    EXPECT_EQ(fact.value, fact.accepted.front());
    if (fact.valid_to) {
      EXPECT_LT(fact.valid_from, *fact.valid_to) << fact.id;
    }
    for (const std::string& id : fact.posts) {
      ASSERT_TRUE(posts.contains(id)) << fact.id;
      const Post& post = *posts.at(id);
      EXPECT_TRUE(states_any(post.text, fact.accepted)) << fact.id << ": " << post.text;
      EXPECT_GE(post.created_at, fact.valid_from) << fact.id << ": " << post.text;
      // Only a repost, or a rumour, outlives the value's time.
      if (fact.valid_to && !fact.is_false && post.repost_of.empty()) {
        EXPECT_LT(post.created_at, *fact.valid_to) << fact.id << ": " << post.text;
      }
    }
  }
}

TEST(World, ValuesOfAFigureFollowEachOther) {
  const WorldFact* before = nullptr;
  for (const WorldFact& fact : the_world().truth.facts) {
    if (before && before->key == fact.key) {
      ASSERT_TRUE(before->valid_to.has_value()) << before->id;
      EXPECT_EQ(*before->valid_to, fact.valid_from) << fact.id;
      EXPECT_NE(before->value, fact.value) << fact.id;
    } else if (before && !before->is_false) {
      EXPECT_FALSE(before->valid_to.has_value()) << before->id;
    }
    before = &fact;
  }
}

TEST(World, EveryRumourIsCorrected) {
  const auto posts = posts_by_id(the_world());
  size_t rumours = 0;
  for (const WorldFact& fact : the_world().truth.facts) {
    if (!fact.is_false) {
      EXPECT_TRUE(fact.corrected_by.empty());
      continue;
    }
    ++rumours;
    ASSERT_TRUE(fact.valid_to.has_value());
    EXPECT_GE(fact.corrected_by.size(), 3u) << fact.id;
    for (const std::string& id : fact.corrected_by)
      EXPECT_GE(posts.at(id)->created_at, *fact.valid_to) << fact.id;
  }
  EXPECT_GE(rumours, 55u);
}

TEST(World, PostsThatStateAFactNameTheirStoryline) {
  const auto loaded = world::load_scenarios(scenarios());
  std::map<std::string, std::vector<std::string>> names;
  for (const auto& story : loaded.storylines) {
    names[story.id] = story.names;
    for (const std::string& tag : story.tags) names[story.id].push_back("#" + tag);
  }
  const auto posts = posts_by_id(the_world());
  for (const WorldFact& fact : the_world().truth.facts) {
    for (const std::string& id : fact.posts) {
      const std::string& text = posts.at(id)->text;
      EXPECT_TRUE(std::any_of(names[fact.storyline].begin(), names[fact.storyline].end(),
                              [&](const auto& name) { return world::contains_ignore_case(text, name); }))
          << fact.id << ": " << text;
    }
  }
}

TEST(World, QuestionsAreAnsweredByTheirGoldPosts) {
  const auto posts = posts_by_id(the_world());
  const auto facts = facts_by_id(the_world());
  for (const WorldQuestion& question : the_world().truth.questions) {
    EXPECT_TRUE(question.question.ends_with('?')) << question.question;
    EXPECT_GE(question.asked_at, world_day());
    EXPECT_LT(question.asked_at, world_day() + std::chrono::hours(24));
    if (question.kind == "no_answer") {
      EXPECT_TRUE(question.answers.empty() && question.gold_posts.empty() && question.fact.empty());
      continue;
    }
    ASSERT_TRUE(facts.contains(question.fact)) << question.id;
    const WorldFact& fact = *facts.at(question.fact);
    ASSERT_FALSE(question.gold_posts.empty()) << question.id;
    // Right at that time: the fact holds (a rumour has been corrected), and its posts so far are the gold.
    EXPECT_GE(question.asked_at, fact.is_false ? *fact.valid_to : fact.valid_from) << question.id;
    if (!fact.is_false && fact.valid_to) {
      EXPECT_LT(question.asked_at, *fact.valid_to) << question.id;
    }
    std::vector<std::string> expected;
    for (const std::string& id : fact.is_false ? fact.corrected_by : fact.posts) {
      if (posts.at(id)->created_at <= question.asked_at) expected.push_back(id);
    }
    // Two figures are compared, or one voice is asked for: the gold is more, or less, than the fact's own posts.
    const bool whole = question.kind != "comparison" && question.kind != "who_said_what";
    if (whole) {
      EXPECT_EQ(question.gold_posts, expected) << question.id;
    }
    size_t stating = 0;
    for (const std::string& id : question.gold_posts) {
      EXPECT_LE(posts.at(id)->created_at, question.asked_at) << question.id;
      const bool says = states_any(posts.at(id)->text, question.answers);
      stating += says;
      if (question.kind != "comparison") {
        EXPECT_TRUE(says) << question.question << ": " << posts.at(id)->text;
      }
    }
    EXPECT_GT(stating, 0u) << question.question;
    if (!fact.is_false) {
      EXPECT_EQ(question.answers.front(), fact.value) << question.id;
    }
  }
}

TEST(World, NothingAnswersAQuestionWithoutAnAnswer) {
  const auto loaded = world::load_scenarios(scenarios());
  size_t checked = 0;
  for (const auto& story : loaded.storylines) {
    for (const auto& question : story.no_answers) {
      for (const std::string& absent : question.absent) {
        ++checked;
        const auto found =
            std::find_if(the_world().posts.begin(), the_world().posts.end(),
                         [&](const Post& post) { return world::contains_ignore_case(post.text, absent); });
        EXPECT_TRUE(found == the_world().posts.end())
            << story.id << ", \"" << absent << "\": " << found->text;
      }
    }
  }
  EXPECT_GE(checked, 60u);
}

TEST(World, TextsVaryAndReadAsPeopleWrite) {
  std::map<std::string, size_t> texts;
  size_t originals = 0, repeats = 0;
  for (const Post& post : the_world().posts) {
    for (const char* slip :
         {"  ", " ,", " .", "{", "}", "[", "]", "|", "?.", " the the ", " a a ", " the a "}) {
      const bool ellipsis = std::string_view(slip) == " ." && post.text.find(" ..") != std::string::npos;
      EXPECT_TRUE(ellipsis || post.text.find(slip) == std::string::npos)
          << "'" << slip << "' in: " << post.text;
    }
    if (!post.repost_of.empty()) continue;
    ++originals;
    repeats += texts[post.text]++ > 0;
  }
  EXPECT_LT(repeats * 100, originals * 2);
}

TEST(World, ScalesDownAndUp) {
  const World small = generate_world(options_of(3, 1));
  EXPECT_GE(small.truth.questions.size(), 700u);  // the truth needs its posts
  EXPECT_LE(small.posts.size(), 4'000u);
  EXPECT_GE(generate_world(options_of(3, 60'000)).posts.size(), 60'000u);
}

TEST(World, WritesPostsThatReadBack) {
  const TempDir folder("world");
  const World world = generate_world(options_of(5, 2'500));
  write_world(world, folder.path() / "deep" / "er");
  const std::string text = read_file(folder.path() / "deep" / "er" / "posts.ndjson");
  size_t index = 0;
  for (const std::string_view line : split(text, '\n')) {
    if (line.empty()) continue;
    ASSERT_LT(index, world.posts.size());
    const Post& original = world.posts[index++];
    const Post post = parse_post(line, Time{});
    EXPECT_EQ(to_json(post), to_json(original));
  }
  EXPECT_EQ(index, world.posts.size());
  const auto truth = nlohmann::json::parse(read_file(folder.path() / "deep" / "er" / "truth.json"));
  EXPECT_EQ(truth.at("seed"), 5);
  EXPECT_EQ(truth.at("version"), kWorldVersion);
  EXPECT_EQ(truth.at("fiction"), true);
  EXPECT_EQ(truth.at("facts").size(), world.truth.facts.size());
  EXPECT_EQ(truth.at("questions").size(), world.truth.questions.size());
  EXPECT_TRUE(truth.at("facts").at(0).contains("valid_to"));
}

TEST(World, RefusesOptionsThatMakeNoSense) {
  const auto message_of = [](const WorldOptions& options) {
    try {
      generate_world(options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message_of(options_of(1, 0)).find("posts; asked for 0"), std::string::npos);
  EXPECT_NE(message_of(options_of(1, 6'000'000)).find("6000000"), std::string::npos);
  WorldOptions few = options_of(1);
  few.accounts = 20;
  EXPECT_NE(message_of(few).find("asked for 20"), std::string::npos);
  WorldOptions none = options_of(1);
  none.questions_per_value = 0;
  EXPECT_NE(message_of(none).find("questions per value"), std::string::npos);
  WorldOptions lost = options_of(1);
  lost.scenarios = "/nowhere/at/all";
  EXPECT_NE(message_of(lost).find("/nowhere/at/all"), std::string::npos);
}

TEST(World, StatesMatchesWholeWords) {
  EXPECT_TRUE(states("11 injured", "11"));
  EXPECT_TRUE(states("Injured: ELEVEN.", "eleven"));
  EXPECT_TRUE(states("it was 3.", "3"));
  EXPECT_TRUE(states("a 2-1 win", "2-1"));
  EXPECT_TRUE(states("now 38 %, I hear", "38 %"));
  EXPECT_TRUE(states("13 and then 3", "3"));
  EXPECT_FALSE(states("13 injured", "3"));
  EXPECT_FALSE(states("3.5 m", "3"));
  EXPECT_FALSE(states("3,200 homes", "3"));
  EXPECT_FALSE(states("1,300", "300"));
  EXPECT_FALSE(states("scarcely", "scar"));
  EXPECT_FALSE(states("anything", ""));
}

}  // namespace
}  // namespace fathom::live
