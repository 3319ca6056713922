#include "answer/evidence.h"

#include <algorithm>
#include <array>

#include "answer/cues.h"
#include "answer/injection.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

void add_author(const live::Author& author, Evidence& out) {
  for (const Word& word : split_words(author.name)) {
    out.about.insert(word.stem);
    out.about.insert(word.folded);
  }
  if (!author.handle.empty()) out.about.insert(to_lower_ascii(author.handle));
}

void add_date(Time when, Evidence& out) {
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const std::chrono::year_month_day date{day};
  const std::chrono::weekday weekday{day};
  const std::string month = to_lower_ascii(month_name(static_cast<int>(static_cast<unsigned>(date.month()))));
  out.about.insert(month);
  out.about.insert(month.substr(0, 3));
  out.about.insert(stem_word(month));
  out.about.insert(to_lower_ascii(weekday_name(static_cast<int>(weekday.iso_encoding()))));
}

/// Phrases of somebody who does not know either, or who passes on what he heard.
bool has_rumour_cue(std::string_view lower) {
  static constexpr auto kCues = std::to_array<std::string_view>({"unconfirmed",
                                                                 "rumor",
                                                                 "rumour",
                                                                 "hearing that",
                                                                 "i heard",
                                                                 "heard that",
                                                                 "apparently",
                                                                 "allegedly",
                                                                 "can anyone confirm",
                                                                 "not confirmed",
                                                                 "no confirmation",
                                                                 "someone said",
                                                                 "my cousin",
                                                                 "friend says",
                                                                 "pass it on",
                                                                 "!!",
                                                                 "gossip",
                                                                 "reading that",
                                                                 "are saying",
                                                                 "someone at",
                                                                 "someone says",
                                                                 "heard from",
                                                                 "they say",
                                                                 "is it true",
                                                                 "any truth",
                                                                 "supposedly",
                                                                 "word is",
                                                                 "people are saying"});
  return std::ranges::any_of(kCues,
                             [&](std::string_view cue) { return lower.find(cue) != std::string_view::npos; });
}

enum class Noise { kNone, kLoud, kSpam };

/// Rows of tags and tickers, heaps of links, shouting.
Noise noise_of(const Evidence& evidence) {
  size_t tags = 0, links = 0, plain = 0, handles = 0, caps = 0, tickers = 0;
  for (const Word& word : evidence.words) {
    tags += word.kind == WordKind::kHashtag ? 1 : 0;
    tickers += word.kind == WordKind::kTicker ? 1 : 0;
    links += word.kind == WordKind::kUrl ? 1 : 0;
    handles += word.kind == WordKind::kHandle ? 1 : 0;
    plain += word.kind == WordKind::kWord || word.kind == WordKind::kNumber ? 1 : 0;
    caps += word.kind == WordKind::kWord && word.all_caps ? 1 : 0;
  }
  if (tags + tickers >= 4 && 2 * (tags + tickers + links) > plain) return Noise::kSpam;
  if (tags >= 8 || links >= 4 || handles >= 6) return Noise::kSpam;
  if (tags >= 5 || tickers >= 4) return Noise::kLoud;
  return plain >= 8 && caps * 10 > plain * 7 ? Noise::kLoud : Noise::kNone;
}

/// Words of advertising; two of them are one too many.
bool has_selling_cue(std::string_view lower) {
  static constexpr auto kCues = std::to_array<std::string_view>(
      {"click here", "click now",     "free money",  "giveaway",    "follow me",     "follow back",
       "promo code", "discount code", "win win",     "% off",       "limited offer", "buy now",
       "earn money", "make money",    "airdrop",     "sign up now", "dm me",         "free followers",
       "guaranteed", "act now",       "link in bio", "subscribe",   "free trial",    "join my"});
  return std::ranges::count_if(
             kCues, [&](std::string_view cue) { return lower.find(cue) != std::string_view::npos; }) >= 2;
}

/// A name is somebody else's text: line breaks, brackets, quotes and addresses in it would look like the answer's own.
bool shows_as_name(std::string_view name) {
  for (size_t at = 0; at < name.size();) {
    const char32_t c = decode_utf8(name, at);
    if (is_invisible(c) || c == 0x201C || c == 0x201D) return false;
  }
  return name.find_first_of("[]<>{}\"`\n\r\t") == std::string_view::npos &&
         name.find("://") == std::string_view::npos && name.find("](") == std::string_view::npos;
}

double trust_of(const Evidence& evidence) {
  const std::string lower = to_lower_ascii(evidence.post.text);
  double trust = 1;
  if (has_rumour_cue(lower)) trust *= 0.6;
  if (orders_machine(evidence.post.text) || orders_machine(evidence.post.author.name) ||
      has_selling_cue(lower) || advertises(lower))
    trust *= 0.2;
  const Noise noise = noise_of(evidence);
  if (noise == Noise::kSpam) trust *= 0.25;
  if (noise == Noise::kLoud) trust *= 0.5;
  return trust;
}

}  // namespace

bool Evidence::has(const Word& word) const {
  if (stems.contains(word.stem) || stems.contains(word.folded)) return true;
  return word.folded.size() >= 4 && tags.find(word.folded) != std::string::npos;
}

bool Evidence::has_related(const Word& word) const { return has(word) || (groups & word.groups) != 0; }

bool Evidence::is_by(const Word& word) const {
  return word.folded.size() >= 4 && handle.find(word.folded) != std::string::npos;
}

bool Evidence::is_about(const Word& word) const {
  return about.contains(word.stem) || about.contains(word.folded) || is_by(word);
}

Evidence prepare(live::Post post) {
  Evidence out;
  out.post = std::move(post);
  const std::string_view text = out.post.text;
  out.words = split_words(text);
  out.sentences = split_sentences(text);
  out.facts = find_facts(text, out.words);
  out.known = known_facts(out.facts, out.post.created_at);
  for (const Word& word : out.words) {
    if (word.kind == WordKind::kUrl) continue;
    out.stems.insert(word.stem);
    out.stems.insert(word.folded);
    out.groups |= word.groups;
    if (word.kind == WordKind::kHashtag || word.kind == WordKind::kHandle) out.tags += ' ' + word.folded;
    const bool plain = word.kind == WordKind::kWord && is_content(word) && word.folded != "rt";
    if (plain || word.kind == WordKind::kNumber) out.shape += word.stem + ' ';
  }
  out.handle = to_lower_ascii(out.post.author.handle);
  add_author(out.post.author, out);
  add_date(out.post.created_at, out);
  out.trust = trust_of(out);
  return out;
}

std::string author_label(const live::Post& post) {
  const std::string_view name = trim(post.author.name);
  const std::string_view handle = post.author.handle;
  const bool plain =
      !name.empty() && name.size() <= 60 && name.find('@') == std::string_view::npos && shows_as_name(name);
  const bool known = !handle.empty() && handle != "unknown";
  if (plain && known && !equals_ignore_case(name, handle) && shows_as_name(handle))
    return std::string(name) + " (@" + std::string(handle) + ")";
  if (known && handle.size() <= 100 && handle.find(' ') == std::string::npos && shows_as_name(handle))
    return "@" + std::string(handle);
  return plain ? std::string(name) : std::string("a post");
}

}  // namespace fathom::answer
