#include "answer/check_names.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kMostAnchors =
    12;  // names and numbers of a claim; one with more is not judged by their order

/// Prepositions that may stand for one another.
int class_of(std::string_view preposition) {
  if (one_of(preposition, {"in", "at", "near", "on", "over", "under", "above", "below"})) return 1;
  if (one_of(preposition, {"to", "into"})) return 2;
  if (one_of(preposition, {"from"})) return 3;
  if (one_of(preposition, {"of"})) return 4;
  if (one_of(preposition, {"by"})) return 5;
  if (one_of(preposition, {"with"})) return 6;
  if (one_of(preposition, {"for"})) return 7;
  if (one_of(preposition, {"against"})) return 8;
  return preposition.empty() ? 0 : 9;
}

bool is_place(std::string_view preposition) { return class_of(preposition) == 1; }

/// A text with its clauses told in the active voice.
class Order {
 public:
  Order(std::string_view text, const std::vector<Word>& words, size_t first, size_t last)
      : text_(text), words_(words), first_(first), keys_(words.size()), agent_(words.size()) {
    for (size_t i = 0; i < words.size(); ++i) keys_[i] = static_cast<double>(i);
    for (size_t i = first + 2; i < last; ++i) {
      if (words[i].folded == "by" && is_passive(i)) turn_round(i, last);
    }
  }

  double key(size_t word) const { return keys_[word]; }
  /// Done by whom: behind "by" in a passive.
  bool agent(size_t word) const { return agent_[word]; }

 private:
  std::string_view gap(size_t left) const {
    return text_.substr(words_[left].span.end, words_[left + 1].span.begin - words_[left].span.end);
  }
  bool breaks(size_t left) const { return gap(left).find_first_of(",;:") != std::string_view::npos; }

  bool is_passive(size_t by) const {
    const Word& participle = words_[by - 1];
    if (participle.kind != WordKind::kWord || participle.capital) return false;
    for (size_t back = 2; back <= 4 && by >= first_ + back; ++back) {
      if (one_of(words_[by - back].folded,
                 {"is", "are", "was", "were", "be", "been", "being", "gets", "got"}))
        return true;
    }
    return is_verb(participle);
  }

  void turn_round(size_t by, size_t last) {
    size_t end = by + 1;
    while (end < last && !(end > by + 1 && breaks(end - 1)) && !is_joiner(words_[end].folded) &&
           !is_loose_preposition(words_[end].folded) && words_[end].folded != "to" &&
           words_[end].folded != "from")
      ++end;
    size_t subject = by - 1;
    while (subject > first_ && !breaks(subject - 1) && !is_joiner(words_[subject - 1].folded)) --subject;
    for (size_t i = by + 1; i < end; ++i) {
      agent_[i] = true;
      keys_[i] =
          static_cast<double>(subject) - 1 + static_cast<double>(i - by) / static_cast<double>(end - by + 1);
    }
  }

  std::string_view text_;
  const std::vector<Word>& words_;
  size_t first_;
  std::vector<double> keys_;
  std::vector<bool> agent_;
};

class Names {
 public:
  explicit Names(const NamesView& view)
      : v_(view),
        claim_(view.claim, view.claim_words, 0, view.claim_words.size()),
        post_(view.post, view.post_words, first_word(), last_word()) {}

  bool hold() const {
    for (size_t t = 0; t < v_.claim_tokens.size(); ++t) {
      if (is_claimed_name(t) && usable(t).empty()) return false;
    }
    return !exchanged() && places_keep_apart() && in_order() && subjects_hold();
  }

 private:
  const Word& claim_word(size_t token) const { return v_.claim_words[v_.claim_tokens[token].word]; }
  const Word& post_word(size_t place) const { return v_.post_words[v_.post_tokens[place].word]; }
  size_t first_word() const { return v_.post_tokens.empty() ? 0 : v_.post_tokens.front().word; }
  size_t last_word() const {
    return v_.post_tokens.empty() ? 0 : std::min(v_.post_tokens.back().last + 1, v_.post_words.size());
  }

  static bool is_name_word(const Word& word) {
    return word.kind == WordKind::kWord && word.capital && !is_stop_word(word.folded) &&
           month_number(word.folded) == 0 && weekday_number(word.folded) == 0;
  }

