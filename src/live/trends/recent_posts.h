// The posts of the window, as stories need them: an even sample in bounded memory.
//
// Posts with a term that is bursting are kept apart from all others, so that a story has its posts however much else is
// posted. Each part holds a share of its posts, every n-th; when it is full before the window has passed, n doubles and
// every second one goes. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "live/post.h"
#include "live/trends/post_terms.h"

namespace fathom::live {

struct RecentPost {
  uint64_t sequence = 0;
  Time time{};
  uint64_t author = 0;  // hash of source and handle
  uint64_t sketch = 0;
  std::string key, text;  // the text cut
  std::string source, lang;
  std::vector<uint64_t> terms;  // hashes
  float engagement = 0;         // ln(1 + likes + reposts + replies)
  bool repost = false, reply = false, quote = false, link = false, tag = false, sensitive = false;
};

RecentPost recent_post(const Post& post, uint64_t sequence, const PostTerms& terms);
uint64_t author_hash(const Post& post);

/// Every n-th of the posts of the window.
class Sample {
 public:
  explicit Sample(size_t most) : most_(most) {}
  template <class Make>
  void add(Make&& make, Time oldest) {
    if (counter_++ % stride_ != 0) return;
    posts_.push_back(make());
    if (posts_.size() > most_) shrink(oldest);
  }
  void expire(Time oldest);
  void remove(std::string_view key);
  size_t stride() const { return stride_; }
  const std::deque<RecentPost>& posts() const { return posts_; }

 private:
  void shrink(Time oldest);
  const size_t most_;
  size_t stride_ = 1;
  uint64_t counter_ = 0;
  std::deque<RecentPost> posts_;
};

/// How often the same words came lately: near-duplicates count less and less. A table of fixed size that forgets.
class Repetition {
 public:
  /// Weight of a post with this sketch: 1, 1/2, 1/3, ... over an hour of the feed's clock.
  float weigh(uint64_t sketch, Time time);

 private:
  struct Seen {
    uint32_t tag = 0;
    uint32_t count = 0;
    int64_t hour = 0;
  };
  Seen& slot(uint32_t band, int64_t hour);
  static constexpr size_t kSlots = size_t{1} << 16;
  std::vector<Seen> seen_ = std::vector<Seen>(kSlots);
};

}  // namespace fathom::live
