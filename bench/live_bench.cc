// The live floor measured: posts a second from JSON lines to durable and searchable, the index alone, queries, restart, memory.
//
//   live_bench posts.jsonl[.zst]...     real posts, merged by time; without files 300,000 synthetic ones
//   live_bench --json results.json --queries queries.txt ...
//
// Queries, as in the comparison with other engines: (a) any of three words, BM25, best 10: one word of rank 5-50 by frequency,
// two of rank 500-10000; (b) both of two words of rank 10-300, newest 10; (c) as (a) within the last 1 % of time. `--queries`
// writes them, one a line, for bench/peers/live_sqlite.py. CPU seconds stand beside wall seconds: they survive a busy machine.
#include <fmt/format.h>
#include <sys/resource.h>
#include <zstd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "live/analysis.h"
#include "live/index.h"
#include "live/store.h"

namespace fathom::live {
namespace {

using Seconds = std::chrono::duration<double>;
constexpr size_t kBatch = 1000;

double cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Spent {
  double wall = 0, cpu = 0;
};

template <class Work>
Spent measure(Work&& work) {
  const double cpu = cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  work();
  return {Seconds(std::chrono::steady_clock::now() - start).count(), cpu_seconds() - cpu};
}

class Report {
 public:
  void rate(const std::string& name, size_t count, Spent spent) {
    const auto n = static_cast<double>(count);
    std::printf("%-44s %10.0f posts/s   %10.0f posts/CPU-s\n", name.c_str(), n / spent.wall, n / spent.cpu);
    json_[name] = {
        {"posts_per_s", n / spent.wall}, {"posts_per_cpu_s", n / spent.cpu}, {"wall_s", spent.wall}};
  }

  void latency(const std::string& name, std::vector<double> millis) {
    std::sort(millis.begin(), millis.end());
    const auto at = [&](double share) {
      return millis[static_cast<size_t>(share * static_cast<double>(millis.size() - 1))];
    };
    std::printf("%-44s p50 %8.3f ms  p99 %8.3f ms  max %8.3f ms\n", name.c_str(), at(0.5), at(0.99),
                millis.back());
    json_[name] = {{"p50_ms", at(0.5)}, {"p99_ms", at(0.99)}, {"max_ms", millis.back()}};
  }

  void value(const std::string& name, double value, const std::string& unit) {
    std::printf("%-44s %10.1f %s\n", name.c_str(), value, unit.c_str());
    json_[name] = {{"value", value}, {"unit", unit}};
  }

  const nlohmann::json& json() const { return json_; }

 private:
  nlohmann::json json_ = nlohmann::json::object();
};

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
    const std::string all = unpack(file);
    for (size_t at = 0; at < all.size();) {
      const size_t end = std::min(all.find('\n', at), all.size());
      if (end > at) {
        std::string line = all.substr(at, end - at);
        const Time created = parse_post(line, received).created_at;
        posts.emplace_back(created, std::move(line));
      }
      at = end + 1;
    }
  }
  std::stable_sort(posts.begin(), posts.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> lines;
  for (auto& [created, line] : posts) lines.push_back(std::move(line));
  return lines;
}

/// Posts of 14 words from 200,000, drawn by Zipf's law.
std::vector<std::string> synthetic_lines(size_t count) {
  Random random(1);
  const Time start = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1};
  std::vector<std::string> lines;
  for (size_t i = 0; i < count; ++i) {
    std::string text;
    for (int j = 0; j < 14; ++j)
      text += fmt::format("w{} ", static_cast<int>(std::exp(random.uniform() * std::log(2e5))));
    const auto created = format_time(start + std::chrono::milliseconds(200) * i);
    lines.push_back(nlohmann::json{
        {"id", std::to_string(i)},
        {"author", fmt::format("a{}", random.below(5000))},
        {"created_at", created},
        {"text", text}}.dump());
  }
  return lines;
}

void ingest_range(Store& store, const std::vector<std::string>& lines, std::atomic<size_t>& next,
                  Time received, std::vector<double>& millis) {
  for (size_t begin = next.fetch_add(kBatch); begin < lines.size(); begin = next.fetch_add(kBatch)) {
    std::vector<Post> batch;
    batch.reserve(kBatch);
    for (size_t i = begin; i < std::min(begin + kBatch, lines.size()); ++i)
      batch.push_back(parse_post(lines[i], received));
    millis.push_back(1e3 * measure([&] { store.ingest(std::move(batch)); }).wall);
  }
}

