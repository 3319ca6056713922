// The graph of vectors measured: building, finding, recall against looking at all, room, the file.
//
//   vectors_bench [--vectors FILE] [--dimensions 384] [--nodes 100000] [--links 16] [--build 100]
//
// FILE holds little-endian 32-bit floats, a vector after the other, as an embedding model gave them (`--texts FILE --model MODEL`
// makes it: a text a line); without it vectors around random centres are drawn, which are harder to tell apart than texts are.
// One in a hundred, at most 500, is kept out of the graph and asked for. One thread; recall is of the ten nearest by 32-bit values.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "infer/embedder.h"
#include "live/vectors/vector_file.h"

namespace fathom::live {
namespace {

struct Options {
  std::string vectors, texts, model;
  size_t dimensions = 384, nodes = 100'000, links = 16, build = 100;
};

struct Vectors {
  size_t dimensions = 0;
  std::vector<float> values;
  size_t size() const { return values.size() / dimensions; }
  std::span<const float> operator[](size_t i) const {
    return std::span(values).subspan(i * dimensions, dimensions);
  }
  void add(std::span<const float> vector) { values.insert(values.end(), vector.begin(), vector.end()); }
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void embed_texts(const Options& options) {
  ThreadPool pool(std::max(1u, std::thread::hardware_concurrency()));
  const auto model = infer::Embedder::load(options.model, pool);
  std::ifstream in(options.texts);
  AtomicFile out(options.vectors);
  std::vector<std::string> texts;
  size_t count = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto flush = [&] {
    for (const auto& embedding : model->embed(texts))
      out.write(
          {reinterpret_cast<const char*>(embedding.values.data()), embedding.values.size() * sizeof(float)});
    count += texts.size();
    texts.clear();
  };
  for (std::string line; std::getline(in, line);) {
    texts.push_back(line);
    if (texts.size() == 64) flush();
  }
  flush();
  out.commit();
  fmt::print("{} texts embedded at {:.0f}/s\n", count, static_cast<double>(count) / seconds_since(begin));
}

Vectors read_vectors(const Options& options) {
  const std::string bytes = read_file(options.vectors);
  Vectors out{options.dimensions, std::vector<float>(bytes.size() / sizeof(float))};
  std::memcpy(out.values.data(), bytes.data(), out.values.size() * sizeof(float));
  out.values.resize(out.size() * options.dimensions);
  return out;
}

Vectors draw_vectors(const Options& options) {
  constexpr size_t kCentres = 1000;
  Random random(1);
  std::vector<float> centres(kCentres * options.dimensions);
  for (float& x : centres) x = static_cast<float>(random.normal());
  Vectors out{options.dimensions, {}};
  std::vector<float> vector(options.dimensions);
  for (size_t i = 0; i < options.nodes + options.nodes / 100; ++i) {
    const size_t centre = random.below(kCentres) * options.dimensions;
    double square = 0;
    for (size_t k = 0; k < vector.size(); ++k) {
      vector[k] = centres[centre + k] + static_cast<float>(random.normal());
      square += static_cast<double>(vector[k]) * static_cast<double>(vector[k]);
    }
    for (float& x : vector) x = static_cast<float>(static_cast<double>(x) / std::sqrt(square));
    out.add(vector);
  }
  return out;
}

using Nearest = std::vector<uint64_t>;

Nearest exact_nearest(const Vectors& vectors, std::span<const float> query) {
  std::vector<std::pair<float, uint64_t>> all(vectors.size());
  for (size_t i = 0; i < vectors.size(); ++i) {
    float sum = 0;
    const auto vector = vectors[i];
    for (size_t k = 0; k < vector.size(); ++k) sum += vector[k] * query[k];
    all[i] = {-sum, i + 1};
  }
  std::partial_sort(all.begin(), all.begin() + 10, all.end());
  Nearest out;
  for (size_t i = 0; i < 10; ++i) out.push_back(all[i].second);
  return out;
}

void measure_finding(const Hnsw& graph, const Vectors& queries, const std::vector<Nearest>& truth) {
  const auto report = [&](const std::string& name, auto find) {
    size_t right = 0;
    std::vector<double> times;
    for (size_t i = 0; i < queries.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      const auto found = find(queries[i]);
      times.push_back(seconds_since(begin));
      for (const auto& near : found)
        right += std::count(truth[i].begin(), truth[i].end(), near.facts.sequence) > 0 ? 1 : 0;
    }
    double sum = 0;
    for (const double time : times) sum += time;
    std::sort(times.begin(), times.end());
    const double n = static_cast<double>(times.size());
    fmt::print("  {:<16} recall@10 {:.4f}  {:>8.0f} queries/s  p50 {:.3f} ms  p99 {:.3f} ms\n", name,
               static_cast<double>(right) / (10 * n), n / sum, 1e3 * times[times.size() / 2],
               1e3 * times[times.size() * 99 / 100]);
  };
  for (const size_t candidates : {10, 20, 40, 64, 100, 200, 400})
    report(fmt::format("candidates {}", candidates),
           [&](std::span<const float> query) { return graph.find(query, 10, candidates); });
  report("all", [&](std::span<const float> query) { return graph.scan(query, 10); });
}

void measure_file(const Hnsw& graph, const HnswOptions& options) {
  const TempDir dir;
  const auto path = dir.path() / "posts.vectors";
  auto begin = std::chrono::steady_clock::now();
  write_vector_file(path, "bench", {}, graph);
  const double writing = seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  const MappedFile file(path);
  read_vector_file(file.bytes(), options, path.string());
  fmt::print("file: {:.1f} MB, written and synced in {:.2f} s, read in {:.2f} s\n",
             static_cast<double>(file.bytes().size()) / 1e6, writing, seconds_since(begin));
}

/// A tenth leaves, and links are led around it.
void measure_leaving(Hnsw& graph, const Vectors& queries) {
  size_t removed = 0;
  for (uint32_t node = 1; node < graph.end(); node += 10, ++removed) graph.remove(node);
  const auto begin = std::chrono::steady_clock::now();
  graph.relink({});
  const double time = seconds_since(begin);
  size_t right = 0, all = 0;
  for (size_t i = 0; i < queries.size(); ++i) {
    const auto truth = graph.scan(queries[i], 10), found = graph.find(queries[i], 10, 64);
    for (const auto& near : found)
      right += std::any_of(truth.begin(), truth.end(),
                           [&](const auto& other) { return other.facts.sequence == near.facts.sequence; })
                   ? 1
                   : 0;
    all += truth.size();
  }
  fmt::print("links led around {} nodes in {:.2f} s; then recall@10 at 64 candidates {:.4f}\n", removed, time,
             static_cast<double>(right) / static_cast<double>(all));
}

void measure_kernels(size_t dimensions) {
  const std::vector<int8_t> a(padded(dimensions), 7), b(padded(dimensions), -9);
  for (const auto& kernel : dot_kernels()) {
    constexpr size_t kRounds = 2'000'000;
    int64_t sum = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (size_t i = 0; i < kRounds; ++i) sum += kernel.dot(a.data(), b.data(), a.size());
    fmt::print("  {:<12} {:.1f} ns a product{}\n", kernel.name, 1e9 * seconds_since(begin) / kRounds,
               sum == 0 ? "?" : "");
  }
}

void run(const Options& options) {
  if (!options.texts.empty()) embed_texts(options);
  fmt::print("inner product of {} dimensions\n", options.dimensions);
  measure_kernels(options.dimensions);
  const Vectors all = options.vectors.empty() ? draw_vectors(options) : read_vectors(options);
  Vectors kept{all.dimensions, {}}, queries{all.dimensions, {}};
  for (size_t i = 0; i < all.size(); ++i) {
    if (i % 100 == 7 && queries.size() < 500)
      queries.add(all[i]);
    else if (kept.size() < options.nodes)
      kept.add(all[i]);
  }
  std::vector<Nearest> truth;
  for (size_t i = 0; i < queries.size(); ++i) truth.push_back(exact_nearest(kept, queries[i]));

  const HnswOptions graph_options{all.dimensions, kept.size(), options.links, options.build};
  Hnsw graph(graph_options);
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < kept.size(); ++i) graph.add(kept[i], {i + 1, 0, 0});
  const double time = seconds_since(begin);
  const auto count = static_cast<double>(kept.size());
  fmt::print("{} nodes of {} dimensions, links {}, candidates {}: {:.0f} added/s, {:.0f} bytes a node\n",
             kept.size(), all.dimensions, options.links, options.build, count / time,
             static_cast<double>(graph.bytes()) / count);
  measure_finding(graph, queries, truth);
  measure_file(graph, graph_options);
  measure_leaving(graph, queries);
}

}  // namespace
}  // namespace fathom::live

int main(int argc, char** argv) {
  fathom::live::Options options;
  CLI::App app("The graph of vectors measured");
  app.add_option("--vectors", options.vectors, "File of vectors");
  app.add_option("--texts", options.texts, "Texts to make it of, one a line");
  app.add_option("--model", options.model, "The embedding model for them");
  app.add_option("--dimensions", options.dimensions, "Of a vector");
  app.add_option("--nodes", options.nodes, "At most");
  app.add_option("--links", options.links, "M");
  app.add_option("--build", options.build, "efConstruction");
  CLI11_PARSE(app, argc, argv);
  try {
    fathom::live::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
