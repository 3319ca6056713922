// The sample world: one invented day of posts, and beside it the truth that the posts tell.
//
// Scenario files (data/world/*.toml, one a storyline, besides accounts.toml, chatter.toml and spam.toml) and a seed give
// a feed of fiction: official accounts, press, witnesses, fans, bots and spam on storylines whose figures change,
// whose rumours are corrected and whose posts are replied to, quoted and reposted. Every post has source "world",
// `fiction` set, and an address under https://world.invalid. The truth names each fact with its validity in time and
// the posts that state it, and asks questions with their answers: the yardstick for search and for answers.
//
// Template syntax (data/world/README.md has the whole format):
//   {slot}              a value, a name or a pick from a list;  {slot^} with a capital;  {a slot} with "a" or "an"
//   {slot?person/people} the first form when the slot is 1 or "one", else the second
//   {@role}             the handle of that member of the cast, with '@';  {3..9} a number from 3 to 9
//   [this|that|]        one of the alternatives;  [now] alone: there or not, half and half;  may be nested
//   \{ \[ \| \\ ...     the character itself
//
// Invariants:
//  (1) the same scenarios, options and version give the same bytes on every machine (integers only, no <random>);
//  (2) posts are sorted by `created_at`, ids are unique and rise with time;
//  (3) a post counts as stating a fact only if its text contains one of the fact's accepted strings (`states`);
//  (4) the answer of a question is the value valid at its `asked_at`, and each of its gold posts was there by then.
//
// Plain values; all functions are pure but for reading and writing the named folders, and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"

namespace fathom::live {

inline constexpr int kWorldVersion = 2;

/// Midnight at which the day begins: 2031-05-14T00:00:00Z, on the feed's own clock.
Time world_day();

struct WorldOptions {
  std::filesystem::path scenarios;  // the folder of the scenario files
  uint64_t seed = 1;
  size_t posts = 30'000;           // at least; 1 to 5,000,000. What the truth needs is written in any case
  size_t accounts = 2'000;         // in all; at least the scenarios' cast and 80 more
  size_t questions_per_value = 1;  // 1 to 16: 1 gives over 500 questions with the files of this repository
};

struct WorldStoryline {
  std::string id;
  std::string title;
};

/// One value of one attribute during one time. A figure that changes is several facts with the same `key`.
struct WorldFact {
  std::string id;   // "<storyline>.<key>.<n>", n from 1
  std::string key;  // "<storyline>.<key>": the same for all values of one figure
  std::string storyline, subject, attribute, value;
  std::vector<std::string> accepted;      // `value` first: any of these says it
  Time valid_from{};                      // of a rumour: when it began
  std::optional<Time> valid_to;           // exclusive; of a rumour: when it was corrected
  std::vector<std::string> posts;         // ids of the posts that state it, in time
  bool is_false = false;                  // a rumour
  std::vector<std::string> corrected_by;  // of a rumour: ids of the posts that correct it
};

/// Kinds: comparison, current_value, changed_figure, corrected_rumour, who_said_what, when, where, count, no_answer, false_premise.
struct WorldQuestion {
  std::string id;
  std::string kind;
  std::string storyline;
  std::string lang;  // of the question
  Time asked_at{};
  std::string question;
  std::vector<std::string> answers;     // accepted strings; none for no_answer
  std::vector<std::string> gold_posts;  // ids, in time; none for no_answer
  std::string fact;                     // id of the fact it asks about; empty for no_answer
};

struct WorldAccount {
  std::string handle, name, kind, bio;
  int64_t followers = 0;
};

struct WorldTruth {
  uint64_t seed = 0;
  int version = kWorldVersion;
  std::vector<WorldStoryline> storylines;
  std::vector<WorldFact> facts;
  std::vector<WorldQuestion> questions;
  std::vector<WorldAccount> accounts;
};

struct World {
  std::vector<Post> posts;
  WorldTruth truth;
};

/// Errors: kNotFound (no such folder or file), kInvalidArgument (an option out of range; a scenario file that cannot
/// be read, with file, line and what is wrong).
World generate_world(const WorldOptions& options);

/// Writes `folder`/posts.ndjson (one normalised post a line) and `folder`/truth.json. Errors: kIo.
void write_world(const World& world, const std::filesystem::path& folder);

nlohmann::json to_json(const WorldTruth& truth);

/// Whether `text` contains `answer` as whole words, ASCII case aside; "3" is not in "13", "3.5" or "3,000".
bool states(std::string_view text, std::string_view answer);

}  // namespace fathom::live
