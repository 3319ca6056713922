// xAI's inline citations: "[1]" in an answer's text becomes "[[1]](https://...)", and each link an annotation. One object an
// answer; the text comes in order.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "answer/assistant.h"

namespace fathom::server {

class InlineLinks {
 public:
  /// Without links the marks are left out; the annotations then enclose the claims.
  explicit InlineLinks(bool links) : links_(links) {}

  /// Of code points of all text so far, half-open.
  struct Annotation {
    std::string url, title;
    size_t begin = 0, end = 0;
  };
  struct Piece {
    std::string text;
    std::vector<Annotation> annotations;
  };
  /// The next `piece` of the answer and the citations whose marks are in it.
  Piece push(std::string_view piece, const std::vector<answer::Citation>& citations);

  size_t bytes_taken() const { return taken_; }

 private:
  const bool links_;
  size_t taken_ = 0;    // bytes of the answer
  size_t written_ = 0;  // code points of the text made of it
};

}  // namespace fathom::server
