#include "train/byte_pair_trainer.h"

#include <algorithm>
#include <optional>
#include <queue>
#include <span>

#include "base/error.h"
#include "model/byte_pair.h"

namespace fathom::train {
namespace {

using Pair = std::pair<uint32_t, uint32_t>;

struct PairHash {
  size_t operator()(const Pair& pair) const {
    return ((uint64_t{pair.first} << 32 | pair.second) * 0x9E3779B97F4A7C15u) >> 17;
  }
};

/// A word's symbols; they shrink in place.
struct Word {
  size_t begin = 0;
  size_t size = 0;
  int64_t count = 0;
};

struct Occurrences {
  int64_t count = 0;
  std::vector<uint32_t> words;  // where it may stand: merges of other pairs may have removed it since
};

struct Candidate {
  int64_t count = 0;
  Pair pair;

  /// A queue gives the greatest: the most frequent, then the one of lower ids.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Trainer {
 public:
  explicit Trainer(const std::vector<CountedWord>& words) {
    add_bytes();
    for (const CountedWord& word : words) add_word(word);
    for (const auto& [pair, found] : pairs_) queue_.push({found.count, pair});
  }

  BytePairs train(size_t symbols, uint64_t min_count, const std::function<void(size_t)>& progress) {
    while (result_.symbols.size() < symbols) {
      const auto pair = most_frequent(static_cast<int64_t>(min_count));
      if (!pair) break;
      merge(*pair);
      progress(result_.symbols.size());
    }
    return std::move(result_);
  }

 private:
  void add_bytes() {
    std::vector<std::pair<std::string, uint8_t>> characters;  // UTF-8 sorts as code points do
    for (int b = 0; b < 256; ++b)
      characters.emplace_back(model::gpt2_text_of_bytes(std::string(1, static_cast<char>(b))), b);
    std::sort(characters.begin(), characters.end());
    for (const auto& [text, byte] : characters) symbol_of_byte_[byte] = intern(text);
  }

  uint32_t intern(const std::string& text) {
    const auto [at, is_new] = ids_.try_emplace(text, static_cast<uint32_t>(result_.symbols.size()));
    if (is_new) result_.symbols.push_back(text);
    return at->second;
  }

  void add_word(const CountedWord& word) {
    const auto number = static_cast<uint32_t>(words_.size());
    words_.push_back({symbols_.size(), word.bytes.size(), static_cast<int64_t>(word.count)});
    for (const char byte : word.bytes) symbols_.push_back(symbol_of_byte_[static_cast<uint8_t>(byte)]);
    const std::span<uint32_t> all = symbols_of(words_.back());
    for (size_t i = 0; i + 1 < all.size(); ++i) count_pair({all[i], all[i + 1]}, number);
  }

  std::span<uint32_t> symbols_of(const Word& word) { return {symbols_.data() + word.begin, word.size}; }

  void count_pair(Pair pair, uint32_t word) {
    Occurrences& found = pairs_[pair];
    found.count += words_[word].count;
    if (found.words.empty() || found.words.back() != word) found.words.push_back(word);
  }

  /// Counts that stand in the queue are those of when the pair was put there; they have only fallen since.
  std::optional<Pair> most_frequent(int64_t min_count) {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const int64_t now = pairs_[top.pair].count;
      if (now == top.count) return now < min_count ? std::nullopt : std::optional(top.pair);
      if (now >= min_count) queue_.push({now, top.pair});
    }
    return std::nullopt;
  }

  void merge(Pair pair) {
    const uint32_t merged = intern(result_.symbols[pair.first] + result_.symbols[pair.second]);
    result_.merges.push_back(pair);
    const std::vector<uint32_t> places = std::move(pairs_[pair].words);
    grown_.clear();
    for (const uint32_t word : places) merge_in(word, pair, merged);
    pairs_.erase(pair);
    std::sort(grown_.begin(), grown_.end());
    grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
    for (const Pair& grown : grown_)
      if (grown != pair) queue_.push({pairs_[grown].count, grown});
  }

  void merge_in(uint32_t number, Pair pair, uint32_t merged) {
    Word& word = words_[number];
    const std::span<uint32_t> all = symbols_of(word);
    size_t kept = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      if (i + 1 == all.size() || Pair(all[i], all[i + 1]) != pair) {
        all[kept++] = all[i];
        continue;
      }
      if (kept > 0) replace({all[kept - 1], pair.first}, {all[kept - 1], merged}, number);
      if (i + 2 < all.size()) replace({pair.second, all[i + 2]}, {merged, all[i + 2]}, number);
      all[kept++] = merged;
      ++i;
    }
    word.size = kept;
  }

  void replace(Pair gone, Pair come, uint32_t word) {
    pairs_[gone].count -= words_[word].count;
    count_pair(come, word);
    grown_.push_back(come);
  }

  BytePairs result_;
  uint32_t symbol_of_byte_[256] = {};
  std::unordered_map<std::string, uint32_t> ids_;
  std::vector<uint32_t> symbols_;  // of all words
  std::vector<Word> words_;
  std::unordered_map<Pair, Occurrences, PairHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> grown_;  // by the merge that is under way
};

}  // namespace

void WordCounter::add(std::string_view text) {
  size_t begin = 0;
  for (const size_t end : model::split_words(rules_, text)) {
    const std::string_view word = text.substr(begin, end - begin);
    begin = end;
    if (word.size() > kLongestWord) continue;
    const auto found = counts_.find(word);
    if (found != counts_.end())
      ++found->second;
    else
      counts_.emplace(word, 1);
  }
}

void WordCounter::merge(WordCounter& other) {
  for (const auto& [word, count] : other.counts_) counts_[word] += count;
  other.counts_.clear();
}

std::vector<CountedWord> WordCounter::take() {
  std::vector<CountedWord> words;
  words.reserve(counts_.size());
  while (!counts_.empty()) {
    auto node = counts_.extract(counts_.begin());
    words.push_back({std::move(node.key()), node.mapped()});
  }
  std::sort(words.begin(), words.end(), [](const CountedWord& a, const CountedWord& b) {
    return a.count != b.count ? a.count > b.count : a.bytes < b.bytes;
  });
  return words;
}

BytePairs train_byte_pairs(const std::vector<CountedWord>& words, size_t symbols, uint64_t min_count,
                           const std::function<void(size_t)>& progress) {
  FATHOM_CHECK(min_count > 0);
  return Trainer(words).train(symbols, min_count, progress);
}

}  // namespace fathom::train
