// A kept conversation as a document for people: Markdown with numbered sources.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace fathom::server {

/// `conversation` and `items` as the API shows them. Each answer is followed by the posts it cites under the numbers in its text,
/// with their addresses. Only headings, lists and emphasis of the answers stay as Markdown; links, images and HTML in what people and
/// models wrote become plain characters, so that opening the document fetches nothing that the cited posts do not name.
std::string to_markdown(const nlohmann::json& conversation, const std::vector<nlohmann::json>& items);

}  // namespace fathom::server
