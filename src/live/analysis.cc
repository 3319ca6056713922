#include "live/analysis.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/text.h"
#include "live/byte_classes.h"
#include "live/fold_text.h"
#include "live/word_table.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxText = size_t{1} << 30;
constexpr size_t kMaxWordCharacters = 128;  // a longer run of letters is several words

// Last labels after which a word with a dot in it is an address and not a missing space. Sorted.
constexpr std::string_view kTopLevel[] = {"ai",   "app", "au",  "biz", "br", "ca", "ch",     "cn",  "co",
                                          "com",  "de",  "dev", "edu", "es", "eu", "fr",     "gov", "in",
                                          "info", "int", "io",  "it",  "jp", "ly", "me",     "mil", "net",
                                          "news", "nl",  "org", "pl",  "ru", "se", "social", "tv",  "uk"};

static_assert(std::is_sorted(std::begin(kTopLevel), std::end(kTopLevel)));

template <size_t N>
bool contains(const std::string_view (&sorted)[N], std::string_view word) {
  return std::binary_search(std::begin(sorted), std::end(sorted), word);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_letter(char c) { return is_upper(static_cast<char>(c & ~0x20)); }
bool is_alnum(char c) { return is_letter(c) || is_digit(c); }
bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }
char lower(char c) { return is_upper(c) ? static_cast<char>(c + 32) : c; }

struct ThreadState {
  UnicodeFolder folder;
  WordTable words;
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  std::string folded;
  ByteClasses classes;
};

ThreadState& thread_state() {
  thread_local ThreadState state;
  return state;
}

/// Cuts at a character's start, so that a term is always UTF-8.
std::string_view clip(std::string_view term) {
  if (term.size() <= kMaxTermBytes) return term;
  size_t end = kMaxTermBytes;
  while (end > 0 && (static_cast<unsigned char>(term[end]) & 0xC0) == 0x80) --end;
  return term.substr(0, end);
}

class Analyzer {
 public:
  Analyzer(std::string_view text, TokenList& out)
      : text_(text.substr(0, kMaxText)), out_(out), state_(thread_state()), classes_(state_.classes) {
    classes_.read(text_);
  }

  void run() {
    ask_for_words();
    while ((at_ = classes_.next_start(at_)) < text_.size()) step();
    out_.words = position_;
  }

 private:
  struct Span {
    size_t begin, end;
  };

  /// The table of words is larger than the near cache: all words of the text are asked for at once.
  void ask_for_words() const {
    for (size_t at = 0; (at = classes_.next_start(at)) < text_.size();) {
      const size_t end = classes_.alnum_end(at);
      if (end > at) state_.words.prefetch(classes_.lowered() + at, end - at);
      at = std::max(end, at + 1);
    }
  }

  char peek(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }

  void step() {
    const char c = text_[at_];
    if (!is_ascii(c)) return other();
    if (is_alnum(c)) return at_address() ? address() : word();
    if (c == '#' && hashtag()) return;
    if (c == '@' && mention()) return;
    if (c == '$' && cashtag()) return;
    if (c == '&') return entity();
    ++at_;
  }

  /// A character outside ASCII starts a word, a run without spaces, or nothing.
  void other() {
    size_t next = at_;
    const char32_t c = decode_utf8(text_, next);
    if (is_unspaced(c))
      unspaced();
    else if (is_word_character(c))
      word();
    else
      at_ = next;
  }

  /// HTML leaves its escapes in many feeds; "amp" and its like are not words.
  void entity() {
    for (const std::string_view name : {"&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;"}) {
      if (!text_.substr(at_).starts_with(name)) continue;
      at_ += name.size();
      return;
    }
    ++at_;
  }

  // Addresses

  bool at_address() const {
    const char* at = classes_.lowered() + at_;  // zeros follow the text
    if (at[0] == 'w') return std::memcmp(at, "www.", 4) == 0;
    return at[0] == 'h' && at[1] == 't' &&
           (std::memcmp(at, "http://", 7) == 0 || std::memcmp(at, "https://", 8) == 0);
  }

