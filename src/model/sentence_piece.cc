#include "model/sentence_piece.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace fathom::model {
namespace {

struct Node {
  int32_t begin, size;     // in the text; size 0: merged away
  int32_t previous, next;  // -1: none
};

struct Candidate {
  float score;
  int32_t left;
  int32_t size;  // of both together, as they were: a candidate is stale once it is not
  int32_t id;
};

/// std heaps keep the greatest on top: the one of the highest score, then the leftmost, counts as greatest.
bool comes_later(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score < b.score : a.left > b.left;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// User-defined pieces are found in the text before it is merged, or not meant to be found.
bool can_be_merged_to(TokenType type) { return type == TokenType::kNormal || type == TokenType::kUnused; }

}  // namespace

std::optional<uint8_t> byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

/// One text being merged.
struct SentencePieceEncoder::Session {
  const SentencePieceEncoder& encoder;
  std::string_view text;
  std::vector<Node> nodes;
  std::vector<Candidate> heap;
  // How an unused piece came about: it is taken apart again at the end.
  std::unordered_map<std::string_view, size_t> left_part_of_unused;
  bool after_unknown = false;

  std::string_view view(const Node& node) const {
    return text.substr(static_cast<size_t>(node.begin), static_cast<size_t>(node.size));
  }

  void push_candidate(int32_t left) {
    if (left < 0) return;
    const Node& node = nodes[static_cast<size_t>(left)];
    if (node.next < 0) return;
    const Node& next = nodes[static_cast<size_t>(node.next)];
    const int32_t size = node.size + next.size;
    const std::string_view piece = text.substr(static_cast<size_t>(node.begin), static_cast<size_t>(size));
    const auto id = encoder.find(piece);
    if (!id) return;
    const float score = encoder.vocabulary_.scores[static_cast<size_t>(*id)];
    if (score == -std::numeric_limits<float>::infinity()) return;
    heap.push_back({score, left, size, *id});
    std::push_heap(heap.begin(), heap.end(), comes_later);
    if (encoder.vocabulary_.types[static_cast<size_t>(*id)] == TokenType::kUnused)
      left_part_of_unused[piece] = static_cast<size_t>(node.size);
  }

  void split_characters() {
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      decode_utf8(text, at);
      const auto index = static_cast<int32_t>(nodes.size());
      nodes.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(at - begin), index - 1,
                       at < text.size() ? index + 1 : -1});
    }
  }

  void merge_all() {
    for (size_t i = 0; i + 1 < nodes.size(); ++i) push_candidate(static_cast<int32_t>(i));
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), comes_later);
      const Candidate best = heap.back();
      heap.pop_back();
      Node& left = nodes[static_cast<size_t>(best.left)];
      if (left.size == 0 || left.next < 0) continue;
      Node& right = nodes[static_cast<size_t>(left.next)];
      if (left.size + right.size != best.size) continue;
      left.size = best.size;
      right.size = 0;
      left.next = right.next;
      if (left.next >= 0) nodes[static_cast<size_t>(left.next)].previous = best.left;
      push_candidate(left.previous);
      push_candidate(best.left);
    }
  }

  /// Emits a piece, or the parts of an unused one; each part is shorter, so the stack ends.
  void emit(std::string_view whole, std::vector<int32_t>& ids) {
    std::vector<std::string_view> stack{whole};
    while (!stack.empty()) {
      const std::string_view piece = stack.back();
      stack.pop_back();
      const auto id = encoder.find(piece);
      const auto parts = left_part_of_unused.find(piece);
      const bool unused = id && encoder.vocabulary_.types[static_cast<size_t>(*id)] == TokenType::kUnused;
      if (unused && parts != left_part_of_unused.end()) {
        stack.push_back(piece.substr(parts->second));
        stack.push_back(piece.substr(0, parts->second));
      } else if (id) {
        ids.push_back(*id);
        after_unknown = false;
      } else if (encoder.emit_bytes(piece, ids)) {
        after_unknown = false;
      } else if (!std::exchange(after_unknown, true) && encoder.unknown_) {
        ids.push_back(*encoder.unknown_);
      }
    }
  }
};

SentencePieceEncoder::SentencePieceEncoder(const Vocabulary& vocabulary, std::optional<int32_t> unknown)
    : vocabulary_(vocabulary), unknown_(unknown), pieces_(vocabulary.texts) {
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& text = vocabulary.texts[id];
    if (vocabulary.types[id] == TokenType::kByte) {
      if (const auto byte = byte_of_token(text)) byte_ids_[*byte] = static_cast<int32_t>(id);
    } else if (can_be_merged_to(vocabulary.types[id])) {
      pieces_.add(id, true);
      longest_ = std::max(longest_, text.size());
    }
  }
}

std::optional<int32_t> SentencePieceEncoder::find(std::string_view piece) const {
  if (piece.size() > longest_) return std::nullopt;
  return pieces_.find(piece);
}

bool SentencePieceEncoder::emit_bytes(std::string_view character, std::vector<int32_t>& ids) const {
  const auto id_of = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
  if (!std::ranges::all_of(character, [&](char c) { return id_of(c) >= 0; })) return false;
  for (const char c : character) ids.push_back(id_of(c));
  return true;
}

void SentencePieceEncoder::encode(std::string_view text, std::vector<int32_t>& ids) const {
  FATHOM_CHECK(text.size() < (size_t{1} << 31));
  Session session{*this, text, {}, {}, {}, false};
  session.split_characters();
  session.merge_all();
  if (session.nodes.empty()) return;
  for (int32_t at = 0; at >= 0; at = session.nodes[static_cast<size_t>(at)].next)
    session.emit(session.view(session.nodes[static_cast<size_t>(at)]), ids);
}

}  // namespace fathom::model
