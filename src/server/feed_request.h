// What a request asks of an answer from the feed beyond the formats of others: the member "fathom" of chat completions and
// responses.
//
//   {"mode": "answer" | "digest" | "explain" | "deep", "post": "source:id", "style": "brief", "rounds": 4, "think": true,
//    "planner": "auto" | "rules" | "model"}
#pragma once

#include <optional>
#include <string>

#include "answer/assistant.h"
#include "server/json_body.h"

namespace fathom::server {

struct FeedRequest {
  answer::Mode mode = answer::Mode::kAnswer;
  std::string post;   // kExplain: its key
  std::string style;  // empty: as it comes
  std::optional<size_t> rounds;
  bool think = false;
  answer::Planning planner = answer::Planning::kAuto;  // who decides what is searched

  /// Only the feed can answer it: the language model alone knows neither modes nor styles.
  bool needs_feed() const { return mode != answer::Mode::kAnswer || !style.empty(); }
  void apply_to(answer::Request& request) const;
};

/// `effort`: OpenAI's name for how much a model is to think; "none" and "minimal" are not at all. Errors: ApiError 400, for
/// members that are unknown or do not belong to the mode too.
FeedRequest read_feed_request(const JsonFields& request, const std::optional<std::string>& effort);

/// Error: ApiError 400 for a mode that needs searches when none may be made.
void require_search(const JsonFields& request, const FeedRequest& feed,
                    const std::optional<answer::SearchParameters>& search);

/// Error: ApiError 404 for a post that is to be explained and is not there.
void require_post(const FeedRequest& feed, const live::Store& store);

std::string_view mode_name(answer::Mode mode);

}  // namespace fathom::server
