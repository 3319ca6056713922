// How soon answers come, measured over HTTP: of a server that runs on a state folder, or of one started for it in this process.
//
// `measure_users`: so many users ask the questions at the same time, each one after another; the time to the first words and
// to the whole answer. `measure_freshness`: posts a figure that nobody else has, asks for it until the answer has it, and then
// changes it and asks again; the time from the post to the end of the first answer that has it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/client.h"

namespace fathom::cli {

/// Milliseconds: their middle, the one that 99 in 100 stay below, and the largest; by nearest rank. Zeros where there are none.
struct Quantiles {
  size_t count = 0;
  double p50 = 0, p99 = 0, max = 0;
};
Quantiles quantiles_of(std::vector<double> milliseconds);

struct SpeedOptions {
  std::string model =
      "fathom-extract";       // as /v1/chat/completions names it: fathom, fathom-extract or fathom-generate
  std::vector<size_t> users;  // measured one after another; 1 to 256 each
  size_t asks = 48;           // answers for each number of users, at least
  size_t changes = 0;         // of the figure, for freshness
};

/// {"users": [{"users", "asks", "first_ms": {...}, "full_ms": {...}}]}. Errors: the server's own; kInvalidArgument.
nlohmann::json measure_users(Client& client, const SpeedOptions& options,
                             const std::vector<std::string>& questions);

/// {"freshness_ms": {...}, "never": n}: `never`, changes that no answer had within ten seconds. Leaves its posts (source
/// "eval") in the store. Errors: the server's own.
nlohmann::json measure_freshness(Client& client, const SpeedOptions& options);

/// What the two gave, as lines of a table.
std::string speed_table(const nlohmann::json& measured);

}  // namespace fathom::cli
