// Trends, stories and standing queries measured: what they cost a post, and what they take from ingest while posts arrive.
//
//   trends_bench                              200,000 synthetic posts
//   trends_bench --only standing --queries 10000 --posts 100000
//
// Parts: `engine` counts posts one after another, without a store; `standing` lets 10,000 posts/s arrive beside a number of standing
// queries; `arrival` lets 100,000 posts/s arrive without and with trends and tells how long an acknowledgement takes. Half of
// the standing queries require two words, a quarter offer three rarer ones, a quarter follow an author.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/transport.h"
#include "live/analysis.h"
#include "live/trends/engine.h"
#include "live/trends/standing.h"
#include "live/trends/standing_file.h"
#include "live/trends/trends.h"
#include "live_posts.h"
#include "live_report.h"

namespace fathom::live {
namespace {

using std::chrono::steady_clock;
constexpr size_t kPerBatch = 200;

std::vector<Post> synthetic_posts(size_t count, Time received) {
  SyntheticPosts source;
  std::vector<Post> posts;
  posts.reserve(count);
  for (size_t i = 0; i < count; ++i) posts.push_back(parse_post(source.line(), received));
  return posts;
}

/// The same, posted as fast as they are to arrive.
std::vector<Post> dense(std::vector<Post> posts, size_t per_second) {
  const Time start = posts.front().created_at;
  for (size_t i = 0; i < posts.size(); ++i)
    posts[i].created_at = start + Micros(static_cast<int64_t>(1'000'000 * i / per_second));
  return posts;
}

/// Plain words, the most frequent first.
std::vector<std::string> ranked_words(const std::vector<Post>& posts) {
  std::map<std::string, size_t, std::less<>> frequency;
  TokenList tokens;
  for (const Post& post : posts) {
    analyze(post.text, tokens);
    for (const Token& token : tokens.tokens)
      if (token.kind == TermKind::kWord && !token.extra) ++frequency[std::string(tokens.term(token))];
  }
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const auto& [word, n] : frequency) ranked.emplace_back(n, word);
  std::sort(ranked.rbegin(), ranked.rend());
  std::vector<std::string> words;
  for (auto& [n, word] : ranked) words.push_back(std::move(word));
  return words;
}

std::vector<std::string> standing_texts(const std::vector<Post>& posts, size_t count) {
  const auto words = ranked_words(posts);
  Random random(7);
  const auto draw = [&](size_t low, size_t high) {
    high = std::min(high, words.size());
    return words[std::min(low, high - 1) + random.below(high - std::min(low, high - 1))];
  };
  std::vector<std::string> texts;
  for (size_t i = 0; i < count; ++i) {
    if (i % 4 < 2) texts.push_back(fmt::format("+{} +{}", draw(50, 5'000), draw(50, 5'000)));
    if (i % 4 == 2)
      texts.push_back(fmt::format("{} {} {}", draw(5'000, 50'000), draw(5'000, 50'000), draw(5'000, 50'000)));
    if (i % 4 == 3) texts.push_back(fmt::format("from:user{}", random.below(200'000)));
  }
  return texts;
}

void bench_engine(Report& report, const std::vector<Post>& posts) {
  PostTerms terms;
  size_t found = 0;
  report.rate("finding the terms of a post", posts.size(), measure([&] {
                for (const Post& post : posts) find_terms(post.text, terms), found += terms.terms.size();
              }));
  report.value("terms", static_cast<double>(found) / static_cast<double>(posts.size()), "a post");
  TrendEngine engine{TrendOptions()};
  Spent pictures;
  std::vector<double> millis;
  const Spent all = measure([&] {
    uint64_t sequence = 0;
    for (const Post& post : posts) {
      engine.add({++sequence, post});
      if (!engine.due()) continue;
      const Spent spent = measure([&] { engine.evaluate(); });
      pictures.cpu += spent.cpu, pictures.wall += spent.wall;
      millis.push_back(1e3 * spent.wall);
    }
  });
  report.rate("counting", posts.size(), {all.wall - pictures.wall, all.cpu - pictures.cpu});
  report.latency("a picture of the present", millis);
}

/// Hands `posts` to the store at a steady rate whatever it does (open loop). Returns the milliseconds from the arrival of a
/// batch to its acknowledgement.
std::vector<double> arrive(Store& store, const std::vector<Post>& posts, double per_second,
                           size_t producers) {
  const auto start = steady_clock::now() + std::chrono::milliseconds(20);
  std::atomic<size_t> next{0};
  std::vector<std::vector<double>> millis(producers);
  const auto produce = [&](size_t producer) {
    for (size_t begin = next.fetch_add(kPerBatch); begin < posts.size(); begin = next.fetch_add(kPerBatch)) {
      const size_t end = std::min(begin + kPerBatch, posts.size());
      const auto due = start + std::chrono::duration_cast<steady_clock::duration>(
                                   Seconds(static_cast<double>(end) / per_second));
      std::this_thread::sleep_until(due);
      store.ingest({posts.begin() + static_cast<std::ptrdiff_t>(begin),
                    posts.begin() + static_cast<std::ptrdiff_t>(end)});
      millis[producer].push_back(1e3 * Seconds(steady_clock::now() - due).count());
    }
  };
  std::vector<std::thread> team;
  for (size_t t = 0; t < producers; ++t) team.emplace_back(produce, t);
  for (auto& thread : team) thread.join();
  for (size_t t = 1; t < producers; ++t)
    millis[0].insert(millis[0].end(), millis[t].begin(), millis[t].end());
  return std::move(millis[0]);
}

/// As if they had been added, without a write of the file for each.
void keep_queries(const std::filesystem::path& file, const std::vector<std::string>& texts) {
  std::vector<KeptQuery> kept(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    kept[i].query.id = fmt::format("sq_{:016x}", i);
    kept[i].query.query.text = texts[i];
  }
  write_standing(file, kept);
}

void bench_standing(Report& report, const std::vector<Post>& posts, size_t queries, const Clock& clock) {
  const TempDir dir("fathom-trends-bench");
  const auto store = Store::open({.folder = dir.path() / "feed"}, clock);
  const auto transport = make_transport();
  StandingQueries::Options options;
  options.file = dir.path() / "standing.json";
  options.most = queries;
  const std::string name = fmt::format("{} standing queries, 10,000 posts/s", queries);
  keep_queries(options.file, standing_texts(posts, queries));
  std::unique_ptr<StandingQueries> standing;
  const Spent opening =
      measure([&] { standing = std::make_unique<StandingQueries>(*store, *transport, clock, options); });
  report.value(name + ": opening", opening.wall, "s");
  double behind = 0;
  const Spent spent = measure([&] {
    arrive(*store, posts, 10'000, 2);
    const auto last = store->stats().last_sequence;
    const auto begin = steady_clock::now();
    while (standing->sequence() < last) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    behind = Seconds(steady_clock::now() - begin).count();
  });
  uint64_t matched = 0;
  for (const auto& query : standing->list()) matched += query.matched;
  report.tell(name, {{"cpu_us_a_post", 1e6 * spent.cpu / static_cast<double>(posts.size())},
                     {"behind_s", behind},
                     {"matches", matched}});
}

void bench_arrival(Report& report, const std::vector<Post>& posts, bool with_trends, const Clock& clock) {
  const TempDir dir("fathom-trends-bench");
  const auto store = Store::open({.folder = dir.path() / "feed"}, clock);
  std::unique_ptr<Trends> trends;
  if (with_trends) trends = std::make_unique<Trends>(*store);
  std::vector<double> millis;
  const Spent spent = measure([&] { millis = arrive(*store, posts, 100'000, 6); });
  const std::string name = with_trends ? "with trends" : "without trends";
  report.tell("100,000 posts/s, " + name,
              {{"posts_per_s", static_cast<double>(posts.size()) / spent.wall},
               {"cpu_us_a_post", 1e6 * spent.cpu / static_cast<double>(posts.size())}});
  report.latency("acknowledged, " + name, std::move(millis));
  if (!trends) return;
  const auto begin = steady_clock::now();
  trends->wait_for(store->stats().last_sequence, std::chrono::seconds(30));
  TrendResult about;
  trends->trends({}, &about);
  report.tell("trends",
              {{"behind_s", Seconds(steady_clock::now() - begin).count()}, {"counted_share", about.sampled}});
}

int run(int argc, char** argv) {
  CLI::App app("Measures trends and standing queries. Example: trends_bench --only standing --queries 10000");
  std::vector<std::string> only;
  std::string json;
  size_t count = 200'000, queries = 10'000;
  app.add_option("--posts", count, "synthetic posts")->check(CLI::Range(1'000, 5'000'000));
  app.add_option("--queries", queries, "standing queries")->check(CLI::Range(1, 1'000'000));
  app.add_option("--only", only, "parts: engine, standing, arrival; default all");
  app.add_option("--json", json, "also write the results here");
  CLI11_PARSE(app, argc, argv);
  const auto wants = [&](std::string_view part) {
    return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
  };
  const SystemClock clock;
  const auto posts = synthetic_posts(count, clock.now());
  Report report;
  if (wants("engine")) bench_engine(report, posts);
  if (wants("standing")) {
    bench_standing(report, posts, 1, clock);
    bench_standing(report, posts, queries, clock);
  }
  if (wants("arrival")) {
    const auto arriving = dense(posts, 100'000);
    bench_arrival(report, arriving, false, clock);
    bench_arrival(report, arriving, true, clock);
  }
  if (!json.empty()) write_file_atomic(json, report.json().dump(2) + "\n");
  return 0;
}

}  // namespace
}  // namespace fathom::live

int main(int argc, char** argv) {
  try {
    return fathom::live::run(argc, argv);
  } catch (const fathom::Error& error) {
    std::fprintf(stderr, "trends_bench: %s\n", error.what());
    return 2;
  }
}