/// JSON lines to durable and searchable, with `threads` producers.
void bench_ingest(Report& report, const std::vector<std::string>& lines, size_t threads,
                  const std::filesystem::path& folder, const Clock& clock) {
  const auto store = Store::open({folder, true}, clock);
  std::atomic<size_t> next{0};
  std::vector<std::vector<double>> millis(threads);
  const Spent spent = measure([&] {
    std::vector<std::thread> team;
    for (size_t t = 0; t < threads; ++t)
      team.emplace_back([&, t] { ingest_range(*store, lines, next, clock.now(), millis[t]); });
    for (auto& thread : team) thread.join();
  });
  const std::string name = fmt::format("ingest, durable, {} producer{}", threads, threads == 1 ? "" : "s");
  report.rate(name, lines.size(), spent);
  for (size_t t = 1; t < threads; ++t) millis[0].insert(millis[0].end(), millis[t].begin(), millis[t].end());
  report.latency(name + ": a batch of 1000", std::move(millis[0]));
}

/// The index without JSON and log: what a caller's thread prepares, and what the one writer adds.
void bench_index(Report& report, const std::vector<Post>& posts) {
  Index index;
  PreparedBatch prepared;
  report.rate("index: prepare (any thread)", posts.size(), measure([&] {
                for (const Post& post : posts) prepared.add(post);
              }));
  std::vector<const PreparedPost*> list;
  for (size_t i = 0; i < prepared.size(); ++i) list.push_back(&prepared[i]);
  report.rate("index: add (the writer)", posts.size(), measure([&] { index.add(list, 1); }));
}

struct Queries {
  std::vector<std::string> any3, both2;
};

/// Words by how many posts have them, drawn by rank.
Queries make_queries(const std::vector<Post>& posts, size_t count) {
  std::map<std::string, size_t> frequency;
  TokenList tokens;
  for (const Post& post : posts) {
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
    return ranked[low + random.below(high - low)].second;
  };
  Queries queries;
  for (size_t i = 0; i < count; ++i) {
    queries.any3.push_back(draw(5, 50) + " " + draw(500, 10000) + " " + draw(500, 10000));
    queries.both2.push_back(draw(10, 300) + " " + draw(10, 300));
  }
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

void bench_store(Report& report, const std::filesystem::path& folder, const Queries& queries,
                 Time last_percent, const Clock& clock) {
  std::unique_ptr<Store> store;
  const Spent spent = measure([&] { store = Store::open({folder, true}, clock); });
  const auto stats = store->stats();
  const auto posts = static_cast<double>(stats.posts);
  report.value("restart", spent.wall, "s");
  report.rate("restart: recovery", stats.posts, spent);
  report.value("memory of the index and the posts", static_cast<double>(stats.index_bytes) / posts, "B/post");
  Query words;
  words.limit = 10;
  words.fold = false;
  words.weights = {0, 24, 0};
  bench_queries(report, *store, "query (a) any of 3, BM25 top 10", queries.any3, words);
  Query both = words;
  both.require_all = true;
  both.order = Query::Order::kNewest;
  bench_queries(report, *store, "query (b) both of 2, newest 10", queries.both2, both);
  Query recent = words;
  recent.since = last_percent;
  bench_queries(report, *store, "query (c) any of 3, last 1 % of time", queries.any3, recent);
  Query full;
  full.limit = 10;
  bench_queries(report, *store, "query (a), recency, engagement, folding", queries.any3, full);
}

int run(int argc, char** argv) {
  CLI::App app("Measures the live floor. Example: live_bench --json live.json posts/*.jsonl.zst");
  std::vector<std::string> files;
  std::string json_path, queries_path;
  size_t query_count = 1000;
  app.add_option("files", files, "NDJSON posts, plain or .zst; none: synthetic posts")
      ->check(CLI::ExistingFile);
  app.add_option("--json", json_path, "also write the results here");
  app.add_option("--queries", queries_path, "also write the queries here");
  app.add_option("--query-count", query_count, "queries of each kind")->check(CLI::Range(10, 100000));
  CLI11_PARSE(app, argc, argv);

  const SystemClock clock;
  const auto lines = files.empty() ? synthetic_lines(300'000) : read_lines(files, clock.now());
  Report report;
  std::vector<Post> posts;
  posts.reserve(lines.size());
  report.rate("parse JSON lines", lines.size(), measure([&] {
                for (const auto& line : lines) posts.push_back(parse_post(line, clock.now()));
              }));
  const Queries queries = make_queries(posts, query_count);
  const Time last_percent = posts[posts.size() * 99 / 100].created_at;
  bench_index(report, posts);
  std::vector<Post>().swap(posts);
  const TempDir dir("fathom-live-bench");
  bench_ingest(report, lines, 1, dir.path() / "one", clock);
  bench_ingest(report, lines, 2, dir.path() / "two", clock);
  bench_store(report, dir.path() / "two", queries, last_percent, clock);
  if (!json_path.empty()) write_file_atomic(json_path, report.json().dump(2) + "\n");
  if (!queries_path.empty()) {
    std::string text = fmt::format("since {}\n", format_time(last_percent));
    for (const auto& query : queries.any3) text += "any " + query + "\n";
    for (const auto& query : queries.both2) text += "all " + query + "\n";
    write_file_atomic(queries_path, text);
  }
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