  void address() {
    const size_t begin = at_;
    size_t host = begin;
    if (lower(text_[begin]) == 'h') host = text_.find("//", begin) + 2;
    size_t end = host;
    const auto ends_address = [](char c) {
      return static_cast<unsigned char>(c) <= 0x20 || !is_ascii(c) || c == '<' || c == '>' || c == '"';
    };
    while (end < text_.size() && !ends_address(text_[end])) ++end;
    size_t host_end = host;
    while (host_end < end && (is_alnum(text_[host_end]) || text_[host_end] == '.' || text_[host_end] == '-'))
      ++host_end;
    at_ = std::max(end, begin + 1);
    domain({begin, at_}, text_.substr(host, host_end - host));
  }

  /// The domain without "www.", and its main label as a word that also finds it. t.co says nothing about where it leads.
  void domain(Span span, std::string_view host) {
    std::string& name = state_.folded;
    name = to_lower_ascii(host);
    if (name.starts_with("www.")) name.erase(0, 4);
    while (name.ends_with('.') || name.ends_with('-')) name.pop_back();
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos || dot == 0 || name == "t.co") return;
    add(name, span, TermKind::kDomain, false, false);
    size_t label = name.rfind('.', dot - 1);
    label = label == std::string::npos ? 0 : label + 1;
    const std::string main = name.substr(label, dot - label);
    if (main.size() > 3) add_word(main, span, true);
    ++position_;
  }

  /// "example.com" without a scheme: dots between letters and a last label that is a top-level domain.
  bool bare_domain() {
    size_t end = at_;
    size_t last_dot = 0;
    while (end < text_.size()) {
      const char c = text_[end];
      if (c == '.' && is_alnum(peek(end + 1)))
        last_dot = end;
      else if (!is_alnum(c) && c != '-')
        break;
      ++end;
    }
    if (last_dot == 0 || !is_letter(text_[last_dot + 1])) return false;
    while (!is_alnum(text_[end - 1])) --end;
    const std::string_view top = text_.substr(last_dot + 1, end - last_dot - 1);
    // Lower case only: "Ended.In other news" is a missing space.
    if (!contains(kTopLevel, top) || last_dot - at_ < 2) return false;
    const Span span{at_, end};
    at_ = end;
    if (peek(at_) == '/')
      while (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) > 0x20 && is_ascii(text_[at_]))
        ++at_;
    domain(span, text_.substr(span.begin, span.end - span.begin));
    return true;
  }

  // Words

  /// What joins two parts of one word at `at`, as the number of bytes to skip; 0 when nothing does.
  size_t joiner(size_t begin, size_t at, bool& apostrophe) const {
    const char before = text_[at - 1], c = text_[at], after = peek(at + 1);
    apostrophe = false;
    if (c == '\'' && is_letter_at(at + 1)) return apostrophe = true, 1;
    if (text_.substr(at, 3) == "\xE2\x80\x99" && is_letter_at(at + 3)) return apostrophe = true, 3;
    if (c == '.' && is_digit(before) && is_digit(after)) return 1;
    if (c == ',' && is_digit(before) && thousands(begin, at)) return 1;
    return 0;
  }

  bool is_letter_at(size_t at) const {
    if (at >= text_.size()) return false;
    if (is_ascii(text_[at])) return is_letter(text_[at]);
    return is_word_character(decode_utf8(text_, at));
  }

  bool thousands(size_t begin, size_t comma) const {
    size_t digits = 0;
    while (digits < comma - begin && is_digit(text_[comma - 1 - digits])) ++digits;
    return digits <= 3 && is_digit(peek(comma + 1)) && is_digit(peek(comma + 2)) &&
           is_digit(peek(comma + 3)) && !is_digit(peek(comma + 4));
  }

  /// The end of an acronym with points (U.S., N.A.T.O.), or `at_` when there is none.
  size_t dotted_acronym() const {
    size_t at = at_;
    size_t letters = 0;
    while (is_letter(peek(at)) && peek(at + 1) == '.') {
      at += 2;
      ++letters;
    }
    if (letters < 2 && !(letters == 1 && is_letter(peek(at)) && !is_alnum(peek(at + 1)))) return at_;
    if (is_letter(peek(at)) && !is_alnum(peek(at + 1))) return at + 1;  // the last point left out: U.S
    return is_alnum(peek(at)) ? at_ : at;
  }

  void acronym(size_t end) {
    const Span span{at_, end};
    std::string term;
    for (const char c : text_.substr(span.begin, span.end - span.begin))
      if (c != '.') term += lower(c);
    at_ = end;
    if (term == "usa") term = "us";
    if (is_stop_word(term)) term = term == "us" ? "u.s" : term;
    add(term, span, TermKind::kWord, false, false);
    ++position_;
  }

  /// AT&T, S&P, Q&amp;A: short parts on both sides.
  bool ampersand() {
    size_t left = at_;
    while (is_letter(peek(left))) ++left;
    if (left - at_ > 3 || left == at_ || peek(left) != '&') return false;
    size_t right = left + (text_.substr(left).starts_with("&amp;") ? 5 : 1);
    const size_t right_begin = right;
    while (is_letter(peek(right))) ++right;
    if (right == right_begin || right - right_begin > 2 || is_digit(peek(right))) return false;
    const Span span{at_, right};
    std::string term = to_lower_ascii(text_.substr(at_, left - at_)) + "&" +
                       to_lower_ascii(text_.substr(right_begin, right - right_begin));
    at_ = right;
    add(term, span, TermKind::kWord, false, false);
    ++position_;
    return true;
  }

  /// C++, C#, F#.
  bool language_name() {
    if (!is_letter(text_[at_]) || is_alnum(peek(at_ + 1))) return false;
    const size_t size = text_.substr(at_ + 1, 2) == "++" ? 3 : peek(at_ + 1) == '#' ? 2 : 0;
    if (size == 0 || is_alnum(peek(at_ + size))) return false;
    std::string term = to_lower_ascii(text_.substr(at_, size));
    const Span span{at_, at_ + size};
    at_ += size;
    add(term, span, TermKind::kWord, false, false);
    ++position_;
    return true;
  }

  bool special_word() {
    if (!is_letter(text_[at_])) return bare_domain();
    if (const size_t end = dotted_acronym(); end != at_) return acronym(end), true;
    return ampersand() || language_name() || bare_domain();
  }

  /// The end of a run of ASCII letters and digits that nothing can join to what follows, as most words are; else 0.
  size_t simple_end() const {
    const size_t end = classes_.alnum_end(at_);
    if (end == at_ || end - at_ > kMaxWordCharacters) return 0;
    constexpr std::string_view kJoining = ".&+#'-,";
    const char next = peek(end);
    return is_ascii(next) && kJoining.find(next) == std::string_view::npos ? end : 0;
  }

  void word() {
    if (const size_t end = simple_end(); end != 0) {
      const size_t start = std::exchange(at_, end);
      return finish_word({start, end}, 0, 0, true);
    }
    if (is_ascii(text_[at_]) && special_word()) return;
    const size_t begin = at_;
    size_t last_apostrophe = 0, after_apostrophe = 0, characters = 0;
    bool ascii = true;
    bool joined = false;
    while (at_ < text_.size() && characters < kMaxWordCharacters) {
      const char c = text_[at_];
      if (is_alnum(c)) {
        ++at_;
        ++characters;
        continue;
      }
      bool apostrophe = false;
      if (const size_t skip = at_ > begin ? joiner(begin, at_, apostrophe) : 0; skip > 0) {
        if (apostrophe) last_apostrophe = at_, after_apostrophe = at_ + skip;
        joined = true;
        at_ += skip;
        continue;
      }
      if (is_ascii(c) || !word_continues(ascii)) break;
      ++characters;
    }
    finish_word({begin, at_}, last_apostrophe, after_apostrophe, ascii && !joined);
  }

  /// Moves past a character outside ASCII that belongs to the word.
  bool word_continues(bool& ascii) {
    size_t next = at_;
    const char32_t c = decode_utf8(text_, next);
    const bool zero_width_joiner = c == 0x200C || c == 0x200D;
    if (is_unspaced(c) || (!is_word_character(c) && !zero_width_joiner)) return false;
    ascii = false;
    at_ = next;
    return true;
  }

  void finish_word(Span span, size_t apostrophe, size_t after, bool plain) {
    const std::string_view raw = text_.substr(span.begin, span.end - span.begin);
    if (raw == "US") {  // the country, not the pronoun
      add("u.s", span, TermKind::kWord, false, false);
      add("us", span, TermKind::kWord, true, true);
      ++position_;
      return;
    }
    std::string& folded = state_.folded;
    folded.clear();
    if (plain) {
      const std::string_view lowered(classes_.lowered() + span.begin, raw.size());
      add_lowered(lowered, span);
      if (is_digit(lowered[0])) number_in(lowered, span);
    } else if (apostrophe != 0) {
      with_apostrophe(span, apostrophe, after);
    } else {
      fold_into(raw, folded);
      std::erase(folded, ',');
      add_word(folded, span, false);
      number_in(folded, span);
    }
    if (plain || apostrophe != 0 || folded.size() < 6) {
      ++position_;
      return;
    }
    hangul_pairs(span);
    ++position_;
  }

  /// "Trump's" is trump; "l'aquila" is aquila, and laquila too; "don't" is dont.
  void with_apostrophe(Span span, size_t apostrophe, size_t after) {
    const std::string_view head = text_.substr(span.begin, apostrophe - span.begin);
    const std::string_view tail = text_.substr(after, span.end - after);
    std::string first, second;
    fold_into(head, first);
    fold_into(tail, second);
    std::erase(first, '\'');
    if (second == "s") {
      add_word(first, span, false);
      return;
    }
    const bool elision =
        second.size() > 2 &&
        (first == "qu" ||
         (first.size() == 1 && std::string_view("cdjlmnst").find(first[0]) != std::string_view::npos));
    if (elision) {
      add_word(second, {after, span.end}, false);
      add_word(first + second, span, true);
      return;
    }
    add_word(first + second, span, false);
  }

  /// "5.2bn" and "10k" are found by their number too, and "m7.2" by 7.2.
  void number_in(std::string_view folded, Span span) {
    size_t digits = 0;
    const bool letter_first =
        folded.size() > 2 && is_letter(folded[0]) && folded.find('.') != std::string_view::npos;
    const size_t begin = letter_first ? 1 : 0;
    while (begin + digits < folded.size() &&
           (is_digit(folded[begin + digits]) || folded[begin + digits] == '.'))
      ++digits;
    if (digits == 0 || digits == folded.size()) return;
    if (letter_first && begin + digits != folded.size()) return;
    add(folded.substr(begin, digits), span, TermKind::kNumber, false, true);
  }

  void fold_into(std::string_view raw, std::string& out) {
    if (std::all_of(raw.begin(), raw.end(), is_ascii)) {
      for (const char c : raw) out += lower(c);
    } else {
      state_.folder.fold(raw, out);
    }
    strip_apostrophes(out);
  }

  static void strip_apostrophes(std::string& word) {
    std::erase(word, '\'');
    for (size_t at = word.find("\xE2\x80\x99"); at != std::string::npos; at = word.find("\xE2\x80\x99"))
      word.erase(at, 3);
  }

  // Scripts without spaces

  void unspaced() {
    const size_t begin = at_;
    while (at_ < text_.size()) {
      size_t next = at_;
      if (is_ascii(text_[at_]) || !is_unspaced(decode_utf8(text_, next))) break;
      at_ = next;
    }
    const std::string_view run = text_.substr(begin, at_ - begin);
    state_.folder.segment(run, state_.ranges);
    for (const auto& [from, to] : state_.ranges) {
      const Span span{begin + from, begin + to};
      std::string& folded = state_.folded;
      folded.clear();
      state_.folder.fold(run.substr(from, to - from), folded);
      add_word(folded, span, false);
      ++position_;
    }
    if (position_ > 0) pairs({begin, at_}, position_ - 1);
  }

  void hangul_pairs(Span span) {
    size_t at = span.begin;
    if (is_cjk(decode_utf8(text_, at))) pairs(span, position_);
  }

  /// Adjacent characters of a Chinese, Japanese or Korean run.
  void pairs(Span span, uint32_t position) {
    size_t at = span.begin;
    size_t previous = span.end;
    bool previous_fits = false;
    const uint32_t kept = position_;
    position_ = position;
    while (at < span.end) {
      const size_t begin = at;
      const bool fits = is_cjk(decode_utf8(text_, at));
      if (fits && previous_fits) {
        std::string& folded = state_.folded;
        folded.clear();
        state_.folder.fold(text_.substr(previous, at - previous), folded);
        add(folded, {previous, at}, TermKind::kWord, false, true);
      }
      previous = begin;
      previous_fits = fits;
    }
    position_ = kept;
  }

  // Tags

  bool after_word() const { return at_ > 0 && is_alnum(text_[at_ - 1]); }

  size_t tag_end(size_t at) const {
    while (at < text_.size()) {
      size_t next = at;
      const char c = text_[at];
      if (is_ascii(c) ? !(is_alnum(c) || c == '_') : !is_word_character(decode_utf8(text_, next))) break;
      at = is_ascii(c) ? at + 1 : next;
    }
    return at;
  }

  bool hashtag() {
    const size_t begin = at_ + 1;
    const size_t end = tag_end(begin);
    const std::string_view name = text_.substr(begin, end - begin);
    if (after_word() || std::all_of(name.begin(), name.end(), is_digit)) return false;  // "#1" is a number
    std::string folded;
    fold_into(name, folded);
    add("#" + folded, {at_, end}, TermKind::kHashtag, false, false);
    std::erase(folded, '_');
    add_word(folded, {begin, end}, true);
    const uint32_t parts = tag_parts({begin, end});
    position_ += std::max<uint32_t>(parts, 1);
    at_ = end;
    return true;
  }

  /// #BostonMarathon2013: boston, marathon, 2013, at consecutive positions. Returns how many.
  uint32_t tag_parts(Span span) {
    const uint32_t first = position_;
    uint32_t parts = 0;
    for (size_t begin = span.begin; begin < span.end;) {
      size_t end = begin + 1;
      while (end < span.end && !part_ends(begin, end, span.end)) ++end;
      const bool whole = begin == span.begin && end == span.end;
      if (!whole && text_[begin] != '_') {
        std::string folded;
        fold_into(text_.substr(begin, end - begin), folded);
        std::erase(folded, '_');
        position_ = first + parts++;
        add_word(folded, {begin, end}, true);
      }
      begin = end;
    }
    position_ = first;
    return parts;
  }

  bool part_ends(size_t begin, size_t at, size_t end) const {
    const char before = text_[at - 1], c = text_[at];
    if (c == '_' || before == '_') return true;
    if (is_upper(c) && !is_upper(before)) return is_ascii(before);
    if (is_upper(before) && is_upper(c) && at + 1 < end)  // USElection: the last capital starts the next word
      return text_[at + 1] >= 'a' && text_[at + 1] <= 'z' && at - begin >= 1;
    return is_ascii(c) && is_ascii(before) && is_digit(c) != is_digit(before);
  }

  bool mention() {
    const size_t begin = at_ + 1;
    size_t end = begin;
    while (is_alnum(peek(end)) || peek(end) == '_') ++end;
    if (end == begin || after_word()) return false;
    const size_t short_end = end;
    // @name.bsky.social and @name@host
    while ((peek(end) == '.' || peek(end) == '-' || peek(end) == '@') && is_alnum(peek(end + 1))) {
      ++end;
      while (is_alnum(peek(end))) ++end;
    }
    const std::string name = to_lower_ascii(text_.substr(begin, end - begin));
    const std::string brief = name.substr(0, short_end - begin);
    add("@" + name, {at_, end}, TermKind::kMention, false, false);
    if (brief.size() != name.size()) add("@" + brief, {at_, short_end}, TermKind::kMention, false, true);
    add_word(brief, {begin, short_end}, true);
    ++position_;
    at_ = end;
    return true;
  }

  bool cashtag() {
    size_t end = at_ + 1;
    while (is_letter(peek(end))) ++end;
    const size_t letters = end - at_ - 1;
    if (letters == 0 || letters > 6 || is_digit(peek(end)) || peek(end) == '_' || after_word()) return false;
    if (peek(end) == '.' && is_letter(peek(end + 1)) && !is_alnum(peek(end + 2))) end += 2;  // $BRK.B
    const std::string name = to_lower_ascii(text_.substr(at_ + 1, end - at_ - 1));
    add("$" + name, {at_, end}, TermKind::kCashtag, false, false);
    add_word(name, {at_ + 1, end}, true);
    ++position_;
    at_ = end;
    return true;
  }

  // Output

  /// A folded word: stemmed, marked when it is a stop word, counted as a number when it is all digits and points.
  void add_word(std::string_view folded, Span span, bool extra) {
    if (folded.empty()) return;
    const bool number = is_digit(folded[0]) && std::all_of(folded.begin(), folded.end(),
                                                           [](char c) { return is_digit(c) || c == '.'; });
    if (number) return add(folded, span, TermKind::kNumber, false, extra);
    put_word(state_.words.look_up(clip(folded), out_.room(WordTable::kRoom)), span, extra);
  }

  /// The same for a plain word that lies in the lowered text, which may be read beyond its end.
  void add_lowered(std::string_view word, Span span) {
    if (is_digit(word[0]) || word.size() > WordTable::kMaxCached) return add_word(word, span, false);
    char* room = out_.room(WordTable::kRoom);
    put_word(state_.words.look_up_padded(word.data(), word.size(), room), span, false);
  }

  void put_word(const WordTable::Answer& answer, Span span, bool extra) {
    if (answer.size > 0) put(answer.hash, answer.size, span, TermKind::kWord, answer.stop, extra);
  }

  void add(std::string_view term, Span span, TermKind kind, bool stop, bool extra) {
    term = clip(term);
    if (term.empty()) return;
    std::memcpy(out_.room(term.size()), term.data(), term.size());
    put(term_hash(term), term.size(), span, kind, stop, extra);
  }

  /// A token whose term lies in the room that was asked for.
  void put(uint64_t hash, size_t size, Span span, TermKind kind, bool stop, bool extra) {
    Token& token = out_.tokens.emplace_back();
    token.begin = static_cast<uint32_t>(span.begin);
    token.end = static_cast<uint32_t>(span.end);
    token.position = position_;
    token.term_begin = static_cast<uint32_t>(out_.bytes().size());
    token.hash = hash;
    token.term_size = static_cast<uint16_t>(size);
    token.kind = kind;
    token.stop = stop;
    token.extra = extra;
    out_.keep(size);
  }

  std::string_view text_;
  TokenList& out_;
  ThreadState& state_;
  ByteClasses& classes_;
  size_t at_ = 0;
  uint32_t position_ = 0;
};

}  // namespace

void TokenList::clear() {
  tokens.clear();
  used_ = 0;
  words = 0;
}

void analyze(std::string_view text, TokenList& out) {
  out.clear();
  Analyzer(text, out).run();
}

std::vector<Term> analyze(std::string_view text) {
  TokenList list;
  analyze(text, list);
  std::vector<Term> terms;
  terms.reserve(list.tokens.size());
  for (const Token& token : list.tokens)
    terms.push_back(
        {std::string(list.term(token)), token.begin, token.end, token.kind, token.stop, token.extra});
  return terms;
}

void fold(std::string_view word, std::string& out) {
  if (!std::all_of(word.begin(), word.end(), is_ascii)) return thread_state().folder.fold(word, out);
  const size_t before = out.size();
  out += word;
  std::transform(out.begin() + static_cast<ptrdiff_t>(before), out.end(),
                 out.begin() + static_cast<ptrdiff_t>(before), lower);
}

std::string fold(std::string_view word) {
  std::string out;
  fold(word, out);
  return out;
}

}  // namespace fathom::live
