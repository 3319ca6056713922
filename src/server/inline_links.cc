#include "server/inline_links.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/chat_response.h"

namespace fathom::server {
namespace {

InlineLinks::Annotation annotation(const live::Post& post, size_t begin, size_t end) {
  return {post.url, post_title(post), begin, end};
}

/// A URL as it may stand between the brackets of a Markdown link.
std::string link_target(const std::string& url) {
  std::string out;
  for (const char c : url) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '(' || c == ')' || c == '<' || c == '>' || byte <= ' ') {
      out += fmt::format("%{:02X}", byte);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

size_t code_points(std::string_view text) { return code_points_before(text, text.size()); }

}  // namespace

InlineLinks::Piece InlineLinks::push(std::string_view piece, const std::vector<answer::Citation>& citations) {
  std::vector<const answer::Citation*> marks;
  for (const auto& citation : citations) {
    if (citation.begin >= taken_ && citation.begin <= citation.end && citation.end <= taken_ + piece.size())
      marks.push_back(&citation);
  }
  std::sort(marks.begin(), marks.end(), [](const auto* a, const auto* b) { return a->begin < b->begin; });

  Piece out;
  const size_t base = written_;
  size_t at = 0;  // in `piece`
  for (const answer::Citation* citation : marks) {
    const size_t begin = citation->begin - taken_, end = citation->end - taken_;
    if (begin < at) continue;  // two on one mark
    out.text += piece.substr(at, begin - at);
    at = end;
    const bool has_link = has_web_address(citation->post);
    if (!links_) {
      if (!out.text.empty() && out.text.back() == ' ') out.text.pop_back();
      if (has_link) out.annotations.push_back(annotation(citation->post, base, base + code_points(out.text)));
      continue;
    }
    if (!has_link) {
      out.text += piece.substr(begin, end - begin);
      continue;
    }
    const size_t from = base + code_points(out.text);
    out.text += fmt::format("[[{}]]({})", citation->number, link_target(citation->post.url));
    out.annotations.push_back(annotation(citation->post, from, base + code_points(out.text)));
  }
  out.text += piece.substr(at);
  taken_ += piece.size();
  written_ += code_points(out.text);
  return out;
}

}  // namespace fathom::server
