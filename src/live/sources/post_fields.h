// What every reader of a feed needs: members of JSON read leniently, and what goes into a post held in its bounds.
//
// Feeds add, drop and rename members without notice: one that is absent or of another kind reads as empty, and the caller
// decides what it cannot do without. Pure functions.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "live/post.h"

namespace fathom::live {

/// The member `name` of an object; a null value when there is none.
const nlohmann::json& member(const nlohmann::json& object, const char* name);

/// The member of either name: feeds that rename their fields send both for a while.
const nlohmann::json& member(const nlohmann::json& object, const char* name, const char* other_name);

/// The text of a string; empty for anything else.
std::string_view text_of(const nlohmann::json& value);
std::string_view text_of(const nlohmann::json& object, const char* name);

/// A whole number of at least 0, written as a number or as its digits in a string; empty for anything else.
std::optional<int64_t> number_of(const nlohmann::json& value);

bool is_true(const nlohmann::json& value);

/// An http(s) address that a post may carry.
bool is_web_address(std::string_view address);

/// Names and the like: on one line, at most so many bytes of whole characters.
std::string one_line(std::string_view text, size_t most);

/// Adds an http(s) address that a post may link; others, repeated ones and those beyond the post's limit are passed over.
void add_link(Post& post, std::string_view address);

/// Adds a hashtag without its '#'; empty and repeated ones and those beyond the post's limit are passed over.
void add_tag(Post& post, std::string_view tag);

/// A text over the limit of a post loses its end, at a character's boundary, and says so.
void cut_text(std::string& text);

/// The earlier of what the author's machine claims and when the feed saw the post; the latter when nothing is claimed.
Time believable_time(std::string_view claimed, Time seen);

}  // namespace fathom::live
