#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <unordered_set>

#include "base/error.h"
#include "live/vectors/query_parts.h"
#include "live/vectors/vector_builder.h"
#include "live/vectors/vectors.h"

namespace fathom::live {
namespace {

constexpr size_t kMostListed = 1000;  // posts that pass a filter: up to here they are compared one by one
constexpr size_t kSpare = 8;          // asked for beyond the count: some may have been deleted

const VectorOptions& check(const VectorOptions& options, const TextEmbedder& embedder) {
  const auto need = [](bool holds, std::string_view what) {
    if (!holds) throw Error(ErrorCode::kInvalidArgument, fmt::format("vectors: {}", what));
  };
  need(embedder.dimensions() >= 1 && embedder.dimensions() <= size_t{1} << 16,
       "the embedding model has no sensible dimensions");
  need(options.most_posts >= 1 && options.most_posts <= size_t{1} << 27, "most_posts must be 1 to 2^27");
  need(options.batch >= 1 && options.batch <= 1024, "batch must be 1 to 1024");
  need(options.links >= 2 && options.links <= 64, "links must be 2 to 64");
  need(options.build_candidates >= 1 && options.build_candidates <= 10'000,
       "build_candidates must be 1 to 10000");
  std::error_code failed;
  std::filesystem::create_directories(options.folder, failed);
  if (failed)
    throw Error(ErrorCode::kIo,
                fmt::format("cannot create the folder '{}': {}", options.folder.string(), failed.message()));
  return options;
}

/// The filters of a query without its words.
Query filters_of(const Query& query) {
  Query filters = query;
  filters.text = split_query(query.text).filters;
  filters.order = Query::Order::kNewest;
  filters.fold = filters.expand = filters.exact_count = filters.require_all = false;
  return filters;
}

bool filters_nothing(const Query& q) {
  return q.text.empty() && !q.since && !q.until && q.authors.empty() && q.not_authors.empty() &&
         q.sources.empty() && q.langs.empty() && !q.min_likes && !q.min_views && !q.after && !q.through;
}

}  // namespace

struct VectorIndex::Impl {
  Impl(const Store& its_store, TextEmbedder& its_embedder, const VectorOptions& its_options)
      : store(its_store),
        embedder(its_embedder),
        options(check(its_options, its_embedder)),
        builder(its_store, its_embedder, options),
        thread([this](const std::stop_token& stop) { builder.run(stop); }) {}
  ~Impl() {
    thread.request_stop();
    thread.join();
    builder.save();
  }

  std::vector<float> embed(std::string_view text, const std::stop_token& stop) const {
    const auto asking = builder.ask();
    const std::string texts[] = {std::string(text)};
    std::vector<float> vector = embedder.embed(texts, true, stop);
    if (vector.size() != embedder.dimensions())
      throw Error(ErrorCode::kInternal, fmt::format("the embedding model {} gave {} values instead of {}",
                                                    embedder.name(), vector.size(), embedder.dimensions()));
    return vector;
  }

  /// Candidates of the graph; some may have left the store since.
  std::vector<Hnsw::Found> find(std::span<const float> vector, const Query& filters, size_t count) const {
    const Hnsw& graph = builder.graph();
    if (filters_nothing(filters)) return graph.find(vector, count, options.search_candidates);
    Query listing = filters;
    listing.limit = kMostListed;
    const SearchResult listed = store.search(listing);
    if (listed.hits.size() < kMostListed) {
      std::unordered_set<uint64_t> sequences;
      for (const Hit& hit : listed.hits) sequences.insert(hit.sequence);
      return graph.scan(vector, count,
                        [&](const VectorFacts& facts) { return sequences.contains(facts.sequence); });
    }
    return graph.find(vector, count, options.search_candidates,
                      [&](const VectorFacts& facts) { return passes(facts, filters); });
  }

  /// The store itself tells, so that a filter means the same here as there.
  bool passes(const VectorFacts& facts, const Query& filters) const {
    const Time created{Micros(facts.created)};
    if ((filters.since && created < *filters.since) || (filters.until && created >= *filters.until))
      return false;
    if (filters.after && facts.sequence <= *filters.after) return false;
    if (filters.through && facts.sequence > *filters.through) return false;
    Query one = filters;
    one.after = facts.sequence - 1;
    one.through = facts.sequence;
    one.limit = 1;
    return !store.search(one).hits.empty();
  }

  const Store& store;
  TextEmbedder& embedder;
  const VectorOptions options;
  VectorBuilder builder;
  std::jthread thread;
};

VectorIndex::VectorIndex(const Store& store, TextEmbedder& embedder, const VectorOptions& options)
    : impl_(std::make_unique<Impl>(store, embedder, options)) {}

VectorIndex::~VectorIndex() = default;

std::vector<Neighbour> VectorIndex::nearest(std::string_view text, const Query& filter, size_t count,
                                            const std::stop_token& stop) const {
  if (count == 0) return {};
  const Query filters = filters_of(filter);
  const std::vector<float> vector = impl_->embed(text, stop);
  // Posts leave the store before they leave the graph, so more are asked for where some of the nearest are gone.
  for (size_t wanted = count + kSpare;; wanted *= 4) {
    const auto found = impl_->find(vector, filters, wanted);
    std::vector<Neighbour> neighbours;
    for (const Hnsw::Found& near : found) {
      if (neighbours.size() == count) break;
      auto post = find_post(impl_->store, near.facts.sequence);
      if (post) neighbours.push_back({std::move(*post), near.facts.sequence, near.similarity});
    }
    const bool all_seen = found.size() < wanted;
    if (neighbours.size() == count || all_seen || stop.stop_requested()) return neighbours;
  }
}

VectorIndex::Status VectorIndex::status() const { return impl_->builder.status(); }

bool VectorIndex::wait_for(uint64_t sequence, std::chrono::milliseconds wait) const {
  return impl_->builder.wait_for(sequence, wait);
}

}  // namespace fathom::live
