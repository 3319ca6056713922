// RecordBlock: posts field by field. See records.h.
#include <algorithm>
#include <charconv>

#include "live/segment/records.h"

namespace fathom::live {
namespace {

enum Flags : uint32_t {
  kSensitive = 1,
  kFiction = 2,
  kFollowers = 4,  // followers, likes, reposts, replies, views: five bits
  kNumericId = 128,
  kUrlPattern = 256,
  kOwnTime = 512,  // not that of the columns
};
constexpr size_t kCounts = 5;
constexpr char kIdMark = '\1', kHandleMark = '\2';

/// The number that `id` is the plain decimal form of.
bool numeric(std::string_view id, uint64_t& number) {
  if (id.empty() || (id.size() > 1 && id.front() == '0')) return false;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  return error == std::errc() && end == id.data() + id.size();
}

bool marked(std::string_view url) {
  return url.find(kIdMark) != std::string_view::npos || url.find(kHandleMark) != std::string_view::npos;
}

void replace(std::string& in, std::string_view what, std::string_view with) {
  if (what.empty()) return;
  const size_t at = in.find(what);
  if (at != std::string::npos) in.replace(at, what.size(), with);
}

/// The address with marks for id and handle, or as it is when that would not read back.
std::string to_pattern(const Post& post) {
  if (marked(post.url) || marked(post.id) || marked(post.author.handle)) return post.url;
  std::string pattern = post.url;
  if (post.id.size() > 3) replace(pattern, post.id, std::string_view(&kIdMark, 1));
  if (post.author.handle.size() > 2) replace(pattern, post.author.handle, std::string_view(&kHandleMark, 1));
  return pattern;
}

std::string from_pattern(std::string_view pattern, std::string_view id, std::string_view handle) {
  std::string url(pattern);
  replace(url, std::string_view(&kHandleMark, 1), handle);  // the last mark set is the first taken back
  replace(url, std::string_view(&kIdMark, 1), id);
  return url;
}

const std::optional<int64_t>& count_of(const Post& post, size_t i) {
  const std::optional<int64_t>* counts[kCounts] = {&post.author.followers, &post.metrics.likes,
                                                   &post.metrics.reposts, &post.metrics.replies,
                                                   &post.metrics.views};
  return *counts[i];
}

int64_t micros(Time time) { return time.time_since_epoch().count(); }

int64_t less(int64_t a, int64_t b) {  // wraps around
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
int64_t plus(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

}  // namespace

std::string write_record_block(std::span<const Post> posts, std::span<const int64_t> created,
                               const WordEncoder& words) {
  using Block = RecordBlock;
  std::vector<std::string> patterns;
  std::vector<uint64_t> ids(posts.size());
  std::string out;
  for (const Post& post : posts) patterns.push_back(to_pattern(post));
  put_varint(out, posts.size());
  std::vector<uint32_t> flags;
  for (size_t i = 0; i < posts.size(); ++i) {
    const Post& post = posts[i];
    uint32_t bits = (post.sensitive ? kSensitive : 0u) | (post.fiction ? kFiction : 0u);
    for (size_t c = 0; c < kCounts; ++c)
      if (count_of(post, c)) bits |= uint32_t{kFollowers} << c;
    if (numeric(post.id, ids[i])) bits |= kNumericId;
    if (patterns[i].size() != post.url.size() || marked(patterns[i]) != marked(post.url)) bits |= kUrlPattern;
    if (micros(post.created_at) != created[i]) bits |= kOwnTime;
    flags.push_back(bits);
    put_varint(out, bits);
  }
  uint64_t last_id = 0;
  for (size_t i = 0; i < posts.size(); ++i) {
    if ((flags[i] & kNumericId) == 0) continue;
    put_varint(out, zigzag(static_cast<int64_t>(ids[i] - last_id)));
    last_id = ids[i];
  }
  for (size_t i = 0; i < posts.size(); ++i)
    if ((flags[i] & kOwnTime) != 0) put_varint(out, zigzag(less(micros(posts[i].created_at), created[i])));
  for (const Post& post : posts)
    put_varint(out, zigzag(less(micros(post.received_at), micros(post.created_at))));
  for (size_t c = 0; c < kCounts; ++c)
    for (const Post& post : posts)
      if (count_of(post, c)) put_varint(out, zigzag(*count_of(post, c)));
  for (const Post& post : posts) put_varint(out, post.links.size());
  for (const Post& post : posts) put_varint(out, post.tags.size());
  const auto put = [&](std::string_view value) { words.encode(value, out); };
  for (uint8_t field = 0; field < Block::kFields; ++field) {
    for (size_t i = 0; i < posts.size(); ++i) {
      const Post& post = posts[i];
      switch (field) {
        case Block::kId: put((flags[i] & kNumericId) != 0 ? std::string_view() : post.id); break;
        case Block::kSource: put(post.source); break;
        case Block::kHandle: put(post.author.handle); break;
        case Block::kAuthorId: put(post.author.id); break;
        case Block::kName: put(post.author.name); break;
        case Block::kLang: put(post.lang); break;
        case Block::kUrl: put(patterns[i]); break;
        case Block::kReplyTo: put(post.reply_to); break;
        case Block::kRepostOf: put(post.repost_of); break;
        case Block::kQuoteOf: put(post.quote_of); break;
        default: put(post.text);
      }
    }
  }
  for (const Post& post : posts)
    for (const auto& link : post.links) put(link);
  for (const Post& post : posts)
    for (const auto& tag : post.tags) put(tag);
  return out;
}

bool RecordBlock::read(std::string_view bytes, std::span<const int64_t> created, const WordCodes& words) {
  const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data());
  ByteReader in(begin, begin + bytes.size());
  const uint64_t count = in.varint();
  size_ = 0;
  if (count != created.size()) return false;
  facts_.assign(count, Facts());
  for (auto& facts : facts_) facts.flags = static_cast<uint32_t>(in.varint());
  uint64_t last_id = 0;
  for (auto& facts : facts_)
    if ((facts.flags & kNumericId) != 0) facts.id = last_id += static_cast<uint64_t>(unzigzag(in.varint()));
  for (size_t i = 0; i < count; ++i)
    facts_[i].created =
        (facts_[i].flags & kOwnTime) != 0 ? plus(created[i], unzigzag(in.varint())) : created[i];
  for (auto& facts : facts_) facts.received = plus(facts.created, unzigzag(in.varint()));
  for (size_t c = 0; c < kCounts; ++c)
    for (auto& facts : facts_)
      if ((facts.flags & (uint32_t{kFollowers} << c)) != 0) facts.counts[c] = unzigzag(in.varint());
  uint64_t listed = 0;
  const auto take_list = [&](uint32_t& first, uint32_t& many) {
    const uint64_t n = std::min<uint64_t>(in.varint(), bytes.size() + 1 - listed);
    first = static_cast<uint32_t>(listed);
    many = static_cast<uint32_t>(n);
    listed += n;
  };
  for (auto& facts : facts_) take_list(facts.first_link, facts.links);
  for (auto& facts : facts_) take_list(facts.first_tag, facts.tags);
  if (!in.ok() || listed > in.left()) return false;
  strings_.resize(count * kFields);
  lists_.resize(listed);
  text_.clear();
  for (auto* pieces : {&strings_, &lists_}) {
    for (auto& piece : *pieces) {
      piece.begin = static_cast<uint32_t>(text_.size());
      if (!words.decode(in, text_, kMaxBlockBytes)) return false;
      piece.size = static_cast<uint32_t>(text_.size()) - piece.begin;
    }
  }
  if (in.left() != 0) return false;
  size_ = static_cast<uint32_t>(count);
  return true;
}

std::string_view RecordBlock::string(Field field, uint32_t index) const {
  const Piece& piece = strings_[size_t{field} * size_ + index];
  return std::string_view(text_).substr(piece.begin, piece.size);
}

std::string RecordBlock::text(uint32_t index) const { return std::string(string(kText, index)); }

std::string RecordBlock::key(uint32_t index) const {
  const bool is_number = (facts_[index].flags & kNumericId) != 0;
  std::string key(string(kSource, index));
  key += ':';
  key += is_number ? std::to_string(facts_[index].id) : std::string(string(kId, index));
  return key;
}

Post RecordBlock::post(uint32_t index) const {
  const Facts& facts = facts_[index];
  Post post;
  post.id = (facts.flags & kNumericId) != 0 ? std::to_string(facts.id) : std::string(string(kId, index));
  post.source = string(kSource, index);
  post.author.handle = string(kHandle, index);
  post.author.id = string(kAuthorId, index);
  post.author.name = string(kName, index);
  post.lang = string(kLang, index);
  post.url = (facts.flags & kUrlPattern) != 0 ? from_pattern(string(kUrl, index), post.id, post.author.handle)
                                              : std::string(string(kUrl, index));
  post.reply_to = string(kReplyTo, index);
  post.repost_of = string(kRepostOf, index);
  post.quote_of = string(kQuoteOf, index);
  post.text = string(kText, index);
  post.sensitive = (facts.flags & kSensitive) != 0;
  post.fiction = (facts.flags & kFiction) != 0;
  std::optional<int64_t>* counts[kCounts] = {&post.author.followers, &post.metrics.likes,
                                             &post.metrics.reposts, &post.metrics.replies,
                                             &post.metrics.views};
  for (size_t c = 0; c < kCounts; ++c)
    if ((facts.flags & (uint32_t{kFollowers} << c)) != 0) *counts[c] = facts.counts[c];
  const auto list = [&](uint32_t first, uint32_t many, std::vector<std::string>& out) {
    for (uint32_t i = first; i < first + many; ++i) out.emplace_back(text_, lists_[i].begin, lists_[i].size);
  };
  list(facts.first_link, facts.links, post.links);
  list(facts.first_tag, facts.tags, post.tags);
  post.created_at = Time(Micros(facts.created));
  post.received_at = Time(Micros(facts.received));
  return post;
}

}  // namespace fathom::live
