// The conversation around one post: what it answers, what answers it, who quotes it.
//
// Plain values and one function that reads the store; thread-safe as the store is.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "answer/assistant.h"
#include "live/store.h"

namespace fathom::answer {

struct Thread {
  live::Post post;                // the one that was asked for
  std::vector<live::Post> above;  // what it answers, quotes or reposts, the oldest first
  std::vector<live::Post> below;  // what answers it, directly or not, and what quotes it, the oldest first
};

/// The thread of `key` ("source:id"), of posts that `parameters` admit; nothing where the store has not the post, or they do
/// not admit it. `most`: posts above and below together. Replies are looked for among the newest few hundred of the
/// source since the post and those that address its author, so that an old post of a busy feed may show fewer than it has.
std::optional<Thread> read_thread(const live::Store& store, std::string_view key,
                                  const SearchParameters& parameters, size_t most = 20);

}  // namespace fathom::answer