  bool is_claimed_name(size_t t) const {
    if (v_.claim_tokens[t].number() || v_.places[t].empty() || !is_name_word(claim_word(t))) return false;
    return !claim_word(t).opens ||
           std::ranges::any_of(v_.places[t], [&](size_t place) { return is_name_word(post_word(place)); });
  }

  std::string_view claim_link(size_t t) const {
    const size_t word = v_.claim_tokens[t].word;
    return claim_.agent(word) ? std::string_view{} : link(v_.claim, v_.claim_words, word);
  }
  std::string_view post_link(size_t place) const {
    const size_t word = v_.post_tokens[place].word;
    return post_.agent(word) ? std::string_view{} : link(v_.post, v_.post_words, word);
  }

  /// The preposition that a word stands behind, with no mark between.
  static std::string_view link(std::string_view text, const std::vector<Word>& words, size_t at) {
    const std::string_view found = preposition(words, at);
    if (found.empty()) return {};
    size_t from = at;
    while (from > 0 && words[from - 1].folded != found) --from;
    const size_t begin = words[from - 1].span.end;
    return text.substr(begin, words[at].span.begin - begin).find_first_of(",;:.!?") == std::string_view::npos
               ? found
               : std::string_view{};
  }

  /// The places of a name in the post where it stands as it does in the claim.
  std::vector<size_t> usable(size_t t) const {
    const std::string_view mine = claim_link(t);
    std::vector<size_t> out;
    for (const size_t place : v_.places[t]) {
      const std::string_view theirs = post_link(place);
      const bool tag = post_word(place).kind != WordKind::kWord;
      const bool fronted = is_place(mine) && theirs.empty() && heads(place);
      const Word *head = head_in_claim(t), *other = head_in_post(place);
      if (head != nullptr && other != nullptr && !says_the_same(*head, *other)) continue;
      if (tag || fronted || class_of(mine) == class_of(theirs) || part_of_name(t, place))
        out.push_back(place);
    }
    return out;
  }

  /// "the bridge in Lund" and "the Lund bridge", "Brandt's lawyer" and "the lawyer of Brandt".
  bool part_of_name(size_t t, size_t place) const {
    const std::string_view mine = claim_link(t), theirs = post_link(place);
    if (mine.empty() == theirs.empty()) return compound_in_claim(t) && compound_in_post(place);
    return theirs.empty() ? compound_in_post(place) || possessive(post_word(place).span, v_.post)
                          : compound_in_claim(t) || possessive(claim_word(t).span, v_.claim);
  }

  bool compound_in_claim(size_t t) const { return head_in_claim(t) != nullptr; }
  bool compound_in_post(size_t place) const { return head_in_post(place) != nullptr; }
  const Word* head_in_claim(size_t t) const {
    return head_of(v_.claim, v_.claim_words, v_.claim_tokens[t].last);
  }
  const Word* head_in_post(size_t place) const {
    return head_of(v_.post, v_.post_words, v_.post_tokens[place].last);
  }

  /// "the Lund bridge": the noun at once behind the last word of a name that an article introduces; else null.
  static const Word* head_of(std::string_view text, const std::vector<Word>& words, size_t at) {
    size_t first = at;
    while (first > 0 && is_name_word(words[first - 1])) --first;
    if (first == 0 || !one_of(words[first - 1].folded, {"the", "a", "an", "this", "its", "their"})) {
      if (first == at || !one_of(words[first].folded, {"the", "a", "an", "this"})) return nullptr;
    }
    for (; at + 1 < words.size(); ++at) {
      const Word& next = words[at + 1];
      const size_t end = words[at].span.end;
      if (text.substr(end, next.span.begin - end) != " " || next.kind != WordKind::kWord) return nullptr;
      if (!is_name_word(next)) return is_content(next) && !is_verb(next) ? &next : nullptr;
    }
    return nullptr;
  }

  /// "the Solvarine works in Brannock" are not "the Brannock works in Solvarine": one name may be told otherwise, not two.
  bool exchanged() const {
    size_t changed = 0;
    for (size_t t = 0; t < v_.claim_tokens.size(); ++t) {
      if (!is_claimed_name(t) ||
          (t > 0 && is_claimed_name(t - 1) && v_.claim_tokens[t].word == v_.claim_tokens[t - 1].last + 1))
        continue;
      const bool same = std::ranges::any_of(v_.places[t], [&](size_t place) {
        return claim_link(t) == post_link(place) && compound_in_claim(t) == compound_in_post(place);
      });
      changed += same ? 0 : 1;
    }
    return changed >= 2;
  }

