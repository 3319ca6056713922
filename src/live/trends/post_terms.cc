#include "live/trends/post_terms.h"

#include <algorithm>

#include "base/text.h"
#include "live/duplicates.h"
#include "live/hash.h"

namespace fathom::live {
namespace {

constexpr uint64_t kSeed = 0x7E3D5A1B0C94F26Dull;
constexpr size_t kShortestWord = 3;  // bytes of ASCII; words of other scripts have two characters or more

// Function words of languages whose stop words the analyser keeps, folded. Sorted.
constexpr std::string_view kFunctionWords[] = {
    "auf",   "avec", "che", "com",  "como", "con", "dans", "das",  "del",  "den", "der", "des",
    "die",   "dos",  "ein", "eine", "est",  "les", "los",  "las",  "mais", "mas", "mit", "nao",
    "nicht", "non",  "par", "para", "pas",  "per", "por",  "pour", "que",  "qui", "sao", "sind",
    "sono",  "sur",  "uma", "una",  "und",  "une", "uno",  "unos", "von",  "zum", "zur"};

bool is_ascii(std::string_view term) { return static_cast<unsigned char>(term.front()) < 0x80; }

bool is_function_word(std::string_view term) {
  return std::find(std::begin(kFunctionWords), std::end(kFunctionWords), term) != std::end(kFunctionWords);
}

/// Numbers have no life of their own, but "Fold 3" has.
bool joins(const Token& token, std::string_view term) {
  if (token.extra || token.stop) return false;
  if (token.kind == TermKind::kNumber) return true;
  return token.kind == TermKind::kWord && (!is_ascii(term) || term.size() >= kShortestWord) &&
         !is_function_word(term);
}

/// Words are neighbours when nothing but a space or a hyphen stands between them; in some scripts nothing does.
bool touches(std::string_view text, const Token& before, const Token& token) {
  if (before.position + 1 != token.position || token.begin < before.end) return false;
  const std::string_view between = text.substr(before.end, token.begin - before.end);
  return between.empty() || between == " " || between == "-";
}

bool stands_alone(const Token& token, std::string_view term) {
  if (token.extra || token.stop) return false;
  if (token.kind == TermKind::kHashtag || token.kind == TermKind::kCashtag) return term.size() > 2;
  if (token.kind != TermKind::kWord) return false;
  if (is_ascii(term)) return term.size() >= kShortestWord && !is_function_word(term);
  size_t second = 0;
  decode_utf8(term, second);
  return second < term.size();
}

TrendKind kind_of(const Token& token) {
  if (token.kind == TermKind::kHashtag) return TrendKind::kHashtag;
  return token.kind == TermKind::kCashtag ? TrendKind::kCashtag : TrendKind::kWord;
}

void add(PostTerms& out, PostTerm term, std::string_view bytes) {
  term.hash = trend_hash(bytes);
  for (const PostTerm& other : out.terms)
    if (other.hash == term.hash) return;
  term.term_begin = static_cast<uint32_t>(out.bytes.size());
  term.term_size = static_cast<uint32_t>(bytes.size());
  out.bytes += bytes;
  out.terms.push_back(term);
}

}  // namespace

uint64_t trend_hash(std::string_view bytes) { return hash_bytes(bytes, kSeed); }

void find_terms(std::string_view text, PostTerms& out) {
  thread_local TokenList tokens;
  thread_local std::string pair;
  out.terms.clear();
  out.bytes.clear();
  analyze(text, tokens);
  out.sketch = sketch(tokens);
  const Token* before = nullptr;
  for (const Token& token : tokens.tokens) {
    if (out.terms.size() >= kMostPostTerms) return;
    if (token.extra) continue;
    const std::string_view term = tokens.term(token);
    if (term.empty() || term == "rt") continue;
    if (stands_alone(token, term))
      add(out, {.begin = token.begin, .end = token.end, .kind = kind_of(token)}, term);
    if (joins(token, term) && before != nullptr && touches(text, *before, token) &&
        (before->kind == TermKind::kWord || token.kind == TermKind::kWord)) {
      pair.assign(tokens.term(*before));
      pair += ' ';
      pair += term;
      add(out, {.begin = before->begin, .end = token.end, .kind = TrendKind::kPair}, pair);
    }
    before = joins(token, term) ? &token : nullptr;
  }
}

}  // namespace fathom::live
