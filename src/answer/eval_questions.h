// Questions with known answers, and a feed that is replayed up to the moment at which each is asked.
//
// Owned values. `replay` is for one thread; the store is the caller's.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "answer/evidence.h"
#include "base/clock.h"
#include "live/store.h"

namespace fathom::answer {

/// One value of the figure that is asked about, at whatever time, and the posts that state it.
struct EvalFact {
  std::vector<std::string> accepted, posts;
};

struct EvalQuestion {
  std::string id, kind, storyline, lang, question;
  std::vector<std::string> answers;     // accepted strings; none: the posts do not hold it
  std::vector<std::string> gold_posts;  // ids of posts that state it; may be empty
  std::vector<EvalFact> provenance;     // what is known of the figure besides; may be empty
  std::optional<Time> asked_at;         // empty: when the feed is over
};

/// The truth.json of a sample world, or a list of {"question", "answers", "gold_posts"?} as in tools/questions; in the order
/// in which they are asked. Errors: kNotFound, kIo, kCorrupt (names file and question).
std::vector<EvalQuestion> read_questions(const std::filesystem::path& path);

/// Every post of NDJSON files (plain or zstd), in time. Errors: kNotFound, kIo, kCorrupt; a line that is no post is passed
/// over.
std::vector<live::Post> read_feed(const std::vector<std::filesystem::path>& files);

/// Ingests `posts` (in time) and calls `ask` for each of `questions` (as read_questions orders them) when the posts up to
/// its moment are there.
void replay(std::vector<live::Post> posts, const std::vector<EvalQuestion>& questions, live::Store& store,
            const std::function<void(const EvalQuestion&)>& ask);

/// What a model that cites is shown for a question (generate.h), searched for in the store as it is.
struct Shown {
  std::string question;           // as the prompt has it
  std::vector<live::Post> posts;  // best first; none: nothing was found, and no model is asked
  Time as_of{};
};
Shown shown_for(const live::Store& store, const std::string& question);

}  // namespace fathom::answer
