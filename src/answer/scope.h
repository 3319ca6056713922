// What a request's SearchParameters leave to be searched and read. One place, so that every search, and every post that comes
// by another way than a search (a thread, a story, a tool call of a model), obeys them to the letter.
//
// Pure functions.
#pragma once

#include <optional>
#include <string_view>

#include "answer/assistant.h"
#include "live/store.h"

namespace fathom::answer {

/// Handles are equal whatever their case, with '@' or without.
bool same_handle(std::string_view a, std::string_view b);

/// Whether posts of this author may be read.
bool admits_author(const SearchParameters& parameters, std::string_view handle);

/// Whether this post may be read. As the store has it, a post without counts has no likes and no views.
bool admits(const SearchParameters& parameters, const live::Post& post);

/// A query that finds nothing but posts that may be read; without words.
live::Query base_query(const SearchParameters& parameters);

/// The later and the earlier of two bounds, where there are any.
std::optional<Time> later(std::optional<Time> a, std::optional<Time> b);
std::optional<Time> earlier(std::optional<Time> a, std::optional<Time> b);

}  // namespace fathom::answer
