// Turns scenarios into a day of posts and the facts that they state.
#pragma once

#include "live/world.h"
#include "live/world/accounts.h"
#include "live/world/scenario.h"

namespace fathom::live::world {

/// The world of parsed scenarios; `options.scenarios` is not looked at. Errors: as `generate_world`, less the reading.
World build_world(const Scenarios& scenarios, const WorldOptions& options);

/// Where a WorldFact comes from: storyline, then fact and value, or rumour.
struct FactOrigin {
  uint32_t story = 0;
  bool rumour = false;
  uint32_t index = 0;  // of the fact or the rumour
  uint32_t value = 0;
};

/// Questions about every value, rumour and false premise, in the order of the storylines. `origins` runs beside
/// `world.truth.facts`, whose posts are complete.
void add_questions(const Scenarios& scenarios, const WorldOptions& options,
                   const std::vector<FactOrigin>& origins, World& world);

}  // namespace fathom::live::world
