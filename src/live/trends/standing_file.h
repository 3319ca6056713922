// The file of the standing queries: JSON, replaced as a whole.
#pragma once

#include <filesystem>
#include <vector>

#include "live/trends/standing.h"

namespace fathom::live {

/// A standing query as it is kept: with its secret and the state of its webhook.
struct KeptQuery {
  StandingQuery query;
  uint64_t since = 0;    // sequence when it was added
  uint64_t place = 0;    // the webhook has been told of everything up to here
  uint64_t through = 0;  // what is being delivered ends here; 0: nothing is
  size_t attempts = 0;   // at that
  Time first_attempt{}, next_attempt{};
};

/// Errors: kCorrupt, naming the file; kIo. None when there is no file.
std::vector<KeptQuery> read_standing(const std::filesystem::path& file);
/// Errors: kIo, kResourceExhausted.
void write_standing(const std::filesystem::path& file, const std::vector<KeptQuery>& queries);

}  // namespace fathom::live
