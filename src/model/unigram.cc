#include "model/unigram.h"

#include <algorithm>
#include <iterator>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/sentence_piece.h"

namespace fathom::model {
namespace {

constexpr float kUnknownPenalty = 10;

struct Piece {
  std::string_view text;
  int32_t id;
};

/// The pieces that a node stands for: they share `depth` bytes.
struct Span {
  size_t begin, end, depth, node;
};

}  // namespace

UnigramEncoder::UnigramEncoder(const Vocabulary& vocabulary, std::optional<int32_t> unknown, bool double_sums)
    : scores_(vocabulary.scores), unknown_(unknown), double_sums_(double_sums) {
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  std::vector<Piece> pieces;
  bool first = true;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& text = vocabulary.texts[id];
    if (vocabulary.types[id] == TokenType::kByte) {
      if (const auto byte = byte_of_token(text)) byte_ids_[*byte] = static_cast<int32_t>(id);
    }
    if (vocabulary.types[id] != TokenType::kNormal || text.empty()) continue;
    pieces.push_back({text, static_cast<int32_t>(id)});
    unknown_score_ = first ? scores_[id] : std::min(unknown_score_, scores_[id]);
    first = false;
  }
  unknown_score_ -= kUnknownPenalty;
  std::ranges::stable_sort(pieces, {}, &Piece::text);
  const auto same = [](const Piece& a, const Piece& b) { return a.text == b.text; };
  pieces.erase(std::unique(pieces.begin(), pieces.end(), same), pieces.end());

  nodes_.emplace_back();
  std::vector<Span> queue{{0, pieces.size(), 0, 0}};
  for (size_t next = 0; next < queue.size(); ++next) {
    const auto [begin, end, depth, node] = queue[next];
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    size_t at = begin;
    if (at < end && pieces[at].text.size() == depth) nodes_[node].id = pieces[at++].id;
    while (at < end) {
      const char label = pieces[at].text[depth];
      size_t last = at;
      while (last < end && pieces[last].text[depth] == label) ++last;
      queue.push_back({at, last, depth + 1, nodes_.size()});
      nodes_.push_back({0, 0, static_cast<uint8_t>(label), -1});
      ++nodes_[node].children;
      at = last;
    }
  }
}

const UnigramEncoder::Node* UnigramEncoder::child(const Node& node, char label) const {
  const auto wanted = static_cast<uint8_t>(label);
  const auto first = nodes_.begin() + node.first_child;
  const auto last = first + node.children;
  const auto found =
      std::lower_bound(first, last, wanted, [](const Node& n, uint8_t l) { return n.label < l; });
  return found == last || found->label != wanted ? nullptr : &*found;
}

/// steps[i]: the best way to cut text[0..i). Sums as SentencePiece forms them: in double, kept in single precision.
template <class Score>
void UnigramEncoder::search(std::string_view text, std::vector<Step<Score>>& steps) const {
  steps.assign(text.size() + 1, {});
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    Step<Score>& step = steps[end];
    if (step.begin >= 0 && !(score > static_cast<double>(step.score))) return;
    step = {static_cast<Score>(score), static_cast<int32_t>(begin), id};
  };
  for (size_t begin = 0; begin < text.size();) {
    size_t next = begin;
    decode_utf8(text, next);
    const double until = static_cast<double>(steps[begin].score);
    bool has_character = false;
    const Node* node = nodes_.data();
    for (size_t end = begin; end < text.size();) {
      node = child(*node, text[end++]);
      if (node == nullptr) break;
      if (node->id < 0) continue;
      offer(begin, end, until + static_cast<double>(scores_[static_cast<size_t>(node->id)]), node->id);
      has_character = has_character || end == next;
    }
    if (!has_character) offer(begin, next, until + static_cast<double>(unknown_score_), -1);
    begin = next;
  }
}

bool UnigramEncoder::emit_bytes(std::string_view character, std::vector<int32_t>& ids) const {
  const auto id_of = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
  if (!std::ranges::all_of(character, [&](char c) { return id_of(c) >= 0; })) return false;
  for (const char c : character) ids.push_back(id_of(c));
  return true;
}

template <class Score>
void UnigramEncoder::encode_with(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<Step<Score>> steps;
  search(text, steps);
  std::vector<size_t> ends;
  for (size_t end = text.size(); end > 0; end = static_cast<size_t>(steps[end].begin)) ends.push_back(end);
  bool after_unknown = false;
  size_t begin = 0;
  for (auto end = ends.rbegin(); end != ends.rend(); begin = *end++) {
    const int32_t id = steps[*end].id;
    if (id >= 0) {
      ids.push_back(id);
    } else if (!emit_bytes(text.substr(begin, *end - begin), ids) && unknown_) {
      if (!after_unknown) ids.push_back(*unknown_);
      after_unknown = true;
      continue;
    }
    after_unknown = false;
  }
}

void UnigramEncoder::encode(std::string_view text, std::vector<int32_t>& ids) const {
  FATHOM_CHECK(text.size() < (size_t{1} << 31));
  if (double_sums_)
    encode_with<double>(text, ids);
  else
    encode_with<float>(text, ids);
}

}  // namespace fathom::model
