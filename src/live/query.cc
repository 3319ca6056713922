#include "live/query.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "live/analysis.h"

namespace fathom::live {
namespace {

[[noreturn]] void refuse(std::string_view part, std::string_view why) {
  constexpr size_t kShown = 80;
  const std::string shown = sanitize_utf8(part.substr(0, kShown));
  throw Error(ErrorCode::kInvalidArgument, fmt::format("search: '{}' {}", shown, why));
}

bool is_space(char c) { return static_cast<unsigned char>(c) <= 0x20; }

template <class T>
void add_once(std::vector<T>& values, T value) {
  if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(std::move(value));
}

int64_t parse_count(std::string_view part, std::string_view digits) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value < 0)
    refuse(part, "needs a whole number of at least 0");
  return value;
}

Time parse_bound(std::string_view part, std::string_view text) {
  const auto time = parse_time(text);
  if (!time) refuse(part, "needs a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z");
  return *time;
}

std::string author_term(std::string_view handle) {
  if (handle.starts_with('@')) handle.remove_prefix(1);
  return "from:" + fold(handle);
}

class QueryParser {
 public:
  explicit QueryParser(const Query& query) : query_(query), rest_(query.text) {}

  ParsedQuery run() {
    if (rest_.size() > kMaxQueryBytes)
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("search: the query is longer than {} bytes; shorten it", kMaxQueryBytes));
    fields();
    while (next()) part();
    flush_plain();
    finish();
    return std::move(out_);
  }

 private:
  void fields() {
    for (const auto& author : query_.authors) authors_.push_back(author_term(author));
    for (const auto& author : query_.not_authors) add_once(out_.excluded, author_term(author));
    for (const auto& source : query_.sources) out_.sources.push_back(to_lower_ascii(source));
    for (const auto& lang : query_.langs) out_.langs.push_back(to_lower_ascii(lang));
    out_.since = query_.since;
    out_.until = query_.until;
    out_.min_likes = query_.min_likes;
    out_.min_views = query_.min_views;
    const RankWeights& w = query_.weights;
    if (!(w.recency >= 0 && w.recency <= 1) || !(w.half_life_hours >= 0) || !(w.engagement >= 0) ||
        !(w.author >= 0) || !std::isfinite(w.half_life_hours + w.engagement + w.author))
      throw Error(ErrorCode::kInvalidArgument,
                  "search: weights must be finite and at least 0, and the share of recency at most 1");
  }

  /// Cuts the next part off: its sign, whether it is quoted, its content.
  bool next() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
    if (rest_.empty()) return false;
    const std::string_view from = rest_;
    sign_ = '\0';
    if ((rest_.front() == '-' || rest_.front() == '+') && rest_.size() > 1 && !is_space(rest_[1])) {
      sign_ = rest_.front();
      rest_.remove_prefix(1);
    }
    quoted_ = rest_.front() == '"';
    if (quoted_) {
      rest_.remove_prefix(1);
      const size_t end = std::min(rest_.find('"'), rest_.size());
      content_ = rest_.substr(0, end);
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
    } else {
      size_t end = 0;
      while (end < rest_.size() && !is_space(rest_[end]) && (rest_[end] != '"' || end == 0)) ++end;
      content_ = rest_.substr(0, end);
      rest_.remove_prefix(end);
    }
    whole_ = from.substr(0, from.size() - rest_.size());
    return true;
  }

  void part() {
    if (quoted_) return phrase();
    if (operation()) return;
    if (sign_ == '\0') {
      // Kept together with its neighbours: "1 200" or Chinese words are one text to the analyser.
      plain_ += content_;
      plain_ += ' ';
      return;
    }
    signed_word();
  }

  void phrase() {
    Phrase phrase;
    analyze(content_, tokens_);
    std::optional<uint32_t> first;
    bool all_stop = true;
    for (const Token& token : tokens_.tokens) {
      if (token.extra) continue;
      if (!first) first = token.position;
      phrase.terms.emplace_back(token.position - *first, std::string(tokens_.term(token)));
      all_stop = all_stop && token.stop;
    }
    if (phrase.terms.empty()) return;
    if (sign_ == '-') {
      if (phrase.terms.size() == 1)
        add_once(out_.excluded, phrase.terms[0].second);
      else
        out_.excluded_phrases.push_back(std::move(phrase));
      return;
    }
    for (const Token& token : tokens_.tokens) {
      if (token.extra) continue;
      // Stop words have the longest lists and narrow nothing; the phrase itself is checked on the text.
      if (token.stop && !all_stop) continue;
      add_once(out_.required, std::string(tokens_.term(token)));
      score(std::string(tokens_.term(token)));
    }
    if (phrase.terms.size() > 1) out_.phrases.push_back(std::move(phrase));
  }

  void signed_word() {
    analyze(content_, tokens_);
    std::vector<std::string> terms;
    for (const Token& token : tokens_.tokens)
      if (!token.extra) terms.emplace_back(tokens_.term(token));
    // -well-known means the words together; each alone would shut out far more than was asked for.
    if (sign_ == '-' && terms.size() > 1) return phrase();
    for (auto& term : terms) {
      if (sign_ == '-') {
        add_once(out_.excluded, std::move(term));
        continue;
      }
      add_once(out_.required, term);
      score(std::move(term));
    }
  }

  /// name:value for the names that mean something.
  bool operation() {
    const size_t colon = content_.find(':');
    if (colon == std::string_view::npos || colon == 0) return false;
    const std::string name = to_lower_ascii(content_.substr(0, colon));
    const std::string_view value = content_.substr(colon + 1);
    constexpr std::string_view kNames[] = {"from",   "to",        "since",     "until", "lang",
                                           "source", "min_likes", "min_views", "has",   "is"};
    if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames)) return false;
    if (value.empty()) {
      // "from: the desk of" is text; a quoted value is not offered.
      return false;
    }
    if (sign_ == '-' && name != "from" && name != "to" && name != "has" && name != "is")
      refuse(whole_, "cannot be excluded; only words, phrases, from:, to:, has: and is: can");
    apply(name, value);
    return true;
  }

  void apply(std::string_view name, std::string_view value) {
    const bool excluded = sign_ == '-';
    if (name == "from") {
      if (excluded)
        add_once(out_.excluded, author_term(value));
      else
        authors_.push_back(author_term(value));
    } else if (name == "to") {
      std::string term = "to:" + fold(value.starts_with('@') ? value.substr(1) : value);
      add_once(excluded ? out_.excluded : out_.required, std::move(term));
    } else if (name == "has") {
      if (!equals_ignore_case(value, "link") && !equals_ignore_case(value, "links"))
        refuse(whole_, "is not known; has:link is");
      demand(out_.has_link);
    } else if (name == "is") {
      if (equals_ignore_case(value, "reply"))
        demand(out_.is_reply);
      else if (equals_ignore_case(value, "repost"))
        demand(out_.is_repost);
      else
        refuse(whole_, "is not known; is:reply and is:repost are");
    } else if (name == "since") {
      const Time bound = parse_bound(whole_, value);
      out_.since = out_.since ? std::max(*out_.since, bound) : bound;
    } else if (name == "until") {
      const Time bound = parse_bound(whole_, value);
      out_.until = out_.until ? std::min(*out_.until, bound) : bound;
    } else if (name == "lang") {
      out_.langs.push_back(to_lower_ascii(value));
    } else if (name == "source") {
      out_.sources.push_back(to_lower_ascii(value));
    } else if (name == "min_likes") {
      out_.min_likes = std::max(out_.min_likes.value_or(0), parse_count(whole_, value));
    } else {
      out_.min_views = std::max(out_.min_views.value_or(0), parse_count(whole_, value));
    }
  }

  /// Something that a post has or is; asked for with and without it, no post is left.
  void demand(std::optional<bool>& wanted) {
    const bool with = sign_ != '-';
    contradicts_ = contradicts_ || (wanted && *wanted != with);
    wanted = with;
  }

  void score(std::string term) {
    if (out_.scored.size() < kMaxQueryTerms) add_once(out_.scored, std::move(term));
  }

  /// Plain words: those that are not stop words, or all of them when there is nothing else in the query.
  void flush_plain() {
    analyze(plain_, tokens_);
    std::vector<std::string> words, stop_words;
    for (const Token& token : tokens_.tokens) {
      if (token.extra) continue;
      add_once(token.stop ? stop_words : words, std::string(tokens_.term(token)));
    }
    const bool only_stop_words =
        words.empty() && out_.scored.empty() && out_.required.empty() && authors_.empty();
    for (auto& word : only_stop_words ? stop_words : words) {
      if (query_.require_all) add_once(out_.required, word);
      score(std::move(word));
    }
  }

  void finish() {
    out_.one_must_match = out_.required.empty() && !out_.scored.empty();
    if (!authors_.empty()) {
      std::sort(authors_.begin(), authors_.end());
      authors_.erase(std::unique(authors_.begin(), authors_.end()), authors_.end());
      out_.any_of.push_back(std::move(authors_));
    }
    out_.never = contradicts_ || (out_.since && out_.until && *out_.since >= *out_.until);
  }

  const Query& query_;
  std::string_view rest_;
  std::string_view whole_, content_;
  char sign_ = '\0';
  bool quoted_ = false;
  bool contradicts_ = false;
  std::string plain_;
  std::vector<std::string> authors_;
  TokenList tokens_;
  ParsedQuery out_;
};

}  // namespace

ParsedQuery parse_query(const Query& query) { return QueryParser(query).run(); }

PhraseMatcher::PhraseMatcher(std::string_view text) {
  thread_local TokenList tokens;
  analyze(text, tokens);
  terms_.reserve(tokens.tokens.size());
  for (const Token& token : tokens.tokens) terms_.emplace_back(tokens.term(token), token.position);
  std::sort(terms_.begin(), terms_.end());
}

bool PhraseMatcher::has(const Phrase& phrase) const {
  const auto& [offset, first] = phrase.terms.front();
  const auto begin =
      std::lower_bound(terms_.begin(), terms_.end(), std::pair<std::string_view, uint32_t>(first, 0));
  for (auto at = begin; at != terms_.end() && at->first == first; ++at) {
    const uint32_t start = at->second - offset;
    const bool all = std::all_of(phrase.terms.begin(), phrase.terms.end(), [&](const auto& term) {
      return std::binary_search(terms_.begin(), terms_.end(),
                                std::pair<std::string_view, uint32_t>(term.second, start + term.first));
    });
    if (all) return true;
  }
  return false;
}

}  // namespace fathom::live
