// The invented people and organisations of the sample world: the cast of every storyline, and who else posts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "live/world/scenario.h"

namespace fathom::live::world {

struct Account {
  std::string handle, name, bio, lang;
  std::string kind;  // official, press, witness (the cast); local, fan, press, bot, spam (the rest)
  Voice voice = Voice::kCasual;
  int64_t followers = 0;
  Habits habits;
};

/// Every account, and who may speak where (indices into `accounts`).
struct Population {
  std::vector<Account> accounts;
  std::vector<std::vector<uint32_t>> cast;  // [storyline][member]
  std::vector<std::vector<uint32_t>> pool;  // [storyline]: the casual accounts that care about it
  std::map<std::string, std::vector<uint32_t>> by_kind;  // "local en", "press en", "local es", ...
};

/// Errors: kInvalidArgument for two cast members with one handle, or for a total below the cast and 80 more.
Population make_population(const Scenarios& scenarios, size_t total, uint64_t seed);

/// What a template is rendered in.
struct Scene {
  const Scenarios* scenarios = nullptr;
  const Storyline* story = nullptr;  // null in common files: {tag} is then some storyline's
  const Account* author = nullptr;
  int64_t second = 0;
  const std::vector<std::string>* value = nullptr;     // forms of {value}
  const std::vector<std::string>* previous = nullptr;  // forms of {prev}
  bool formal = false;                                 // the usual form of values only
  std::vector<uint32_t>* used_facts = nullptr;         // facts of the story that slots named
  std::map<uint32_t, std::string>* picks = nullptr;    // one pick per shared list in all of them
};

/// The template's text in a scene, tidied. REQUIRES: each fact it names has a value at the scene's time.
std::string render_in(const Template& source, const Scene& scene, Random& random);

}  // namespace fathom::live::world
