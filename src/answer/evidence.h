// A post prepared once for reading: its words, sentences, facts and everything that it may be said to state.
//
// Plain values, made by `prepare`; immutable afterwards and so safe to share between threads.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "answer/facts.h"
#include "answer/words.h"
#include "live/post.h"

namespace fathom::answer {

struct Evidence {
  live::Post post;
  std::vector<Word> words;                // of post.text
  std::vector<Span> sentences;            // of post.text
  std::vector<Fact> facts;                // of post.text
  std::unordered_set<std::string> known;  // keys of facts, with the post's own date and time
  std::unordered_set<std::string> stems;  // of the text
  std::unordered_set<std::string> about;  // of the author's name and handle, and of the post's date
  std::string tags;     // hashtags and handles, run together between spaces: "#BostonMarathon" holds "boston"
  std::string handle;   // the author's, in lower case
  uint64_t groups = 0;  // of related words, all of them
  std::string shape;    // content stems and numbers in order: equal for a post and its copies
  double text_score = 0;  // from the search, relative to the best hit
  size_t copies = 0;      // near-duplicates that the search folded into it
  double trust =
      1;  // 0..1: how far the post itself looks like a report (spam, rumour and questions are lower)

  /// Whether the post has the word itself in its text: stem, or as part of a hashtag or handle.
  bool has(const Word& word) const;
  /// Whether it has the word or one related to it.
  bool has_related(const Word& word) const;
  /// Whether the word is the author's name or (part of) handle, or the post's month or weekday.
  bool is_about(const Word& word) const;
  /// Whether the author bears the word as name: who speaks for the thing itself.
  bool is_by(const Word& word) const;
};

/// Below this trust a post is never cited: advertising, rows of tags, orders to the reader's machine.
inline constexpr double kMinTrust = 0.3;

Evidence prepare(live::Post post);

/// How the author is called in an answer: "Name (@handle)", "@handle", or "a post" when the source names nobody.
std::string author_label(const live::Post& post);

}  // namespace fathom::answer
