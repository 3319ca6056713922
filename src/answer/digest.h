// The digest: what the newest part of the feed is about, as stories, each told by one quoted sentence.
//
// Posts that share rare words are one story (leader clustering over weighted terms); a story weighs by how many people
// post about it, how much they are heard, and how new it is. Deterministic.
#pragma once

#include <vector>

#include "answer/compose.h"
#include "answer/extract.h"
#include "answer/retrieve.h"

namespace fathom::answer {

struct Story {
  Quote lead;                    // the sentence that tells it
  std::vector<size_t> evidence;  // its posts
  double weight = 0;
};

/// The `limit` weightiest stories, the weightiest first.
std::vector<Story> find_stories(const Reading& reading, size_t limit);

/// Writes them as a list. False when the reader has gone.
bool write_digest(const std::vector<Story>& stories, const Reading& reading, Composer& out);

}  // namespace fathom::answer
