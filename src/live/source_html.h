// HTML as feeds carry it (comments, statuses, summaries), turned into the plain text of a post.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::live {

struct HtmlText {
  std::string text;                // plain, valid UTF-8, no markup, no control characters but '\n' and '\t'
  std::vector<std::string> links;  // http(s) targets of <a href>, in order, each once
};

/// Not a validating parser: hostile or broken markup gives some text, never markup, in time linear in its length.
/// Paragraphs and blocks are set apart by an empty line, <br> breaks a line, <pre> keeps its spaces, list items begin with
/// "- ", white space is otherwise collapsed; comments, scripts and styles are left out; character references are
/// decoded (named ones of HTML 4 and the common later ones). An anchor whose text is a shortened form of its address
/// ("https://example.org/lo...") gets the address as its text. Ill-formed UTF-8 becomes U+FFFD.
HtmlText html_to_text(std::string_view html);

/// Decodes the character references alone: for fields that are plain text but for them, such as titles. What looks like a
/// tag stays. White space is collapsed and control characters are left out as above.
std::string decode_html_references(std::string_view text);

}  // namespace fathom::live
