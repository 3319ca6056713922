// Posts on their way into an Index: all that can be computed before they have numbers, on the caller's thread.
//
// A batch owns the bytes of its posts and is used again and again (`clear` keeps the memory): nothing is allocated a post once
// it has grown. What is prepared fits any Index of the process. One thread at a time; movable.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"

namespace fathom::live {

struct PreparedTerm {
  uint64_t hash = 0;   // term_hash
  uint32_t begin = 0;  // in PreparedPost::terms_bytes
  uint16_t size = 0;
  uint16_t frequency = 0;
};

/// Views are of the batch, until it is cleared or destroyed.
struct PreparedPost {
  std::string_view record;  // codec.h; of a tombstone: that of a post without text
  std::string_view key;
  std::span<const PreparedTerm> terms;  // each once
  const char* term_bytes = nullptr;
  std::string_view source, lang;  // lang in lower case
  Time created{};
  uint64_t key_hash = 0;  // key_hash(key) of segment.h
  uint64_t sketch = 0;    // of the text, duplicates.h
  uint32_t likes = 0;
  uint8_t length = 0, engagement = 0, author = 0, flags = 0;  // as DocumentFacts has them
  bool deleted = false;

  std::string_view term(const PreparedTerm& term) const { return {term_bytes + term.begin, term.size}; }
};

class PreparedBatch {
 public:
  /// REQUIRES: validate(post) has passed.
  void add(const Post& post);
  size_t size() const { return posts_.size(); }
  bool empty() const { return posts_.empty(); }
  const PreparedPost& operator[](size_t i) const { return posts_[i]; }
  void clear();

 private:
  char* allocate(size_t size);
  void give_back(const char* end);
  std::string_view keep(std::string_view bytes);

  std::vector<PreparedPost> posts_;
  std::vector<std::unique_ptr<char[]>> blocks_;  // of kBlock bytes, but for large ones
  size_t block_ = 0, used_ = 0;
  std::vector<std::unique_ptr<char[]>> large_;
};

}  // namespace fathom::live
