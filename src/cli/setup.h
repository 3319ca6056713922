// The first run of one server (server/setup.h): sources for STATE/sources.toml, the sample world, models from where `fathom pull`
// takes them.
//
// A source joins a running feed of real posts at once. All else changes what the server is built of: the store of the sample world
// in place of that of real posts or the other way round, another model. Then the program starts its server anew on the same address;
// running answers are finished first.
//
// Ownership: what the parts refer to outlives it; it owns the thread that fetches, which the destructor stops and joins.
// Thread-safe.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "live/sources/config.h"
#include "server/setup.h"

namespace fathom::cli {

struct SetupParts {
  std::filesystem::path state;
  std::filesystem::path offers;  // FATHOM_DATA_DIR/setup/offers.toml
  bool fiction = false;          // the server plays the sample world
  std::string model;             // InstanceOptions::model: "auto" takes a model that was fetched
  live::SourceContext context;
  /// Takes over what the sources' file says now.
  std::function<void()> refresh;
  /// Starts the server anew with these in place of InstanceOptions::sources; empty: as they are.
  std::function<void(std::vector<std::string> sources)> restart;
};

/// Errors: those of the offers' file.
std::unique_ptr<server::Setup> make_setup(SetupParts parts);

/// There when a person chose the sample world, and no real source since: what "auto" stands for then.
std::filesystem::path world_mark(const std::filesystem::path& state);

}  // namespace fathom::cli
