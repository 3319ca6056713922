// What tells the posts about an event from those that only mention its name: the words that many of them share.
//
// Words of the posts that pass the gate are counted by author, without those of the question. A post about the event has
// several that many others have; chatter has its own. Reports also come close together in time and are heard.
// One object a question; immutable after construction.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "answer/plan.h"
#include "answer/retrieve.h"

namespace fathom::answer {

class Burst {
 public:
  Burst(const Plan& plan, const Reading& reading);

  /// 0..1: how much the post (one of the reading's) belongs to what the others tell.
  double share(const Evidence& evidence) const;

 private:
  double shared_words(const Evidence& evidence) const;
  double company(Time when) const;

  const Plan& plan_;
  std::unordered_map<std::string, size_t> authors_;  // stem -> authors who use it
  std::vector<Time> times_;                          // of the posts that pass, rising
  double most_ = 1;                                  // the greatest shared_words of all
};

}  // namespace fathom::answer
