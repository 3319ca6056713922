#include "model/byte_pair.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace fathom::model {
namespace {

bool is_printable_in_gpt2(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

/// GPT-2's alphabet: a printable byte is its own code point, the others follow from U+0100 on in order.
constexpr int kAlphabetEnd = 0x100 + 68;

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};  // -1: not of the alphabet

  Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const char32_t c = is_printable_in_gpt2(b) ? static_cast<char32_t>(b) : next++;
      character[static_cast<size_t>(b)] = c;
      byte[c] = static_cast<int16_t>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet kAlphabet;
  return kAlphabet;
}

std::string gpt2_character(uint8_t byte) {
  std::string text;
  append_utf8(text, alphabet().character[byte]);
  return text;
}

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

/// Fibonacci hashing: the pair's bits spread over the upper half.
size_t slot_of(uint64_t pair, size_t mask) {
  return static_cast<size_t>((pair * 0x9E3779B97F4A7C15u) >> 32) & mask;
}

/// std heaps keep the greatest on top: the one of the lowest rank, then the leftmost, counts as greatest.
bool comes_later(const BytePairEncoder::Workspace::Candidate& a,
                 const BytePairEncoder::Workspace::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
}

/// Control and user-defined tokens are found in the text before it is merged, or not meant to be found.
bool can_be_merged_to(TokenType type) {
  return type == TokenType::kNormal || type == TokenType::kUnused || type == TokenType::kByte;
}

}  // namespace

std::string gpt2_text_of_bytes(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_utf8(text, alphabet().character[static_cast<uint8_t>(byte)]);
  return text;
}

std::string bytes_of_gpt2_text(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = decode_utf8(text, at);
    if (c < kAlphabetEnd && alphabet().byte[c] >= 0)
      bytes += static_cast<char>(alphabet().byte[c]);
    else
      bytes += text.substr(begin, at - begin);
  }
  return bytes;
}

BytePairEncoder::BytePairEncoder(const Vocabulary& vocabulary, std::span<const std::string_view> merges,
                                 bool whole_words)
    : vocabulary_size_(vocabulary.size()), whole_words_(whole_words) {
  symbols_.reserve(vocabulary.size());
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (!can_be_merged_to(vocabulary.types[id])) continue;
    symbols_.insert_or_assign(vocabulary.texts[id], static_cast<int32_t>(id));
    if (whole_words_)
      words_.insert_or_assign(bytes_of_gpt2_text(vocabulary.texts[id]), static_cast<int32_t>(id));
  }
  for (int byte = 0; byte < 256; ++byte)
    byte_symbol_[byte] = intern(gpt2_character(static_cast<uint8_t>(byte)));
  table_.resize(std::bit_ceil(merges.size() * 2 + 2));
  int32_t rank = 0;
  for (const std::string_view merge : merges) {
    const size_t space = merge.find(' ', 1);  // the left part is never empty, and may begin with a space
    if (merge.size() < 3 || space == std::string_view::npos || space + 1 == merge.size()) {
      ++bad_merges_;
      continue;
    }
    const std::string left(merge.substr(0, space)), right(merge.substr(space + 1));
    add_merge(intern(left), intern(right), rank++, intern(left + right));
  }
  symbols_ = {};
}

int32_t BytePairEncoder::intern(const std::string& text) {
  const auto next = static_cast<int32_t>(vocabulary_size_ + extra_.size());
  const auto [found, is_new] = symbols_.emplace(text, next);
  if (is_new) extra_.push_back(bytes_of_gpt2_text(text));
  return found->second;
}

void BytePairEncoder::add_merge(int32_t left, int32_t right, int32_t rank, int32_t merged) {
  const uint64_t pair = pair_of(left, right);
  const size_t mask = table_.size() - 1;
  size_t slot = slot_of(pair, mask);
  while (table_[slot].pair != ~uint64_t{0}) {
    if (table_[slot].pair == pair) return;  // stands twice: the lower rank counts
    slot = (slot + 1) & mask;
  }
  table_[slot] = {pair, rank, merged};
}

const BytePairEncoder::Merge* BytePairEncoder::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  const size_t mask = table_.size() - 1;
  for (size_t slot = slot_of(pair, mask); table_[slot].pair != ~uint64_t{0}; slot = (slot + 1) & mask)
    if (table_[slot].pair == pair) return &table_[slot];
  return nullptr;
}

void BytePairEncoder::push_candidate(Workspace& work, int32_t left) const {
  if (left < 0) return;
  const Workspace::Node& node = work.nodes[static_cast<size_t>(left)];
  if (node.next < 0) return;
  const int32_t right_symbol = work.nodes[static_cast<size_t>(node.next)].symbol;
  const Merge* merge = find(node.symbol, right_symbol);
  if (merge == nullptr) return;
  work.heap.push_back({merge->rank, left, node.symbol, right_symbol, merge->merged});
  std::push_heap(work.heap.begin(), work.heap.end(), comes_later);
}

void BytePairEncoder::merge_all(Workspace& work) const {
  while (!work.heap.empty()) {
    std::pop_heap(work.heap.begin(), work.heap.end(), comes_later);
    const Workspace::Candidate best = work.heap.back();
    work.heap.pop_back();
    Workspace::Node& left = work.nodes[static_cast<size_t>(best.left)];
    if (left.symbol != best.left_symbol || left.next < 0) continue;
    Workspace::Node& right = work.nodes[static_cast<size_t>(left.next)];
    if (right.symbol != best.right_symbol) continue;
    left.symbol = best.merged;
    left.next = right.next;
    right.symbol = -1;
    if (left.next >= 0) work.nodes[static_cast<size_t>(left.next)].previous = best.left;
    push_candidate(work, left.previous);
    push_candidate(work, best.left);
  }
}

void BytePairEncoder::encode(std::string_view word, std::vector<int32_t>& ids, Workspace& work) const {
  FATHOM_CHECK(word.size() < (size_t{1} << 31));
  if (word.empty()) return;
  if (whole_words_) {
    if (const auto found = words_.find(std::string(word)); found != words_.end())
      return ids.push_back(found->second);
  }
  const auto size = static_cast<int32_t>(word.size());
  work.heap.clear();
  work.nodes.clear();
  for (int32_t i = 0; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(word[static_cast<size_t>(i)]);
    work.nodes.push_back({byte_symbol_[byte], i - 1, i + 1 < size ? i + 1 : -1});
  }
  for (int32_t i = 0; i + 1 < size; ++i) push_candidate(work, i);
  merge_all(work);
  const auto known = static_cast<int32_t>(vocabulary_size_);
  for (int32_t at = 0; at >= 0; at = work.nodes[static_cast<size_t>(at)].next) {
    const int32_t symbol = work.nodes[static_cast<size_t>(at)].symbol;
    if (symbol < known) {
      ids.push_back(symbol);
      continue;
    }
    for (const char c : extra_[static_cast<size_t>(symbol - known)]) {
      const int32_t single = byte_symbol_[static_cast<uint8_t>(c)];
      if (single < known) ids.push_back(single);
    }
  }
}

}  // namespace fathom::model
