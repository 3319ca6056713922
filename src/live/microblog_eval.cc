#include "live/microblog_eval.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/line_reader.h"
#include "base/text.h"
#include "live/expansion.h"
#include "live/index.h"
#include "live/prepare.h"
#include "live/query.h"
#include "live/search.h"

namespace fathom::live {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestLine = size_t{1} << 16;
constexpr uint64_t kTwitterEpochMillis =
    1'288'834'974'657;  // ids since November 2010 hold milliseconds from here on
constexpr int kIdTimeShift = 22;

/// The lines of a file.
class Lines {
 public:
  explicit Lines(fs::path path) : path_(std::move(path)), reader_(path_.string(), kLongestLine) {}

  bool next(std::string& line) {
    const auto result = reader_.next(line, {});
    if (result == LineReader::Result::kTooLong) refuse("is too long");
    return result == LineReader::Result::kLine;
  }

  [[noreturn]] void refuse(std::string_view why) const {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}, line {}: the line {}", path_.string(), reader_.number(), why));
  }

 private:
  fs::path path_;
  LineReader reader_;
};

bool parse_id(std::string_view text, uint64_t& id) {
  text = trim(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  return error == std::errc{} && end == text.data() + text.size();
}

/// What stands between <name> and </name> on a line; empty if that is not there.
std::string_view element(std::string_view line, std::string_view name) {
  const std::string open = fmt::format("<{}>", name), close = fmt::format("</{}>", name);
  const size_t begin = line.find(open);
  if (begin == line.npos) return {};
  const size_t end = line.find(close, begin);
  if (end == line.npos) return {};
  return trim(line.substr(begin + open.size(), end - begin - open.size()));
}

/// "Number: MB001" -> "1"
std::string topic_number(std::string_view text) {
  const size_t digits = std::min(text.find_first_of("0123456789"), text.size());
  const size_t first = std::min(text.find_first_not_of('0', digits), text.size());
  return std::string(text.substr(first));
}

std::string read_all(const fs::path& path) {
  Lines lines(path);
  std::string text, line;
  while (lines.next(line)) text += line + "\n";
  return text;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

Time time_of(uint64_t id) {
  return Time{} + std::chrono::milliseconds((id >> kIdTimeShift) + kTwitterEpochMillis);
}

/// "RT" with the name behind it taken out.
bool is_masked_repost(std::string_view text) {
  return equals_ignore_case(text.substr(0, 3), "rt ") || to_lower_ascii(text).find(" rt ") != text.npos;
}

Post make_post(uint64_t id, const std::string& text) {
  Post post;
  post.id = std::to_string(id);
  post.source = "microblog";
  post.text = text;
  post.created_at = post.received_at = time_of(id);
  if (is_masked_repost(text)) post.repost_of = "0";
  return post;
}

/// The feed of all topics' tweets, taken in as time goes on.
class Feed {
 public:
  explicit Feed(const std::vector<PoolTopic>& topics) {
    for (const auto& topic : topics)
      for (const auto& tweet : topic.tweets) tweets_.emplace(std::stoull(tweet.id), &tweet.text);
    next_ = tweets_.begin();
  }

  /// Takes in what is not newer than `until`.
  void play(uint64_t until) {
    for (; next_ != tweets_.end() && next_->first <= until; ++next_) {
      batch_.clear();
      batch_.add(make_post(next_->first, *next_->second));
      index_.add(batch_[0], index_.last_sequence() + 1);
    }
  }

  Collection collection() const {
    Collection all;
    all.members = {&index_};
    all.sequence = index_.last_sequence();
    all.posts = static_cast<double>(index_.posts());
    if (all.posts > 0) all.mean_length = static_cast<double>(index_.words()) / all.posts;
    return all;
  }

  std::string id_of(const Candidate& candidate) const {
    const std::string key = index_.key(candidate.document);
    return key.substr(key.find(':') + 1);
  }
  size_t size() const { return index_.documents(); }

 private:
  std::map<uint64_t, const std::string*> tweets_;
  std::map<uint64_t, const std::string*>::const_iterator next_;
  Index index_;
  PreparedBatch batch_;
};

/// Every post that matches, the best first; age plays no part: the track asks for all that is relevant so far.
std::vector<std::string> ranked_ids(const Feed& feed, const PoolTopic& topic, bool expanded) {
  Query query;
  query.text = topic.query + " -is:repost";
  query.weights = {.recency = 0, .half_life_hours = 24, .engagement = 0, .author = 0};
  ParsedQuery parsed = parse_query(query);
  const Collection all = feed.collection();
  const Time now = time_of(topic.until);
  if (expanded) expand(parsed, all, query, now);
  std::vector<std::string> ids;
  for (const auto& candidate : rank(all, parsed, query, now, feed.size()).best)
    ids.push_back(feed.id_of(candidate));
  return ids;
}

/// The pool in a new order, with scores that only say the order.
std::vector<ScoredDocument> reorder(const PoolTopic& topic, const std::vector<std::string>& ranked) {
  std::unordered_set<std::string_view> pool;
  for (const auto& tweet : topic.tweets) pool.insert(tweet.id);
  std::vector<ScoredDocument> out;
  const auto take = [&](const std::string& id) {
    if (pool.erase(id) > 0) out.push_back({id, -static_cast<double>(out.size())});
  };
  for (const auto& id : ranked) take(id);
  for (const auto& tweet : topic.tweets)
    if (!is_masked_repost(tweet.text)) take(tweet.id);
  for (const auto& tweet : topic.tweets) take(tweet.id);
  return out;
}

}  // namespace

std::string restore_text(std::string_view tokens) {
  std::string text(tokens);
  for (const auto& [from, to] :
       std::initializer_list<std::pair<std::string_view, std::string_view>>{{"-LRB-", "("},
                                                                            {"-RRB-", ")"},
                                                                            {"-LSB-", "["},
                                                                            {"-RSB-", "]"},
                                                                            {"``", "\""},
                                                                            {"''", "\""},
                                                                            {" 's", "'s"},
                                                                            {" n't", "n't"}})
    replace_all(text, from, to);
  return text;
}

std::vector<std::pair<std::string, uint64_t>> parse_topics(std::string_view text, std::string_view name) {
  std::vector<std::pair<std::string, uint64_t>> topics;
  std::string number;
  for (const std::string_view line : split(text, '\n')) {
    if (const auto found = element(line, "num"); !found.empty()) number = topic_number(found);
    const auto time = element(line, "querytweettime");
    if (time.empty()) continue;
    uint64_t id = 0;
    if (number.empty() || !parse_id(time, id))
      throw Error(ErrorCode::kCorrupt, fmt::format("{}: '{}' is not the id of a tweet after a <num>",
                                                   sanitize_utf8(name), sanitize_utf8(time)));
    topics.emplace_back(std::exchange(number, {}), id);
  }
  return topics;
}

std::vector<PoolTopic> read_pool(const fs::path& folder, const std::string& year) {
  const auto file = [&](std::string_view what) { return folder / fmt::format("{}.{}.zst", year, what); };
  std::map<std::string, uint64_t> times;
  for (auto& [number, id] : parse_topics(read_all(file("topics")), file("topics").string()))
    times[number] = id;
  Lines run(file("id")), queries(file("a")), texts(file("b"));
  std::vector<PoolTopic> topics;
  std::string line, query, text;
  while (run.next(line)) {
    const RetrievalRun entry = parse_run(line, file("id").string());
    if (entry.empty()) continue;
    const auto& [number, documents] = *entry.begin();
    if (!queries.next(query) || !texts.next(text)) run.refuse("has no query or no tweet beside it");
    if (!times.contains(number))
      run.refuse(fmt::format("is of topic {}, which has no time", sanitize_utf8(number)));
    if (uint64_t id = 0; !parse_id(documents[0].id, id)) run.refuse("does not name a tweet by its number");
    if (topics.empty() || topics.back().number != number)
      topics.push_back({number, restore_text(query), times[number], {}});
    topics.back().tweets.push_back({documents[0].id, sanitize_utf8(restore_text(text))});
  }
  return topics;
}

RetrievalRun rerank(const std::vector<PoolTopic>& topics, bool expand) {
  std::vector<const PoolTopic*> by_time;
  for (const auto& topic : topics) by_time.push_back(&topic);
  std::stable_sort(by_time.begin(), by_time.end(),
                   [](const auto* a, const auto* b) { return a->until < b->until; });
  Feed feed(topics);
  RetrievalRun run;
  for (const PoolTopic* topic : by_time) {
    feed.play(topic->until);
    run[topic->number] = reorder(*topic, ranked_ids(feed, *topic, expand));
  }
  return run;
}

}  // namespace fathom::live
