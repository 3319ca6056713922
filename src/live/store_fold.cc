#include "live/store_fold.h"

#include <utility>

#include "live/store_place.h"

namespace fathom::live {
namespace {

std::optional<Post> read_post(const SegmentList& list, DamageLog& damage, const Candidate& candidate) {
  return visit_part(list, candidate.segment, [&](const auto& part) {
    return damage.contain(part.sequence(candidate.document), [&] { return part.post(candidate.document); });
  });
}

}  // namespace

std::optional<Hit> read_hit(const SegmentList& list, DamageLog& damage, const Candidate& candidate) {
  auto post = read_post(list, damage, candidate);
  if (!post) return {};
  Hit hit;
  hit.post = std::move(*post);
  hit.sequence = visit_part(list, candidate.segment,
                            [&](const auto& part) { return part.sequence(candidate.document); });
  hit.score = candidate.score;
  hit.text_score = candidate.text_score;
  hit.matched_terms = candidate.matched_terms;
  return hit;
}

void Folder::add(const Candidate& candidate) {
  Entry entry;
  entry.candidate = candidate;
  entry.score = candidate.score;
  visit_part(list_, candidate.segment, [&](const auto& part) {
    entry.sketch = part.sketch(candidate.document);
    entry.repost = (part.facts(candidate.document).flags & DocumentFacts::kRepost) != 0;
  });
  for (Entry& kept : entries_) {
    if (!alike(kept, entry)) continue;
    // The original speaks for its reposts, at the place of the best of them.
    if (kept.repost && !entry.repost) {
      std::swap(kept, entry);
      std::swap(kept.folded, entry.folded);
      std::swap(kept.score, entry.score);
    }
    kept.folded.push_back(post_of(entry).key());
    return;
  }
  entries_.push_back(std::move(entry));
}

std::vector<Hit> Folder::take(size_t limit) {
  std::vector<Hit> hits;
  for (Entry& entry : entries_) {
    if (hits.size() == limit) break;
    auto hit = read_hit(list_, damage_, entry.candidate);
    if (!hit) continue;
    hit->score = entry.score;
    hit->folded = std::move(entry.folded);
    hits.push_back(std::move(*hit));
  }
  return hits;
}

const Post& Folder::post_of(Entry& entry) const {
  if (!entry.post) entry.post = read_post(list_, damage_, entry.candidate).value_or(Post());
  return *entry.post;
}

const Statement& Folder::statement_of(Entry& entry) const {
  if (!entry.statement) entry.statement.emplace(post_of(entry).text);
  return *entry.statement;
}

bool Folder::alike(Entry& a, Entry& b) const {
  if (a.repost || b.repost) {
    const Post &x = post_of(a), &y = post_of(b);
    const bool linked = (!x.repost_of.empty() && (x.repost_of == y.id || x.repost_of == y.repost_of)) ||
                        (!y.repost_of.empty() && y.repost_of == x.id);
    if (linked && x.source == y.source) return true;
  }
  return sketch_agreement(a.sketch, b.sketch) >= kAlikeAgreement && statement_of(a).same_as(statement_of(b));
}

}  // namespace fathom::live
