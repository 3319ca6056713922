// The live floor measured: the index alone, JSON lines to durable and searchable, queries, restart, memory; peers beside it.
//
//   live_bench                                  a million synthetic posts
//   live_bench posts.jsonl[.zst]...             real ones, merged by time
//   live_bench --peer "python3 bench/peers/live_sqlite.py" --peer ... --json results.json
//   live_bench --count 10000000 --only store    ten million: queries, memory and restart
//
// Queries: (a) any of three words, BM25, best 10: one word of rank 5-50 by frequency, two of rank 500-10000; (b) both of two
// words of rank 10-300, newest 10; (c) as (a) within the last 1 % of time. A peer is run with two files, queries and posts,
// and prints a JSON object a measure. CPU seconds stand beside wall seconds: they survive a busy machine.
#include <fmt/format.h>
#include <sched.h>
#include <zstd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "live/analysis.h"
#include "live/index.h"
#include "live/store.h"
#include "live_posts.h"
#include "live_report.h"
#include "live_seal.h"

namespace fathom::live {
namespace {

using std::chrono::steady_clock;
constexpr size_t kBatch = 1000;
constexpr size_t kArrivingPerSecond = 100'000;

std::string unpack(const std::string& path) {
  std::string packed = read_file(path);
  if (!path.ends_with(".zst")) return packed;
  std::string out, chunk(1 << 20, '\0');
  ZSTD_DStream* stream = ZSTD_createDStream();
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  size_t status = 0;
  while (in.pos < in.size && ZSTD_isError(status) == 0) {
    ZSTD_outBuffer to{chunk.data(), chunk.size(), 0};
    status = ZSTD_decompressStream(stream, &to, &in);
    out.append(chunk, 0, to.pos);
  }
  ZSTD_freeDStream(stream);
  if (ZSTD_isError(status) != 0) throw Error(ErrorCode::kCorrupt, "'" + path + "' is not a zstd file");
  return out;
}

/// The lines of all files, in order of time, as a feed would bring them.
std::vector<std::string> read_lines(const std::vector<std::string>& files, Time received) {
  std::vector<std::pair<Time, std::string>> posts;
  for (const auto& file : files) {
    std::istringstream all(unpack(file));
    for (std::string line; std::getline(all, line);)
      if (!line.empty()) posts.emplace_back(parse_post(line, received).created_at, line);
  }
  std::stable_sort(posts.begin(), posts.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> lines;
  for (auto& [created, line] : posts) lines.push_back(std::move(line));
  return lines;
}

std::vector<std::string> synthetic_lines(size_t count) {
  SyntheticPosts posts;
  std::vector<std::string> lines;
  lines.reserve(count);
  for (size_t i = 0; i < count; ++i) lines.push_back(posts.line());
  return lines;
}

std::vector<Post> parse_range(const std::vector<std::string>& lines, size_t begin, size_t end,
                              Time received) {
  std::vector<Post> posts;
  end = std::min(end, lines.size());
  posts.reserve(end - begin);
  for (size_t i = begin; i < end; ++i) posts.push_back(parse_post(lines[i], received));
  return posts;
}

// Queries

struct Queries {
  std::vector<std::string> any3, both2;
  Time since{};  // of (c)

  std::string text() const {
    std::string text = fmt::format("since {}\n", format_time(since));
    for (const auto& query : any3) text += "any " + query + "\n";
    for (const auto& query : both2) text += "all " + query + "\n";
    return text;
  }
};

/// Words by how many of the first posts have them, drawn by rank.
Queries make_queries(const std::vector<std::string>& lines, size_t count, Time received) {
  constexpr size_t kLookedAt = 300'000;
  std::map<std::string, size_t, std::less<>> frequency;
  TokenList tokens;
  for (size_t i = 0; i < std::min(lines.size(), kLookedAt); ++i) {
    const Post post = parse_post(lines[i], received);
    analyze(post.text, tokens);
    std::vector<std::string_view> seen;
    for (const Token& token : tokens.tokens) {
      const auto word = tokens.term(token);
      const bool plain = token.kind == TermKind::kWord && !token.stop && !token.extra && word.size() > 1;
      if (plain && std::find(seen.begin(), seen.end(), word) == seen.end()) seen.push_back(word);
    }
    for (const auto word : seen) ++frequency[std::string(word)];
  }
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const auto& [word, n] : frequency) ranked.emplace_back(n, word);
  std::sort(ranked.rbegin(), ranked.rend());
  Random random(42);
  const auto draw = [&](size_t low, size_t high) {
    high = std::min(high, ranked.size());
    low = std::min(low, high - 1);
    return ranked[low + random.below(high - low)].second;
  };
  Queries queries;
  for (size_t i = 0; i < count; ++i) {
    queries.any3.push_back(draw(5, 50) + " " + draw(500, 10000) + " " + draw(500, 10000));
    queries.both2.push_back(draw(10, 300) + " " + draw(10, 300));
  }
  queries.since = parse_post(lines[lines.size() / 100 * 99], received).created_at;
  return queries;
}

void bench_queries(Report& report, const Store& store, const std::string& name,
                   const std::vector<std::string>& texts, Query query) {
  std::vector<double> millis;
  size_t hits = 0;
  for (int pass = 0; pass < 2; ++pass) {  // the first warms up
    millis.clear();
    for (const auto& text : texts) {
      query.text = text;
      millis.push_back(1e3 * measure([&] { hits += store.search(query).hits.size(); }).wall);
    }
  }
  if (hits == 0) throw Error(ErrorCode::kInternal, "no query found anything: the benchmark measures nothing");
  report.latency(name, std::move(millis));
}

/// As other engines are asked: words alone decide.
Query plain_query() {
  Query query;
  query.limit = 10;
  query.fold = false;
  query.weights = {0, 24, 0};
  return query;
}

void bench_all_queries(Report& report, const Store& store, const Queries& queries) {
  const Query words = plain_query();
  bench_queries(report, store, "query (a) any of 3, BM25 top 10", queries.any3, words);
  Query both = words;
  both.require_all = true;
  both.order = Query::Order::kNewest;
  bench_queries(report, store, "query (b) both of 2, newest 10", queries.both2, both);
  Query recent = words;
  recent.since = queries.since;
  bench_queries(report, store, "query (c) any of 3, last 1 % of time", queries.any3, recent);
  Query full;
  full.limit = 10;
  bench_queries(report, store, "query (a), recency, engagement, folding", queries.any3, full);
}

// The index alone

/// Without JSON and log: what a caller's thread prepares and what the one writer adds, a batch at a time.
void bench_index(Report& report, const std::vector<std::string>& lines, Time received) {
  Index index(0, lines.size());
  PreparedBatch prepared;
  std::vector<const PreparedPost*> list;
  Spent prepare, add;
  for (size_t begin = 0; begin < lines.size(); begin += kBatch) {
    const auto posts = parse_range(lines, begin, begin + kBatch, received);
    const auto sum = [](Spent& total, const Spent& more) { total.wall += more.wall, total.cpu += more.cpu; };
    sum(prepare, measure([&] {
          prepared.clear();
          for (const Post& post : posts) prepared.add(post);
        }));
    list.clear();
    for (size_t i = 0; i < prepared.size(); ++i) list.push_back(&prepared[i]);
    sum(add, measure([&] { index.add(list, begin + 1); }));
  }
  report.rate("index alone: prepare (any thread)", lines.size(), prepare);
  report.rate("index alone: add (the writer)", lines.size(), add);
  report.rate("index alone", lines.size(), {prepare.wall + add.wall, prepare.cpu + add.cpu});
  report.value("index alone: memory", static_cast<double>(index.bytes()) / static_cast<double>(lines.size()),
               "B/post");
}

// From JSON lines to durable and searchable

/// Keeps the threads that start from here on to the first `count` processors that this one may use.
class Processors {
 public:
  explicit Processors(int count) {
    ::sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&set) < count; ++cpu)
      if (CPU_ISSET(cpu, &before_)) CPU_SET(cpu, &set);
    ::sched_setaffinity(0, sizeof set, &set);
  }
  ~Processors() { ::sched_setaffinity(0, sizeof before_, &before_); }
  Processors(const Processors&) = delete;
  Processors& operator=(const Processors&) = delete;

