#include "live/prepare.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "base/checksum.h"
#include "base/text.h"
#include "live/analysis.h"
#include "live/codec.h"
#include "live/duplicates.h"
#include "live/facts.h"
#include "live/segment/segment.h"

namespace fathom::live {
namespace {

constexpr size_t kFewTerms = 48;  // up to here a scan of the terms so far is faster than a sort at the end
constexpr size_t kBlock = size_t{256} << 10;

/// Collects a post's terms, each once, with its frequency. Used again for the next post.
class TermSet {
 public:
  /// Starts with the terms of a text.
  void read(const TokenList& tokens) {
    terms_.clear();
    seen_ = 0;
    bytes_ = tokens.bytes();
    for (const Token& token : tokens.tokens) count(token.hash, token.term_begin, token.term_size);
  }

  void add(std::string_view term) {
    if (count(term_hash(term), static_cast<uint32_t>(bytes_.size()), static_cast<uint16_t>(term.size())))
      bytes_ += term;
  }

  void finish() {
    if (terms_.size() <= kFewTerms) return;
    std::sort(terms_.begin(), terms_.end(), [](const auto& a, const auto& b) { return a.hash < b.hash; });
    size_t kept = 0;
    for (size_t i = 1; i < terms_.size(); ++i) {
      if (terms_[i].hash != terms_[kept].hash) {
        terms_[++kept] = terms_[i];
        continue;
      }
      const uint32_t sum = uint32_t{terms_[kept].frequency} + terms_[i].frequency;
      terms_[kept].frequency = static_cast<uint16_t>(std::min<uint32_t>(sum, UINT16_MAX));
    }
    terms_.resize(kept + 1);
  }

  bool has(std::string_view term) const {
    const uint64_t hash = term_hash(term);
    return std::any_of(terms_.begin(), terms_.end(), [&](const auto& known) { return known.hash == hash; });
  }

  const std::vector<PreparedTerm>& terms() const { return terms_; }
  std::string_view bytes() const { return bytes_; }

 private:
  /// True when the term is new.
  bool count(uint64_t hash, uint32_t begin, uint16_t size) {
    const uint64_t bit = uint64_t{1} << (hash & 63);
    if ((seen_ & bit) != 0 && terms_.size() <= kFewTerms) {
      for (auto& known : terms_) {
        if (known.hash != hash) continue;
        if (known.frequency < UINT16_MAX) ++known.frequency;
        return false;
      }
    }
    seen_ |= bit;
    PreparedTerm& added = terms_.emplace_back();
    added.hash = hash;
    added.begin = begin;
    added.size = size;
    added.frequency = 1;
    return true;
  }

