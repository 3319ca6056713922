// Index::prepare: what a post becomes before it has a number. Runs on the caller's thread, beside the writer.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "live/analysis.h"
#include "live/codec.h"
#include "live/duplicates.h"
#include "live/index.h"

namespace fathom::live {
namespace {

constexpr size_t kFewTerms = 48;  // up to here a scan of the terms so far is faster than a sort at the end

/// Collects a post's terms, each once, with its frequency.
class TermSet {
 public:
  TermSet(const Index& index, PreparedPost& post) : index_(index), post_(post) {}

  void add(std::string_view term) {
    const uint64_t hash = index_.hash(term);
    auto& terms = post_.terms;
    if (terms.size() <= kFewTerms) {
      for (auto& known : terms) {
        if (known.hash != hash) continue;
        if (known.frequency < UINT16_MAX) ++known.frequency;
        return;
      }
    }
    PreparedTerm added;
    added.hash = hash;
    added.begin = static_cast<uint32_t>(post_.bytes.size());
    added.size = static_cast<uint16_t>(term.size());
    added.frequency = 1;
    post_.bytes += term;
    terms.push_back(added);
  }

  void finish() {
    auto& terms = post_.terms;
    if (terms.size() <= kFewTerms) return;
    std::sort(terms.begin(), terms.end(), [](const auto& a, const auto& b) { return a.hash < b.hash; });
    size_t kept = 0;
    for (size_t i = 1; i < terms.size(); ++i) {
      if (terms[i].hash != terms[kept].hash) {
        terms[++kept] = terms[i];
        continue;
      }
      const uint32_t sum = uint32_t{terms[kept].frequency} + terms[i].frequency;
      terms[kept].frequency = static_cast<uint16_t>(std::min<uint32_t>(sum, UINT16_MAX));
    }
    terms.resize(kept + 1);
  }

  bool has(std::string_view term) const {
    const uint64_t hash = index_.hash(term);
    return std::any_of(post_.terms.begin(), post_.terms.end(),
                       [&](const auto& known) { return known.hash == hash; });
  }

 private:
  const Index& index_;
  PreparedPost& post_;
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

float engagement_of(const Metrics& metrics) {
  double sum = 0;
  for (const auto* count : {&metrics.likes, &metrics.reposts, &metrics.replies})
    sum += static_cast<double>(std::max<int64_t>(0, count->value_or(0)));
  return static_cast<float>(std::log1p(sum));
}

}  // namespace

PreparedPost Index::prepare(const Post& post) const {
  thread_local TokenList tokens;
  PreparedPost prepared;
  prepared.record = encode_record(post);
  prepared.key_hash = hash(record_key(prepared.record));
  prepared.source = post.source;
  prepared.lang = to_lower_ascii(post.lang);
  prepared.created = post.created_at;
  prepared.deleted = post.deleted;
  if (post.deleted) {
    // An order without a time of its own counts from its receipt.
    prepared.created = std::max(post.created_at, post.received_at);
    return prepared;
  }
  analyze(post.text, tokens);
  prepared.terms.reserve(kFewTerms);
  TermSet terms(*this, prepared);
  for (const Token& token : tokens.tokens) terms.add(tokens.term(token));
  add_addressees(tokens, terms);
  add_attached(post, terms);
  if (!post.author.handle.empty()) terms.add("from:" + fold(post.author.handle));
  terms.finish();
  prepared.length = static_cast<uint16_t>(std::clamp<uint32_t>(tokens.words, 1, UINT16_MAX));
  prepared.sketch = sketch(tokens);
  prepared.engagement = engagement_of(post.metrics);
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  prepared.likes = static_cast<uint32_t>(std::clamp<int64_t>(post.metrics.likes.value_or(0), 0, kMost));
  const bool link_in_text =
      post.text.find("http://") != std::string::npos || post.text.find("https://") != std::string::npos;
  if (link_in_text || !post.links.empty()) prepared.flags |= Document::kHasLink;
  if (post.fiction) prepared.flags |= Document::kFiction;
  if (!post.repost_of.empty() || is_repost_text(post.text)) prepared.flags |= Document::kRepost;
  return prepared;
}

}  // namespace fathom::live
