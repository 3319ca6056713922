#include "live/trends/recent_posts.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "live/duplicates.h"

namespace fathom::live {
namespace {

constexpr size_t kTextBytes = 1000;

std::string cut(std::string_view text) {
  if (text.size() <= kTextBytes) return std::string(text);
  text = text.substr(0, kTextBytes);
  text.remove_suffix(incomplete_utf8_tail(text));
  return std::string(text);
}

}  // namespace

uint64_t author_hash(const Post& post) {
  std::string name = post.source;
  name += '\n';
  name += post.author.handle.empty() ? post.author.id : to_lower_ascii(post.author.handle);
  // Who gives no name is nobody in particular: each post counts by itself.
  if (name.back() == '\n') name += post.id;
  return trend_hash(name);
}

RecentPost recent_post(const Post& post, uint64_t sequence, const PostTerms& terms) {
  RecentPost out;
  out.sequence = sequence;
  out.time = post.created_at;
  out.author = author_hash(post);
  out.sketch = terms.sketch;
  out.key = post.key();
  out.text = cut(post.text);
  out.source = post.source;
  out.lang = post.lang;
  out.terms.reserve(terms.terms.size());
  for (const PostTerm& term : terms.terms) {
    out.terms.push_back(term.hash);
    out.tag = out.tag || term.kind == TrendKind::kHashtag || term.kind == TrendKind::kCashtag;
  }
  const Metrics& m = post.metrics;
  const int64_t reactions = m.likes.value_or(0) + m.reposts.value_or(0) + m.replies.value_or(0);
  out.engagement = static_cast<float>(std::log1p(static_cast<double>(std::max<int64_t>(0, reactions))));
  out.repost = !post.repost_of.empty() || is_repost_text(post.text);
  out.reply = !post.reply_to.empty() || post.text.starts_with('@');
  out.quote = !post.quote_of.empty();
  out.link = !post.links.empty();
  out.sensitive = post.sensitive;
  return out;
}

void Sample::expire(Time oldest) {
  while (!posts_.empty() && posts_.front().time < oldest) posts_.pop_front();
  if (stride_ > 1 && posts_.size() < most_ / 4) stride_ /= 2;
}

void Sample::remove(std::string_view key) {
  std::erase_if(posts_, [key](const RecentPost& post) { return post.key == key; });
}

void Sample::shrink(Time oldest) {
  expire(oldest);
  if (posts_.size() <= most_) return;
  stride_ *= 2;
  std::deque<RecentPost> half;
  for (size_t i = 0; i < posts_.size(); i += 2) half.push_back(std::move(posts_[i]));
  posts_ = std::move(half);
}

Repetition::Seen& Repetition::slot(uint32_t band, int64_t hour) {
  Seen& seen = seen_[(band * 0x9E3779B1u) >> 16];
  if (seen.tag != band || seen.hour + 1 < hour) seen = {band, 0, hour};
  return seen;
}

float Repetition::weigh(uint64_t sketch, Time time) {
  if (sketch == 0) return 1;
  const int64_t hour = time.time_since_epoch() / std::chrono::hours(1);
  Seen& low = slot(static_cast<uint32_t>(sketch), hour);
  const uint32_t before_low = low.count++;
  Seen& high = slot(static_cast<uint32_t>(sketch >> 32) ^ 0x5bd1e995u, hour);
  const uint32_t before_high = high.count++;
  return 1.0F / static_cast<float>(1 + std::max(before_low, before_high));
}

}  // namespace fathom::live