  std::vector<PreparedTerm> terms_;
  std::string bytes_;
  uint64_t seen_ = 0;  // a bit set for each hash, of 64: most new terms need no search
};

/// "to:name" for the mentions that a post opens with.
void add_addressees(const TokenList& tokens, TermSet& terms) {
  uint32_t position = 0;
  for (const Token& token : tokens.tokens) {
    if (token.extra) continue;
    if (token.kind != TermKind::kMention || token.position != position) return;
    terms.add("to:" + std::string(tokens.term(token).substr(1)));
    ++position;
  }
}

/// Tags and links that a source gives beside the text, unless the text has them already.
void add_attached(const Post& post, TermSet& terms) {
  thread_local TokenList tokens;
  for (const auto& tag : post.tags) {
    if (tag.empty() || terms.has("#" + fold(tag))) continue;
    analyze("#" + tag, tokens);
    for (const Token& token : tokens.tokens)
      if (const auto term = tokens.term(token); !terms.has(term)) terms.add(term);
  }
  for (const auto& link : post.links) {
    analyze(link, tokens);
    for (const Token& token : tokens.tokens)
      if (const auto term = tokens.term(token); !terms.has(term)) terms.add(term);
  }
}

double engagement_of(const Metrics& metrics) {
  double sum = 0;
  for (const auto* count : {&metrics.likes, &metrics.reposts, &metrics.replies})
    sum += static_cast<double>(std::max<int64_t>(0, count->value_or(0)));
  return sum;
}

/// "http://" or "https://" anywhere. The colon is the rarest of its letters.
bool has_address(std::string_view text) {
  for (size_t at = text.find("://"); at != std::string_view::npos; at = text.find("://", at + 3)) {
    const std::string_view before = text.substr(0, at);
    if (before.ends_with("http") || before.ends_with("https")) return true;
  }
  return false;
}

uint8_t flags_of(const Post& post) {
  unsigned flags = 0;
  if (has_address(post.text) || !post.links.empty()) flags |= DocumentFacts::kHasLink;
  if (post.fiction) flags |= DocumentFacts::kFiction;
  if (!post.repost_of.empty() || is_repost_text(post.text)) flags |= DocumentFacts::kRepost;
  if (post.sensitive) flags |= DocumentFacts::kSensitive;
  if (!post.reply_to.empty()) flags |= DocumentFacts::kReply;
  return static_cast<uint8_t>(flags);
}

}  // namespace

uint64_t key_hash(std::string_view key) { return checksum64(key); }

char* PreparedBatch::allocate(size_t size) {
  size = (size + 7) & ~size_t{7};
  if (size > kBlock / 4) {
    large_.emplace_back(new char[size]);
    return large_.back().get();
  }
  if (blocks_.empty() || used_ + size > kBlock) {
    if (!blocks_.empty()) ++block_;
    if (block_ >= blocks_.size()) blocks_.emplace_back(new char[kBlock]);
    used_ = 0;
  }
  char* at = blocks_[block_].get() + used_;
  used_ += size;
  return at;
}

/// What lies behind `end` in the last block was not needed.
void PreparedBatch::give_back(const char* end) {
  if (blocks_.empty()) return;
  const char* block = blocks_[block_].get();
  if (std::less_equal<>()(block, end) && std::less_equal<>()(end, block + used_))
    used_ = (static_cast<size_t>(end - block) + 7) & ~size_t{7};
}

std::string_view PreparedBatch::keep(std::string_view bytes) {
  char* at = allocate(bytes.size());
  std::copy(bytes.begin(), bytes.end(), at);
  return {at, bytes.size()};
}

void PreparedBatch::clear() {
  posts_.clear();
  large_.clear();
  block_ = used_ = 0;
}

void PreparedBatch::add(const Post& post) {
  thread_local TokenList tokens;
  thread_local TermSet terms;
  PreparedPost prepared;
  char* record = allocate(record_room(post));
  prepared.record = {record, encode_record(post, record)};
  give_back(record + prepared.record.size());
  prepared.key = record_key(prepared.record);
  prepared.key_hash = key_hash(prepared.key);
  prepared.source = prepared.key.substr(0, post.source.size());
  prepared.created = post.created_at;
  prepared.deleted = post.deleted;
  if (post.deleted) {
    // An order without a time of its own counts from its receipt.
    prepared.created = std::max(post.created_at, post.received_at);
    posts_.push_back(prepared);
    return;
  }
  if (!post.lang.empty()) prepared.lang = keep(to_lower_ascii(post.lang));
  analyze(post.text, tokens);
  terms.read(tokens);
  add_addressees(tokens, terms);
  add_attached(post, terms);
  if (!post.author.handle.empty()) {
    thread_local std::string from;
    from = "from:";
    fold(post.author.handle, from);
    terms.add(from);
    if (post.author.id.starts_with("did:")) {  // it stays when the handle changes
      from = "from:";
      fold(post.author.id, from);
      terms.add(from);
    }
  }
  terms.finish();
  const std::string_view kept = keep(
      {reinterpret_cast<const char*>(terms.terms().data()), terms.terms().size() * sizeof(PreparedTerm)});
  prepared.terms = {reinterpret_cast<const PreparedTerm*>(kept.data()), terms.terms().size()};
  prepared.term_bytes = keep(terms.bytes()).data();
  prepared.length = static_cast<uint8_t>(std::clamp<uint32_t>(tokens.words, 1, UINT8_MAX));
  prepared.sketch = sketch(tokens);
  prepared.engagement = log_steps(engagement_of(post.metrics));
  prepared.author = log_steps(static_cast<double>(post.author.followers.value_or(0)));
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  prepared.likes = static_cast<uint32_t>(std::clamp<int64_t>(post.metrics.likes.value_or(0), 0, kMost));
  prepared.flags = flags_of(post);
  posts_.push_back(prepared);
}

}  // namespace fathom::live