  /// "at the mill in Lund" is not "at Lund in the mill"; and where each of two has its place, neither has the other's.
  bool places_keep_apart() const {
    for (size_t t = 0; t < v_.claim_tokens.size(); ++t) {
      if (!is_claimed_name(t) || !is_place(claim_link(t))) continue;
      const std::vector<size_t> mine = usable(t);
      if (t > 0 && is_claimed_name(t - 1) && is_place(claim_link(t - 1)) &&
          claim_link(t - 1) != claim_link(t) && std::ranges::none_of(mine, [&](size_t p) {
            return std::ranges::any_of(v_.places[t - 1], [&](size_t q) { return q < p; });
          }))
        return false;
      if (std::ranges::all_of(mine, [&](size_t p) { return another_place_follows(t, p); })) return false;
    }
    return true;
  }

  /// What the claim tells before the place comes behind it in the post, and has a place of its own there.
  bool another_place_follows(size_t t, size_t place) const {
    for (size_t u = 0; u < t; ++u) {
      if (v_.places[u].empty() || v_.claim_tokens[u].number() ||
          std::ranges::any_of(v_.places[u], [&](size_t q) { return q < place; }))
        continue;
      for (size_t r = v_.places[u].back() + 1; r < v_.post_tokens.size(); ++r) {
        if (!v_.post_tokens[r].number() && is_name_word(post_word(r)) && !is_matched(r) &&
            is_place(post_link(r)))
          return true;
      }
    }
    return false;
  }

  /// "Lund: ...", "Lund, ...".
  bool heads(size_t place) const {
    const size_t end = post_word(place).span.end;
    const char behind = end < v_.post.size() ? v_.post[end] : ' ';
    return behind == ':' || behind == ',';
  }

  static bool possessive(Span span, std::string_view text) {
    const std::string_view word = slice(text, span);
    return word.ends_with("'s") || word.ends_with("s'") || word.ends_with("\xE2\x80\x99s");
  }

  /// What keeps its order: names that are no place, and counts.
  bool is_anchor(size_t t) const {
    if (v_.places[t].empty()) return false;
    if (v_.claim_tokens[t].number()) {
      const char kind = v_.claim_tokens[t].keys.front().front();
      return kind != 't' && kind != 'd';
    }
    return is_claimed_name(t) && !is_place(claim_link(t)) && !compound_in_claim(t);
  }

  double key(size_t place) const { return post_.key(v_.post_tokens[place].word); }

  bool in_order() const {
    std::vector<size_t> anchors;
    for (size_t t = 0; t < v_.claim_tokens.size(); ++t) {
      if (is_anchor(t)) anchors.push_back(t);
    }
    if (std::ranges::none_of(anchors, [&](size_t t) { return is_claimed_name(t); })) return true;
    if (anchors.size() > kMostAnchors) return true;
    std::ranges::stable_sort(anchors, [&](size_t a, size_t b) {
      return claim_.key(v_.claim_tokens[a].word) < claim_.key(v_.claim_tokens[b].word);
    });
    return chain(anchors, 0, std::nullopt);
  }

  /// Whether the anchors from `at` on have places one behind the other, with no stranger between two of them.
  bool chain(const std::vector<size_t>& anchors, size_t at, std::optional<size_t> before) const {
    if (at == anchors.size()) return true;
    const size_t t = anchors[at];
    const std::vector<size_t> all = v_.claim_tokens[t].number() ? v_.places[t] : usable(t);
    return std::ranges::any_of(all, [&](size_t place) {
      const bool behind = !before || (key(place) > key(*before) && !stranger_between(*before, place));
      return behind && chain(anchors, at + 1, place);
    });
  }

  bool is_matched(size_t place) const {
    return std::ranges::any_of(
        v_.places, [&](const auto& places) { return std::ranges::find(places, place) != places.end(); });
  }

  /// Another name that could be what the second of two places belongs to.
  bool stranger_between(size_t a, size_t b) const {
    for (size_t i = 0; i < v_.post_tokens.size(); ++i) {
      if (i == a || i == b || key(i) <= key(a) || key(i) >= key(b)) continue;
      if (v_.post_tokens[i].number() || !is_name_word(post_word(i)) || post_word(i).all_caps) continue;
      if (!is_matched(i) && post_link(i).empty() && !same_name(a, i) && !same_name(i, b)) return true;
    }
    return false;
  }