 private:
  cpu_set_t before_;
};

/// `producers` threads, each with a batch on its way at a time, on `processors` cores.
void bench_ingest(Report& report, const std::vector<std::string>& lines, size_t producers, int processors,
                  const std::filesystem::path& folder, const Clock& clock) {
  const Processors pinned(processors);
  const auto store = Store::open({.folder = folder}, clock);
  std::atomic<size_t> next{0};
  std::vector<std::vector<double>> millis(producers);
  const auto produce = [&](size_t producer) {
    for (size_t begin = next.fetch_add(kBatch); begin < lines.size(); begin = next.fetch_add(kBatch))
      millis[producer].push_back(
          1e3 * measure([&] { store->ingest(parse_range(lines, begin, begin + kBatch, clock.now())); }).wall);
  };
  const Spent spent = measure([&] {
    std::vector<std::thread> team;
    for (size_t t = 0; t < producers; ++t) team.emplace_back(produce, t);
    for (auto& thread : team) thread.join();
  });
  const std::string name = fmt::format("JSON to durable and searchable, {} producer{}, {} core{}", producers,
                                       producers == 1 ? "" : "s", processors, processors == 1 ? "" : "s");
  report.rate(name, lines.size(), spent);
  for (size_t t = 1; t < producers; ++t)
    millis[0].insert(millis[0].end(), millis[t].begin(), millis[t].end());
  report.latency(name + ": a batch", std::move(millis[0]));
}

