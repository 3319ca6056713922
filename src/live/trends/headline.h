// Which of a story's posts says best what it is about. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "live/trends/window.h"

namespace fathom::live {

inline constexpr size_t kMostKeys = 20;  // leading posts of a story

/// The posts of a cluster, best first, one of each group of near-duplicates; at most `most`. Near the middle of the story
/// by words; an original before its repost, a report before a reaction, one that many people answered before others, one in the
/// language of most before others, a fresh one before an old one.
std::vector<uint32_t> leading_posts(const Window& window, const Cluster& cluster, size_t most = kMostKeys);

/// A post's text in one line of at most `most` bytes, cut at a word; without the mark of a repost.
std::string headline_text(std::string_view text, size_t most = 200);

}  // namespace fathom::live