  /// Words that stand side by side with nothing but a blank between.
  bool same_name(size_t a, size_t b) const {
    for (size_t i = a; i < b; ++i) {
      const Token& left = v_.post_tokens[i];
      const Token& right = v_.post_tokens[i + 1];
      if (right.word != left.last + 1 || !is_name_word(v_.post_words[right.word])) return false;
      const size_t end = v_.post_words[left.last].span.end;
      if (v_.post.substr(end, v_.post_words[right.word].span.begin - end) != " ") return false;
    }
    return true;
  }

  /// A name right before a verb is its subject, and the one nearest to it in the post.
  bool subjects_hold() const {
    for (size_t t = 0; t + 1 < v_.claim_tokens.size(); ++t) {
      const size_t verb = t + 1;
      if (!is_claimed_name(t) || v_.claim_tokens[verb].number() || v_.places[verb].empty()) continue;
      const Word& word = claim_word(verb);
      if (word.capital || !claim_link(t).empty() || claim_.agent(v_.claim_tokens[t].word)) continue;
      if (!adjoins(t, verb) || one_of(word.folded, {"says", "said", "tells", "told"})) continue;
      const std::vector<size_t> subjects = usable(t);
      const bool held = std::ranges::any_of(v_.places[verb], [&](size_t v) {
        return std::ranges::any_of(subjects, [&](size_t s) {
          return (key(s) < key(v) && !stranger_between(s, v) && !object_of_other(s, v) &&
                  object_holds(verb, v)) ||
                 post_word(s).kind != WordKind::kWord;
        });
      });
      if (!held) return false;
    }
    return true;
  }

  /// "Ann, who met Bob, left": Bob is behind a verb, and a mark parts him from the next.
  bool object_of_other(size_t s, size_t v) const {
    const size_t at = v_.post_tokens[s].word;
    if (at == 0 || !is_verb(v_.post_words[at - 1]) || is_saying(v_.post_words[at - 1].folded)) return false;
    const size_t end = v_.post_words[at].span.end, begin = v_.post_words[v_.post_tokens[v].word].span.begin;
    return end < begin && v_.post.substr(end, begin - end).find_first_of(",;") != std::string_view::npos;
  }

  static bool is_saying(std::string_view w) {
    return one_of(w, {"says", "said", "announced", "confirmed", "believes", "reported", "denied"});
  }

  /// What the claim tells next is not another's in the post: "A met B, and B left" tells of no leaving of A's.
  bool object_holds(size_t verb, size_t v) const {
    const size_t next = verb + 1;
    if (next >= v_.claim_tokens.size() || v_.places[next].empty()) return true;
    return std::ranges::any_of(v_.places[next],
                               [&](size_t o) { return key(o) < key(v) || !stranger_or_self_between(v, o); });
  }

  /// A name between, claimed or not.
  bool stranger_or_self_between(size_t a, size_t b) const {
    for (size_t i = a + 1; i < b; ++i) {
      if (!v_.post_tokens[i].number() && is_name_word(post_word(i)) && !post_word(i).all_caps &&
          post_link(i).empty() && !same_name(i, b))
        return true;
    }
    return false;
  }

  /// Nothing but auxiliaries and adverbs between, and no passive.
  bool adjoins(size_t t, size_t verb) const {
    for (size_t w = v_.claim_tokens[t].last + 1; w < v_.claim_tokens[verb].word; ++w) {
      if (one_of(v_.claim_words[w].folded, {"is", "are", "was", "were", "been", "be"}) ||
          is_loose_preposition(v_.claim_words[w].folded) || is_joiner(v_.claim_words[w].folded))
        return false;
    }
    const size_t end = v_.claim_words[v_.claim_tokens[t].last].span.end;
    const std::string_view gap = v_.claim.substr(end, claim_word(verb).span.begin - end);
    return gap.find_first_of(",;:") == std::string_view::npos;
  }

  const NamesView& v_;
  const Order claim_, post_;
};

}  // namespace

bool names_in_place(const NamesView& view) { return Names(view).hold(); }

}  // namespace fathom::answer
