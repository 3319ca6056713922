// How commands show posts, and other small things of the terminal that several of them share.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace fathom::cli {

/// Text of posts and models for a terminal: control characters (escape sequences among them) become spaces.
std::string for_terminal(std::string_view text);

/// A post in the normalised JSON form, on standard output: who and when, then the text.
void show_post(const nlohmann::json& post);

}  // namespace fathom::cli
