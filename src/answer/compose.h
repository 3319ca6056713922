// Puts an answer together: sentences, their marks, numbers in order of first appearance, offsets, and the events.
//
// One object an answer, used by one thread. Everything that it is given has passed the check already.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "answer/assistant.h"
#include "answer/evidence.h"

namespace fathom::answer {

struct Source {
  const Evidence* evidence = nullptr;
  Span passage;  // in evidence->post.text
};

class Composer {
 public:
  Composer(Answer& answer, const Events& events) : answer_(answer), events_(events) {}

  /// Appends `sentence` with the marks of its sources before its final full stop. False when the reader has gone.
  bool claim(std::string_view sentence, const std::vector<Source>& sources, std::string_view separator = " ");

  /// Appends a sentence that claims nothing about the world.
  bool remark(std::string_view sentence, std::string_view separator = " ");

  /// A line before the first claim that follows, and a heading before the next claim or remark; "" takes them back.
  void opening(std::string_view line) { opening_ = line; }
  void heading(std::string_view text) { heading_ = text; }

  size_t claims() const { return claims_; }
  bool cancelled() const { return cancelled_; }

 private:
  bool emit(size_t from, const std::vector<Citation>& citations);
  /// The separator, or what stands before the sentence instead of it.
  void begin(std::string_view separator, bool claims);

  Answer& answer_;
  const Events& events_;
  std::unordered_map<std::string, size_t> numbers_;  // post key -> n
  std::string opening_, heading_;
  size_t claims_ = 0;
  bool cancelled_ = false;
};

/// "14:32 UTC" on the day of `now`, else "15 April 2013, 14:32 UTC".
std::string written_time(Time when, Time now);

/// The words in quotation marks that they do not hold themselves; white space squeezed, what is not seen
/// left out, square brackets made round.
std::string quoted(std::string_view text);

/// Somebody else's text as data for a prompt: one line of at most about `longest` bytes, without brackets that could pass for
/// a mark of ours and without characters that are not seen.
std::string as_data(std::string_view text, size_t longest);

/// Who wrote it: the author; for a repost, who is quoted and who passed it on.
std::string attribution(const Evidence& evidence);

}  // namespace fathom::answer