/// Posts that arrive at a steady rate whatever the store does (open loop): how long from arrival until they can be found, and
/// until they are durable. Queries run beside it on a thread of their own.
class Arrivals {
 public:
  Arrivals(Store& store, const std::vector<std::string>& lines, const Queries& queries, const Clock& clock)
      : store_(store),
        lines_(lines),
        queries_(queries),
        clock_(clock),
        before_(store.stats().last_sequence) {}

  void run(Report& report) {
    start_ = steady_clock::now() + std::chrono::milliseconds(50);
    std::vector<std::thread> producers;
    for (size_t t = 0; t < kProducers; ++t) producers.emplace_back([this] { produce(); });
    std::jthread watcher([this](const std::stop_token& stop) { watch(stop); });
    std::jthread searcher([this](const std::stop_token& stop) { search(stop); });
    for (auto& thread : producers) thread.join();
    const double seconds = Seconds(steady_clock::now() - start_).count();
    searcher.request_stop();
    searcher.join();
    watcher.join();
    report.value("arriving", static_cast<double>(lines_.size()) / seconds, "posts_per_s");
    report.latency("arrival to searchable, 100,000/s arriving", visible_);
    report.latency("arrival to durable acknowledgement", acknowledged_);
    report.latency("query (a) while 100,000/s arrive", searched_);
  }

 private:
  static constexpr size_t kPerBatch = 200, kProducers = 6;

