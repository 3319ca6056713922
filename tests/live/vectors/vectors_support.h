// Vectors and an embedder for the tests of semantic search.
#pragma once

#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "live/analysis.h"
#include "live/hash.h"
#include "live/vectors/vectors.h"

namespace fathom::live::testing {

inline void scale_to_one(std::span<float> vector) {
  double square = 0;
  for (const float x : vector) square += static_cast<double>(x) * static_cast<double>(x);
  if (square == 0) return;
  for (float& x : vector) x = static_cast<float>(static_cast<double>(x) / std::sqrt(square));
}

/// Unit vectors around some centres, as the vectors of texts are.
inline std::vector<std::vector<float>> clustered(size_t count, size_t dimensions, uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<float>> centres(20), out;
  for (auto& centre : centres)
    for (size_t i = 0; i < dimensions; ++i) centre.push_back(static_cast<float>(random.normal()));
  for (size_t n = 0; n < count; ++n) {
    std::vector<float> vector = centres[random.below(centres.size())];
    for (float& x : vector) x += static_cast<float>(random.normal());
    scale_to_one(vector);
    out.push_back(std::move(vector));
  }
  return out;
}

/// A text's vector is the sum of directions that its words have; words of one topic share a direction, so that texts meet
/// without a word in common. It can be made to fail, to be slow and to give too little.
class WordEmbedder : public TextEmbedder {
 public:
  static constexpr size_t kDimensions = 32;

  std::string_view name() const override { return its_name; }
  size_t dimensions() const override { return kDimensions; }
  std::vector<float> embed(std::span<const std::string> texts, bool query,
                           const std::stop_token& stop) override {
    (query ? queries : passages) += texts.size();
    for (size_t waited = 0; waited < slow_ms && !stop.stop_requested(); ++waited)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
    if (fails) throw Error(ErrorCode::kInternal, "the embedder is made to fail");
    std::vector<float> out;
    for (const auto& text : texts) add(text, out);
    if (short_by_one) out.pop_back();
    return out;
  }

  std::string its_name = "words";
  std::atomic<size_t> passages{0}, queries{0}, slow_ms{0};
  std::atomic<bool> fails{false}, short_by_one{false};

 private:
  static std::string_view topic_of(std::string_view word) {
    constexpr std::string_view kTopics[][3] = {
        {"ferri", "boat", "ship"}, {"snow", "blizzard", "storm"}, {"elect", "vote", "ballot"}};
    for (const auto& topic : kTopics)
      for (const auto member : topic)
        if (word.starts_with(member)) return topic[0];
    return word;
  }
  static void add(std::string_view text, std::vector<float>& out) {
    std::vector<float> sum(kDimensions, 0.0f);
    for (const Term& term : analyze(text)) {
      if (term.stop || term.extra) continue;
      Random random(hash_bytes(topic_of(term.term), 1));
      for (float& x : sum) x += static_cast<float>(random.normal());
    }
    scale_to_one(sum);
    out.insert(out.end(), sum.begin(), sum.end());
  }
};

}  // namespace fathom::live::testing
