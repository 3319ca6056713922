// Searching: from the plan to the posts that are read.
//
// One to five searches, narrow first (all terms), then the newest about its names, then any term with its related words,
// then the rarest terms alone; each is reported as a Step. Copies are folded into the earliest original, spam is dropped,
// and what the request's SearchParameters exclude is never seen.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "answer/assistant.h"
#include "answer/evidence.h"
#include "answer/plan.h"
#include "answer/relevance.h"

namespace fathom::answer {

struct Reading {
  std::vector<Evidence> evidence;  // best first; extract.h's `arrange` cuts it to what was allowed
  std::unique_ptr<Relevance> relevance;
  std::vector<Step> steps;
  Time as_of{};
  std::vector<std::string> speaker_handles;  // whose words were asked for and found
};

using StepSink = std::function<void(const Step&)>;

/// Reads for a question. The plan outlives the reading.
Reading read_posts(const live::Store& store, const Plan& plan, const SearchParameters& parameters,
                   const StepSink& on_step);

/// Adds posts that were found otherwise behind those of the reading; how many of them it did not have. `posts` are such as
/// the request's SearchParameters admit (scope.h).
size_t join(Reading& reading, std::vector<live::Post> posts);

/// Reads the newest part of the feed, for a digest: at most `limit` posts, newest first, not cut to max_results.
Reading read_newest(const live::Store& store, const Plan& plan, const SearchParameters& parameters,
                    size_t limit, const StepSink& on_step);

}  // namespace fathom::answer
