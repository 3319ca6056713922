#include "infer/grammar/trie.h"

#include <algorithm>
#include <limits>

#include "infer/grammar/stacks.h"

namespace fathom::infer {
namespace {

using Trie = GrammarVocabulary::Trie;

size_t characters(std::string_view bytes) {
  return static_cast<size_t>(std::count_if(bytes.begin(), bytes.end(),
                                           [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

/// `ids`: sorted by their bytes, which differ.
std::vector<Trie::Node> build(const Trie& trie, const std::vector<uint32_t>& ids) {
  std::vector<Trie::Node> out;
  std::vector<uint32_t> path;  // nodes from the root to the latest
  std::string_view before;
  const auto leave = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) out[path.back()].skip = static_cast<uint32_t>(out.size());
  };
  for (const uint32_t id : ids) {
    const std::string_view bytes = trie.bytes(id);
    const auto common = static_cast<size_t>(
        std::mismatch(before.begin(), before.end(), bytes.begin(), bytes.end()).first - before.begin());
    leave(common);
    for (size_t d = common; d < bytes.size(); ++d) {
      path.push_back(static_cast<uint32_t>(out.size()));
      out.push_back({Trie::kNone, 0, static_cast<uint16_t>(d), static_cast<uint8_t>(bytes[d])});
    }
    out.back().token = id;
    before = bytes;
  }
  leave(0);
  out.shrink_to_fit();
  return out;
}

}  // namespace

GrammarVocabulary::Trie::Trie(const std::vector<std::string_view>& pieces, const std::vector<int32_t>& ends)
    : tokens(pieces.size()), same(pieces.size(), kNone) {
  std::vector<bool> usable(pieces.size());
  for (size_t id = 0; id < pieces.size(); ++id)
    usable[id] = !pieces[id].empty() && pieces[id].size() < std::numeric_limits<uint16_t>::max();
  for (const int32_t id : ends)
    if (id >= 0 && static_cast<size_t>(id) < usable.size()) usable[static_cast<size_t>(id)] = false;
  std::vector<uint32_t> ids;
  for (size_t id = 0; id < pieces.size(); ++id) {
    offsets.push_back(text.size());
    if (!usable[id]) continue;
    text += pieces[id];
    deepest = std::max(deepest, pieces[id].size());
    ids.push_back(static_cast<uint32_t>(id));
  }
  offsets.push_back(text.size());

  std::sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) {
    const int order = bytes(a).compare(bytes(b));
    return order != 0 ? order < 0 : a < b;
  });
  std::vector<uint32_t> short_ids;
  std::vector<uint32_t> long_ids;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string_view here = bytes(ids[i]);
    if (i > 0 && bytes(ids[i - 1]) == here) {
      same[ids[i - 1]] = ids[i];
      continue;
    }
    (characters(here) <= grammar::Stacks::kHorizon ? short_ids : long_ids).push_back(ids[i]);
  }
  plain = build(*this, short_ids);
  rare = build(*this, long_ids);
}

GrammarVocabulary::GrammarVocabulary(const std::vector<std::string_view>& pieces, std::vector<int32_t> ends)
    : trie_(std::make_unique<const Trie>(pieces, ends)), ends_(std::move(ends)) {}

GrammarVocabulary::~GrammarVocabulary() = default;

}  // namespace fathom::infer
