#include "answer/dispute.h"

#include <algorithm>
#include <array>

#include "answer/cues.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr double kSameMatter = 0.34;  // share of words from which a denial is about the same thing
constexpr double kLeastTrust = 0.9;
constexpr size_t kNear = 3;                      // words from a number to what it counts
constexpr std::chrono::hours kSameTime{24 * 7};  // figures further apart are no dispute

bool within(Span inner, Span outer) { return inner.begin >= outer.begin && inner.end <= outer.end; }

bool counts_things(const Fact& fact) {
  return fact.kind == FactKind::kNumber || fact.kind == FactKind::kPercent || fact.kind == FactKind::kMoney;
}

/// Some figure of `a` stands for the same thing as one of `b` with another value, and none with the same.
bool figures_differ(const Evidence& a, Span in_a, const Evidence& b, Span in_b) {
  bool differ = false;
  for (const Fact& one : a.facts) {
    if (!within(one.span, in_a) || !counts_things(one)) continue;
    const Word* thing = counted(a, one, in_a);
    if (thing == nullptr) continue;
    for (const Fact& other : b.facts) {
      if (!within(other.span, in_b) || other.kind != one.kind) continue;
      const Word* same = counted(b, other, in_b);
      if (same == nullptr || same->stem != thing->stem) continue;
      if (other.key == one.key) return false;
      differ = true;
    }
  }
  return differ;
}

/// What somebody tells of their own life is no other account of anything.
bool is_personal(const Evidence& evidence, Span passage) {
  return std::ranges::any_of(evidence.words, [&](const Word& word) {
    return within(word.span, passage) && (word.folded == "i" || word.folded == "my" || word.folded == "i'm");
  });
}

/// The number behind it names one of a row: "chapter 3" is no other figure than "chapter 4".
bool is_label(std::string_view folded) {
  static constexpr auto kLabels = std::to_array<std::string_view>(
      {"number", "no",    "nr",    "part",   "chapter", "day",   "episode", "round",    "game",
       "match",  "stage", "phase", "update", "version", "level", "gate",    "platform", "line",
       "route",  "room",  "bus",   "flight", "train",   "take",  "lap"});
  return std::ranges::find(kLabels, folded) != kLabels.end();
}

bool apart(Time a, Time b) { return (a > b ? a - b : b - a) > kSameTime; }

}  // namespace

const Word* counted(const Evidence& evidence, const Fact& fact, Span passage) {
  if (fact.word > 0 && is_label(evidence.words[fact.word - 1].folded)) return nullptr;
  for (size_t i = fact.word + 1; i < evidence.words.size() && i <= fact.word + kNear; ++i) {
    const Word& word = evidence.words[i];
    if (!within(word.span, passage) || word.kind == WordKind::kNumber) return nullptr;
    if (is_content(word)) return &word;
  }
  return nullptr;
}

std::unordered_set<std::string_view> stems_in(const Evidence& evidence, Span passage) {
  std::unordered_set<std::string_view> out;
  for (const Word& word : evidence.words) {
    const bool counts = is_content(word) && word.kind != WordKind::kNumber && word.folded.size() >= 3;
    if (counts && within(word.span, passage)) out.insert(word.stem);
  }
  return out;
}

double alike(const std::unordered_set<std::string_view>& a, const std::unordered_set<std::string_view>& b) {
  const auto common = std::ranges::count_if(a, [&](const std::string_view stem) { return b.contains(stem); });
  const size_t smaller = std::min(a.size(), b.size());
  return common < 2 ? 0 : static_cast<double>(common) / static_cast<double>(smaller);
}

std::optional<Dispute> find_dispute(const std::vector<Evidence>& evidence, const std::vector<size_t>& among,
                                    const Evidence& post, Span passage) {
  const auto words = stems_in(post, passage);
  const std::string key = post.post.key();
  if (is_personal(post, passage)) return std::nullopt;
  std::optional<Dispute> best;
  for (const size_t index : among) {
    const Evidence& other = evidence[index];
    const bool same_author = !other.handle.empty() && other.handle == post.handle;
    if (other.post.key() == key || other.shape == post.shape || other.trust < kLeastTrust) continue;
    for (const Span sentence : other.sentences) {
      const Span part = clean_span(other.post.text, sentence);
      const std::string lower = to_lower_ascii(slice(other.post.text, part));
      if (part.size() == 0 || lower.find('?') != std::string::npos) continue;
      const double common = alike(words, stems_in(other, part));
      const bool later = other.post.created_at > post.post.created_at;
      const bool denial = later && common >= kSameMatter && (refutes(lower) || corrects(lower)) &&
                          !(refutes(to_lower_ascii(slice(post.post.text, passage))));
      const bool figure = !denial && common >= kSameStatement &&
                          !apart(other.post.created_at, post.post.created_at) && !(same_author && !later) &&
                          !is_personal(other, part) && figures_differ(post, passage, other, part);
      if (!denial && !figure) continue;
      const bool newer = !best || other.post.created_at > evidence[best->index].post.created_at;
      if (!best || (best->figure && denial) || (best->figure == figure && newer))
        best = Dispute{index, part, figure};
    }
  }
  return best;
}

}  // namespace fathom::answer
