// Records and groups of them. See records.h.
#include <algorithm>
#include <charconv>

#include "live/segment/records.h"

namespace fathom::live {
namespace {

/// Bits of a record's shape. Those of the fields that are not empty follow.
enum Shape : uint32_t {
  kSensitive = 1,
  kFiction = 2,
  kFollowers = 4,  // followers, likes, reposts, replies, views: five bits
  kNumericId = 128,
  kUrlPattern = 256,
  kOwnTime = 512,  // not that of the columns
  kHasLinks = 1024,
  kHasTags = 2048,
  kFirstField = 4096
};
constexpr size_t kShapeBytes = 3;
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

uint32_t field_bit(ValueKind field) { return kFirstField << (static_cast<uint32_t>(field) - 1); }

std::string_view string_of(const Post& post, ValueKind field) {
  switch (field) {
    case ValueKind::kId: return post.id;
    case ValueKind::kSource: return post.source;
    case ValueKind::kHandle: return post.author.handle;
    case ValueKind::kAuthorId: return post.author.id;
    case ValueKind::kName: return post.author.name;
    case ValueKind::kLang: return post.lang;
    case ValueKind::kUrl: return post.url;
    case ValueKind::kReplyTo: return post.reply_to;
    case ValueKind::kRepostOf: return post.repost_of;
    default: return post.quote_of;
  }
}

NumberKind count_kind(size_t i) {
  return static_cast<NumberKind>(static_cast<size_t>(NumberKind::kFollowers) + i);
}

}  // namespace

void write_record(const Post& post, int64_t created, RecordBefore& before, RecordEncoder& code) {
  uint64_t id = 0;
  uint32_t shape = (post.sensitive ? kSensitive : 0u) | (post.fiction ? kFiction : 0u);
  for (size_t c = 0; c < kCounts; ++c)
    if (count_of(post, c)) shape |= uint32_t{kFollowers} << c;
  if (numeric(post.id, id)) shape |= kNumericId;
  const std::string pattern = to_pattern(post);
  if (pattern.size() != post.url.size() || marked(pattern) != marked(post.url)) shape |= kUrlPattern;
  if (micros(post.created_at) != created) shape |= kOwnTime;
  if (!post.links.empty()) shape |= kHasLinks;
  if (!post.tags.empty()) shape |= kHasTags;
  for (ValueKind field = ValueKind::kId; field != ValueKind::kLink; field = next(field)) {
    const bool is_number = field == ValueKind::kId && (shape & kNumericId) != 0;
    if (!is_number && !string_of(post, field).empty()) shape |= field_bit(field);
  }
  code.value(ValueKind::kShape, {reinterpret_cast<const char*>(&shape), kShapeBytes});
  const auto number = [&](NumberKind kind, int64_t value) { code.number(kind, zigzag(value)); };
  if ((shape & kNumericId) != 0) {
    number(NumberKind::kId, static_cast<int64_t>(id - before.id));
    before.id = id;
  }
  if ((shape & kOwnTime) != 0) number(NumberKind::kOwnTime, less(micros(post.created_at), created));
  number(NumberKind::kReceived, less(micros(post.received_at), before.received));
  before.received = micros(post.received_at);
  for (size_t c = 0; c < kCounts; ++c)
    if (count_of(post, c)) number(count_kind(c), *count_of(post, c));
  for (ValueKind field = ValueKind::kId; field != ValueKind::kLink; field = next(field))
    if ((shape & field_bit(field)) != 0)
      code.value(field, field == ValueKind::kUrl ? std::string_view(pattern) : string_of(post, field));
  if (!post.links.empty()) code.number(NumberKind::kLinks, post.links.size());
  for (const auto& link : post.links) code.value(ValueKind::kLink, link);
  if (!post.tags.empty()) code.number(NumberKind::kTags, post.tags.size());
  for (const auto& tag : post.tags) code.value(ValueKind::kTag, tag);
  code.text(post.text);
}

void RecordGroup::clear() {
  bit_ = 0;
  before_ = {};
  text_.clear();
  facts_.clear();
  strings_.clear();
  lists_.clear();
}

bool RecordGroup::read(Bytes block, uint32_t group, uint32_t groups, std::span<const int64_t> created,
                       const RecordDecoder& code) {
  if (facts_.empty() && !start(block, group, groups, code)) return false;
  CodeReader in(block, bit_);
  for (const int64_t time : created) {
    if (read_record(in, time, code)) continue;
    clear();
    return false;
  }
  bit_ = in.bit();
  return true;
}

/// Finds where the group begins, and what its first record is written against.
bool RecordGroup::start(Bytes block, uint32_t group, uint32_t groups, const RecordDecoder& code) {
  ByteReader sizes(block);
  uint64_t before = 0;
  for (uint32_t i = 0; i + 1 < groups; ++i) {
    const uint64_t size = sizes.varint();
    if (i < group) before += size;
  }
  if (!sizes.ok()) return false;
  const uint64_t first = (block.size() - sizes.left()) * 8;
  bit_ = first + before;
  if (group == 0) return true;
  CodeReader in(block, first);
  Facts facts;
  return read_head(in, 0, code, facts);
}

bool RecordGroup::read_head(CodeReader& in, int64_t created, const RecordDecoder& code, Facts& facts) {
  const auto number = [&](NumberKind kind) { return unzigzag(code.number(kind, in)); };
  const size_t end = text_.size();
  const bool read = code.value(ValueKind::kShape, in, text_, kMaxBlockBytes);
  if (!read || text_.size() != end + kShapeBytes) return false;
  std::memcpy(&facts.shape, text_.data() + end, kShapeBytes);
  text_.resize(end);
  if ((facts.shape & kNumericId) != 0)
    facts.id = before_.id += static_cast<uint64_t>(number(NumberKind::kId));
  facts.created = (facts.shape & kOwnTime) != 0 ? plus(created, number(NumberKind::kOwnTime)) : created;
  facts.received = before_.received = plus(before_.received, number(NumberKind::kReceived));
  return in.ok();
}

bool RecordGroup::read_record(CodeReader& in, int64_t created, const RecordDecoder& code) {
  const auto index = static_cast<uint32_t>(facts_.size());
  Facts& facts = facts_.emplace_back();
  strings_.resize(strings_.size() + kFields);
  const auto value = [&](ValueKind kind, Piece& piece) {
    piece.begin = static_cast<uint32_t>(text_.size());
    const bool read = code.value(kind, in, text_, kMaxBlockBytes);
    piece.size = static_cast<uint32_t>(text_.size()) - piece.begin;
    return read;
  };
  const auto list = [&](NumberKind how_many, ValueKind kind, uint32_t& first, uint32_t& many) {
    first = static_cast<uint32_t>(lists_.size());
    for (uint64_t left = code.number(how_many, in); left > 0; --left)
      if (!value(kind, lists_.emplace_back())) return false;
    many = static_cast<uint32_t>(lists_.size()) - first;
    return true;
  };
  if (!read_head(in, created, code, facts)) return false;
  const auto has = [&](uint32_t bit) { return (facts.shape & bit) != 0; };
  for (size_t c = 0; c < kCounts; ++c)
    if (has(uint32_t{kFollowers} << c)) facts.counts[c] = unzigzag(code.number(count_kind(c), in));
  for (ValueKind field = ValueKind::kId; field != ValueKind::kLink; field = next(field))
    if (has(field_bit(field)) && !value(field, piece(field, index))) return false;
  if (has(kHasLinks) && !list(NumberKind::kLinks, ValueKind::kLink, facts.first_link, facts.links))
    return false;
  if (has(kHasTags) && !list(NumberKind::kTags, ValueKind::kTag, facts.first_tag, facts.tags)) return false;
  facts.text.begin = static_cast<uint32_t>(text_.size());
  if (!code.text(in, text_, kMaxBlockBytes)) return false;
  facts.text.size = static_cast<uint32_t>(text_.size()) - facts.text.begin;
  return in.ok();
}

std::string RecordGroup::text(uint32_t index) const { return std::string(view(facts_[index].text)); }

std::string RecordGroup::key(uint32_t index) const {
  const bool is_number = (facts_[index].shape & kNumericId) != 0;
  std::string key(string(ValueKind::kSource, index));
  key += ':';
  key += is_number ? std::to_string(facts_[index].id) : std::string(string(ValueKind::kId, index));
  return key;
}

Post RecordGroup::post(uint32_t index) const {
  const Facts& facts = facts_[index];
  Post post;
  post.id =
      (facts.shape & kNumericId) != 0 ? std::to_string(facts.id) : std::string(string(ValueKind::kId, index));
  post.source = string(ValueKind::kSource, index);
  post.author.handle = string(ValueKind::kHandle, index);
  post.author.id = string(ValueKind::kAuthorId, index);
  post.author.name = string(ValueKind::kName, index);
  post.lang = string(ValueKind::kLang, index);
  post.url = (facts.shape & kUrlPattern) != 0
                 ? from_pattern(string(ValueKind::kUrl, index), post.id, post.author.handle)
                 : std::string(string(ValueKind::kUrl, index));
  post.reply_to = string(ValueKind::kReplyTo, index);
  post.repost_of = string(ValueKind::kRepostOf, index);
  post.quote_of = string(ValueKind::kQuoteOf, index);
  post.text = view(facts.text);
  post.sensitive = (facts.shape & kSensitive) != 0;
  post.fiction = (facts.shape & kFiction) != 0;
  std::optional<int64_t>* counts[kCounts] = {&post.author.followers, &post.metrics.likes,
                                             &post.metrics.reposts, &post.metrics.replies,
                                             &post.metrics.views};
  for (size_t c = 0; c < kCounts; ++c)
    if ((facts.shape & (uint32_t{kFollowers} << c)) != 0) *counts[c] = facts.counts[c];
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
