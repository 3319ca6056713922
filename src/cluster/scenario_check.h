// What a scenario asks for that cannot be, once its sections are read: each check ends in a sentence with the line and what
// would make it possible. Internal to scenario.cc. Pure functions.
#pragma once

#include <string>

#include "base/error.h"
#include "base/toml.h"
#include "cluster/scenario.h"

namespace fathom::cluster {

/// Errors: kInvalidArgument with "FILE:LINE: ...".
void check_scenario(const Scenario& scenario, const TomlTable& document, const Catalogue& catalogue);

/// Runs `act`; an Error about input that it throws becomes kInvalidArgument with "PLACE: " before its sentence.
template <class Act>
decltype(auto) at_place(const std::string& place, Act&& act) {
  try {
    return act();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound && error.code() != ErrorCode::kInvalidArgument &&
        error.code() != ErrorCode::kCorrupt && error.code() != ErrorCode::kUnsupported)
      throw;
    throw Error(ErrorCode::kInvalidArgument, place + ": " + error.what());
  }
}

}  // namespace fathom::cluster
