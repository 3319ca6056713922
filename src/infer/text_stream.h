// Turns the bytes of tokens into pieces of text that are certain: whole characters that no stop string can still claim.
//
// Bytes that are not UTF-8 become U+FFFD. A value; not thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::infer {

class TextStream {
 public:
  /// Empty stop strings are ignored.
  explicit TextStream(std::vector<std::string> stops);

  /// Adds bytes; returns the text that has become certain. Nothing more comes once `stopped`.
  std::string push(std::string_view bytes);
  /// The end of the generation: what was held back.
  std::string finish();
  /// A stop string was found; the text ended before it.
  bool stopped() const { return stopped_; }
  /// Which one; empty before.
  const std::string& stopped_by() const { return stopped_by_; }

 private:
  std::string take(size_t count);

  std::vector<std::string> stops_;
  std::string held_;
  std::string stopped_by_;
  bool stopped_ = false;
};

}  // namespace fathom::infer