  SteadyTime arrival(size_t post) const {
    return start_ + std::chrono::nanoseconds(1'000'000'000 / kArrivingPerSecond * post);
  }
  static double millis_since(SteadyTime time) { return 1e3 * Seconds(steady_clock::now() - time).count(); }

  void produce() {
    std::vector<double> millis;
    for (size_t begin = next_.fetch_add(kPerBatch); begin < lines_.size();
         begin = next_.fetch_add(kPerBatch)) {
      const size_t last = std::min(begin + kPerBatch, lines_.size()) - 1;
      std::this_thread::sleep_until(arrival(last));  // a batch is there when its last post is
      store_.ingest(parse_range(lines_, begin, last + 1, clock_.now()));
      millis.push_back(millis_since(arrival(last)));
    }
    const std::lock_guard lock(mutex_);
    acknowledged_.insert(acknowledged_.end(), millis.begin(), millis.end());
  }

  void watch(const std::stop_token& stop) {
    for (size_t seen = 0; seen < lines_.size() && !stop.stop_requested();) {
      if (!store_.wait_for(before_ + seen, std::chrono::milliseconds(200), stop)) continue;
      const size_t now = std::min<size_t>(store_.stats().last_sequence - before_, lines_.size());
      if (now == seen) continue;
      for (size_t post = seen; post < now; ++post)
        if (post % kPerBatch == kPerBatch - 1) visible_.push_back(millis_since(arrival(post)));
      seen = now;
    }
  }

  void search(const std::stop_token& stop) {
    Query query = plain_query();
    for (size_t i = 0; !stop.stop_requested(); ++i) {
      query.text = queries_.any3[i % queries_.any3.size()];
      searched_.push_back(1e3 * measure([&] { store_.search(query); }).wall);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  Store& store_;
  const std::vector<std::string>& lines_;
  const Queries& queries_;
  const Clock& clock_;
  const uint64_t before_;
  SteadyTime start_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::vector<double> acknowledged_, visible_, searched_;
};

void tell_memory(Report& report, const StoreStats& stats) {
  const uint64_t active = stats.posts - stats.sealed_posts;
  if (active > 0)
    report.value("memory of the active segment",
                 static_cast<double>(stats.index_bytes) / static_cast<double>(active), "B/post");
  if (stats.sealed_posts > 0)
    report.value("sealed segments",
                 static_cast<double>(stats.sealed_bytes) / static_cast<double>(stats.sealed_posts), "B/post");
  report.value("sealed segments: number", static_cast<double>(stats.sealed_segments), "files");
}

void bench_store(Report& report, const std::filesystem::path& folder, const Queries& queries,
                 const Clock& clock) {
  std::unique_ptr<Store> store;
  const Spent spent = measure([&] { store = Store::open({.folder = folder}, clock); });
  report.value("restart", spent.wall, "s");
  tell_memory(report, store->stats());
  bench_all_queries(report, *store, queries);
}

/// Fills a store with more posts than the lines of one run hold: what scale costs.
void fill(const std::filesystem::path& folder, size_t count, size_t segment_posts, const Clock& clock) {
  const auto store = Store::open({.folder = folder, .segment_posts = segment_posts}, clock);
  SyntheticPosts posts;
  for (size_t done = 0; done < count; done += kBatch) {
    std::vector<Post> batch;
    for (size_t i = 0; i < std::min(kBatch, count - done); ++i)
      batch.push_back(parse_post(posts.line(), clock.now()));
    store->ingest(std::move(batch));
  }
}

// Sealing

/// Four segments of equal size, then one of all.
void bench_sealing(Report& report, const std::vector<std::string>& lines, const std::filesystem::path& folder,
                   const Clock& clock) {
  constexpr size_t kParts = 4;
  const size_t part = (lines.size() + kParts - 1) / kParts;
  report.title(fmt::format("sealing {} posts in {} segments", lines.size(), kParts));
  bench_seal(report, folder, kParts, [&](Index& index, size_t i) {
    const size_t end = std::min(lines.size(), (i + 1) * part);
    PreparedBatch prepared;
    for (size_t begin = i * part; begin < end; begin += kBatch) {
      prepared.clear();
      for (const Post& post : parse_range(lines, begin, std::min(end, begin + kBatch), clock.now()))
        prepared.add(post);
      for (size_t p = 0; p < prepared.size(); ++p) index.add(prepared[p], index.last_sequence() + 1);
    }
  });
}

// Peers

void run_peer(Report& report, const std::string& command, const std::filesystem::path& queries,
              const std::filesystem::path& posts) {
  std::vector<std::string> words;
  std::istringstream split(command);
  for (std::string word; split >> word;) words.push_back(word);
  words.push_back(queries.string());
  words.push_back(posts.string());
  const ProcessResult result = run_process(words);
  if (!result.ok()) throw Error(ErrorCode::kIo, "the peer '" + command + "' failed");
  const std::string name = std::filesystem::path(words[words.size() - 3]).stem().string();
  report.title(name);
  std::istringstream all(result.out);
  for (std::string line; std::getline(all, line);) {
    nlohmann::json figures = nlohmann::json::parse(line);
    const std::string measure = figures.at("name").get<std::string>();
    figures.erase("name");
    report.tell(name + ": " + measure, figures);
  }
}

struct Options {
  std::vector<std::string> files, peers, only;
  std::string json;
  size_t count = 1'000'000, queries = 1000, segment_posts = 1'000'000;

  bool wants(std::string_view part) const {
    return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
  }
};

void bench_parts(Report& report, const Options& options, const std::vector<std::string>& lines,
                 const Queries& queries, const TempDir& dir) {
  const SystemClock clock;
  if (options.wants("parse"))
    report.rate("parse JSON lines", lines.size(), measure([&] {
                  for (const auto& line : lines) parse_post(line, clock.now());
                }));
  if (options.wants("index")) bench_index(report, lines, clock.now());
  if (options.wants("ingest")) {
    bench_ingest(report, lines, 1, 2, dir.path() / "one", clock);
    std::filesystem::remove_all(dir.path() / "one");
    bench_ingest(report, lines, 4, 1, dir.path() / "core", clock);
    std::filesystem::remove_all(dir.path() / "core");
    bench_ingest(report, lines, 4, 2, dir.path() / "two", clock);
    bench_store(report, dir.path() / "two", queries, clock);
  }
  if (options.wants("seal")) bench_sealing(report, lines, dir.path() / "seal", clock);
  if (options.wants("arrival")) {
    const auto store = Store::open({.folder = dir.path() / "arrival"}, clock);
    Arrivals(*store, lines, queries, clock).run(report);
  }
  if (options.wants("store") && options.files.empty()) {
    report.title(fmt::format("{} posts, sealed at {}", options.count, options.segment_posts));
    fill(dir.path() / "large", options.count, options.segment_posts, clock);
    bench_store(report, dir.path() / "large", queries, clock);
  }
}

int run(int argc, char** argv) {
  CLI::App app("Measures the live floor. Example: live_bench --peer 'python3 bench/peers/live_sqlite.py'");
  Options options;
  app.add_option("files", options.files, "NDJSON posts, plain or .zst; none: synthetic posts")
      ->check(CLI::ExistingFile);
  app.add_option("--count", options.count, "synthetic posts")->check(CLI::Range(1000, 100'000'000));
  app.add_option("--queries", options.queries, "queries of each kind")->check(CLI::Range(10, 100'000));
  app.add_option("--segment-posts", options.segment_posts, "seal at so many in the part 'store'");
  app.add_option("--only", options.only, "parts: parse, index, ingest, seal, arrival, store; default all");
  app.add_option("--peer", options.peers, "also run this command with the files of queries and posts");
  app.add_option("--json", options.json, "also write the results here");
  CLI11_PARSE(app, argc, argv);

  constexpr size_t kMostLines = 1'000'000;  // beyond, they are made as they are needed
  const SystemClock clock;
  const auto lines = options.files.empty() ? synthetic_lines(std::min(options.count, kMostLines))
                                           : read_lines(options.files, clock.now());
  const Queries queries = make_queries(lines, options.queries, clock.now());
  const TempDir dir("fathom-live-bench");
  Report report;
  bench_parts(report, options, lines, queries, dir);
  if (!options.peers.empty()) {
    std::string all;
    for (const auto& line : lines) all += line + "\n";
    write_file_atomic(dir.path() / "posts.jsonl", all);
    write_file_atomic(dir.path() / "queries.txt", queries.text());
  }
  for (const auto& peer : options.peers)
    run_peer(report, peer, dir.path() / "queries.txt", dir.path() / "posts.jsonl");
  if (!options.json.empty()) write_file_atomic(options.json, report.json().dump(2) + "\n");
  return 0;
}

}  // namespace
}  // namespace fathom::live

int main(int argc, char** argv) {
  try {
    return fathom::live::run(argc, argv);
  } catch (const fathom::Error& error) {
    std::fprintf(stderr, "live_bench: %s\n", error.what());
    return 2;
  }
}
