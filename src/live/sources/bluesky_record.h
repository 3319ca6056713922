// The record of a Bluesky post (https://docs.bsky.app, lexicon app.bsky.feed.post) as the fields of a Post: text with whole
// addresses, links, tags, languages, relations. Pure function on untrusted JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "live/post.h"

namespace fathom::live {

/// Fills all of `post` that the record tells but its time.
void read_bluesky_record(const nlohmann::json& record, Post& post);

}  // namespace fathom::live
