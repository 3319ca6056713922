// The digest: what happened since a time, as stories, each told by one quoted sentence, with how many posts and sources there
// are, how they came over time, and who says otherwise.
//
// Stories are those that the live feed follows (live/trends) where the question is about now and about nothing in
// particular. Else posts that share rare words are one story (leader clustering over weighted terms); a story weighs by how
// many people post about it, how much they are heard, and how new it is. Deterministic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "answer/dispute.h"
#include "answer/extract.h"
#include "answer/plan.h"
#include "answer/retrieve.h"
#include "answer/task.h"

namespace fathom::answer {

struct Story {
  Quote lead;                    // the sentence that tells it
  std::vector<size_t> evidence;  // its posts, of those that were read
  double weight = 0;
  uint64_t posts = 0, sources = 0;  // with copies
  std::vector<uint64_t> volume;     // posts over equal spans of time, oldest first
  std::optional<Dispute> dispute;
  std::vector<std::string> names;  // that its posts share, folded
};

/// The `limit` weightiest stories, the weightiest first.
std::vector<Story> find_stories(const Reading& reading, size_t limit);

/// Writes them as a list, under headings when there are many. False when the reader has gone.
bool write_digest(const std::vector<Story>& stories, const Reading& reading, const Phrases& phrases,
                  Composer& out);

/// Searches, tells the stories or that there are none.
void digest(const Task& task, const Plan& plan);

}  // namespace fathom::answer
