// The stories that are under way, from one evaluation to the next: who is who, what became of whom.
//
// A cluster is the story with which it shares most posts; where it shares none (after a lull), the one with which it shares
// most of its terms' weight. Of two clusters that claim one story the one that shares more posts keeps its name, the other is a
// new story (a split); of two stories that one cluster claims the older goes on and the other's id leads to it (a merger), as
// long as the older brings a fair part: so a story keeps its id though its fragments overtake each other.
// Stories that are quiet are kept for a day. Not thread-safe.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "live/trends/window.h"

namespace fathom::live {

struct CountedStory {
  Story story;
  std::vector<Share> shares;
};

/// A cluster as a story, before it has a name.
struct StoryDraft {
  CountedStory counted;                        // without id; `volume` runs to the present
  std::unordered_set<uint64_t> posts;          // hashes of their keys
  std::unordered_map<uint64_t, double> terms;  // hash -> weight; sums to 1
};

class StoryBook {
 public:
  /// Names the drafts of an evaluation. Moves everything forward to `now`.
  void update(std::vector<StoryDraft> drafts, Time now, std::chrono::minutes bucket);

  /// Those under way, best first.
  const std::vector<CountedStory>& running() const { return running_; }
  /// Every story and where its id leads, for look-ups.
  const std::map<std::string, CountedStory>& all() const { return shown_; }

  /// Terms that running stories stand on, each with the number of its story, from 1: they stay in view while they are
  /// posted, bursting or not.
  const std::unordered_map<uint64_t, size_t>& terms() const { return terms_; }

 private:
  struct Kept {
    CountedStory counted;
    std::unordered_set<uint64_t> posts;
    std::unordered_map<uint64_t, double> terms;
    std::map<int64_t, uint64_t> volume;  // bucket -> posts
    uint64_t number = 0;                 // in order of founding
    Time seen{};
    bool running = false;
  };
  struct Claim {
    size_t draft = 0;
    std::string id;
    uint64_t number = 0;  // of the story
    size_t posts = 0;     // shared; 0: by its terms alone
    double terms = 0;     // weight shared
  };

  std::vector<Claim> claims(const std::vector<StoryDraft>& drafts) const;
  static std::vector<std::string> name(std::vector<Claim>& claims, size_t drafts);
  void take_over(Kept& kept, StoryDraft draft, Time now, std::chrono::minutes bucket);
  Kept& found(StoryDraft& draft, Time now);
  void forget(Time now);
  void show();

  uint64_t founded_ = 0;
  std::map<std::string, Kept> stories_;
  std::map<std::string, std::string> merged_;  // id -> the story that it became part of
  std::vector<CountedStory> running_;
  std::map<std::string, CountedStory> shown_;
  std::unordered_map<uint64_t, size_t> terms_;
};

}  // namespace fathom::live
