// The file of the standing queries: JSON, replaced as a whole now and then. What was added and removed since is in its
// journal beside it, FILE.new: a line of JSON each, on the disk when the call returns, so that adding one of many queries
// writes one.
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

/// The file with its journal. Lines that were cut off, which no call has returned for, are left out. Errors: kCorrupt, naming
/// the file; kIo. None when there is no file.
std::vector<KeptQuery> read_standing(const std::filesystem::path& file);
/// The whole file; its journal ends. Errors: kIo, kResourceExhausted.
void write_standing(const std::filesystem::path& file, const std::vector<KeptQuery>& queries);
/// To the journal. Not for two threads at a time, nor beside write_standing. Errors: kIo, kResourceExhausted: then the journal
/// says what it said before.
void append_added(const std::filesystem::path& file, const KeptQuery& kept);
void append_removed(const std::filesystem::path& file, const std::string& id);

}  // namespace fathom::live
