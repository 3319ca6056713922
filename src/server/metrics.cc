#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

namespace fathom::server {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

const Histogram::BucketBoundaries kTextSeconds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075,
                                                  0.1,   0.15,  0.2,   0.3,  0.5,  1,    2,    5};
const Histogram::BucketBoundaries kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                              0.5,   1,      2.5,   5,    10,    30,   60,  120};

Family<Counter>& counter(prometheus::Registry& registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(registry);
}
Family<Gauge>& gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return BuildGauge().Name(name).Help(help).Register(registry);
}
Family<Histogram>& histogram(prometheus::Registry& registry, const char* name, const char* help) {
  return BuildHistogram().Name(name).Help(help).Register(registry);
}

/// Made anew at each scrape: a source that was removed leaves nothing behind, one that came again counts from 0.
std::vector<prometheus::MetricFamily> source_families(const nlohmann::json& sources) {
  prometheus::Registry registry;
  const auto total = [&](const char* name, const char* help, const char* field) {
    Family<Counter>& family = counter(registry, name, help);
    for (const auto& source : sources)
      family.Add({{"source", source.value("name", "")}}).Increment(source.value(field, 0.0));
  };
  total("fathom_source_posts_total", "Posts made durable, by source; repeated ones too.", "posts");
  total("fathom_source_duplicates_total", "Posts that were there already, by source.", "duplicates");
  total("fathom_source_deleted_total", "Posts that a source removed.", "deleted");
  total("fathom_source_counts_total", "Later changes of likes and the like, by source.", "counts");
  total("fathom_source_rejected_total", "Pieces of input left out, by source.", "rejected");
  total("fathom_source_skewed_total", "Posts from the future, set to their arrival, by source.", "skewed");
  total("fathom_source_reconnects_total", "Connections after the first, by source.", "reconnects");
  Family<Gauge>& live = gauge(registry, "fathom_source_live", "1 while a source delivers, by source.");
  Family<Gauge>& rate = gauge(registry, "fathom_source_posts_per_second", "Over the last minute, by source.");
  Family<Gauge>& lag = gauge(registry, "fathom_source_lag_seconds",
                             "From a post's creation until it could be found, over the last five minutes.");
  Family<Counter>& errors = counter(registry, "fathom_source_errors_total", "Failures, by source and kind.");
  for (const auto& source : sources) {
    const std::string name = source.value("name", "");
    live.Add({{"source", name}}).Set(source.value("state", "") == "live" ? 1 : 0);
    rate.Add({{"source", name}}).Set(source.value("per_second", 0.0));
    if (source.contains("lag_p50_seconds"))
      lag.Add({{"source", name}, {"quantile", "0.5"}}).Set(source["lag_p50_seconds"].get<double>());
    if (source.contains("lag_p99_seconds"))
      lag.Add({{"source", name}, {"quantile", "0.99"}}).Set(source["lag_p99_seconds"].get<double>());
    const nlohmann::json by_kind = source.value("errors", nlohmann::json::object());
    for (const auto& [kind, count] : by_kind.items())
      errors.Add({{"source", name}, {"kind", kind}}).Increment(count.get<double>());
  }
  return registry.Collect();
}

}  // namespace

struct Metrics::Families {
  prometheus::Registry registry;
  Family<Counter>& requests =
      counter(registry, "fathom_http_requests_total", "Requests answered, by route and status.");
  Family<Histogram>& request_seconds = histogram(
      registry, "fathom_http_request_seconds", "From a request's first byte to its answer's last, by route.");
  Family<Gauge>& connections = gauge(registry, "fathom_http_connections", "Open connections.");
  Family<Gauge>& feed_clients = gauge(registry, "fathom_feed_clients", "Open event streams of the feed.");
  Family<Counter>& answers = counter(registry, "fathom_answers_total", "Answers made, by writer.");
  Family<Histogram>& answer_seconds =
      histogram(registry, "fathom_answer_seconds", "Time to make an answer, by writer.");
  Family<Histogram>& first_text =
      histogram(registry, "fathom_first_text_seconds", "Time from the start of an answer to its first text.");
  Histogram& next_text =
      histogram(registry, "fathom_next_text_seconds", "Time between two pieces of text of the model's.")
          .Add({}, kTextSeconds);
  Family<Gauge>& generations = gauge(registry, "fathom_generations", "Generations of the model, by state.");
  Family<Gauge>& cache_pages = gauge(registry, "fathom_cache_pages", "Pages of the model's cache, by state.");
  Family<Counter>& engine_tokens =
      counter(registry, "fathom_engine_tokens_total", "Tokens that the engine took and gave, by kind.");
  Family<Gauge>& answering = gauge(registry, "fathom_answers", "Answers being made and waiting, by state.");
  Family<Counter>& tokens = counter(registry, "fathom_tokens_total", "Tokens of the model, by kind.");
  Family<Counter>& posts =
      counter(registry, "fathom_posts_ingested_total", "Posts taken through the API, by outcome.");
  Family<Gauge>& store = gauge(registry, "fathom_store_posts", "Posts that can be found, by source.");
  Family<Gauge>& sequence =
      gauge(registry, "fathom_store_last_sequence", "Sequence number of the newest post.");
  Family<Gauge>& terms = gauge(registry, "fathom_store_terms", "Distinct terms in the index.");
  Family<Gauge>& index_bytes = gauge(registry, "fathom_store_index_bytes", "Memory of the index.");
  Family<Gauge>& segments = gauge(registry, "fathom_store_segments", "Sealed segments on disk.");
  Family<Gauge>& segment_bytes =
      gauge(registry, "fathom_store_segment_bytes", "Bytes of the sealed segments.");
  Family<Gauge>& log_bytes = gauge(registry, "fathom_store_log_bytes", "Bytes of the log.");
  Family<Gauge>& let_go =
      gauge(registry, "fathom_store_dropped_posts", "Posts let go by age or size since the start.");
  Family<Gauge>& damaged =
      gauge(registry, "fathom_store_damaged_records", "Posts that could not be read and were left out.");
  Family<Gauge>& vectors =
      gauge(registry, "fathom_vectors", "Posts with a vector, and waiting for one, by state.");
  Family<Gauge>& vectors_failed =
      gauge(registry, "fathom_vectors_failed", "Posts that the embedding model failed on since the start.");
  Family<Gauge>& vectors_rate =
      gauge(registry, "fathom_vectors_per_second", "Posts embedded a second, over the last seconds.");
  Family<Gauge>& vectors_behind = gauge(registry, "fathom_vectors_behind_seconds",
                                        "Since the oldest post that waits for its vector came.");
  Family<Gauge>& feed_age = gauge(registry, "fathom_feed_age_seconds", "The clock less the feed's clock.");
  Family<Gauge>& build = gauge(registry, "fathom_build_info", "Always 1; the label has the version.");
  std::mutex scrape;  // one at a time: gauges are set, then read

  void set_store(const live::StoreStats& stats) {
    const auto set = [](Family<Gauge>& family, uint64_t value) {
      family.Add({}).Set(static_cast<double>(value));
    };
    set(sequence, stats.last_sequence);
    set(terms, stats.terms);
    set(index_bytes, stats.index_bytes);
    set(segments, stats.sealed_segments);
    set(segment_bytes, stats.sealed_bytes);
    set(log_bytes, stats.log_bytes);
    set(let_go, stats.dropped);
    set(damaged, stats.damaged_records);
    for (const auto& [source, count] : stats.by_source)
      store.Add({{"source", source}}).Set(static_cast<double>(count));
  }

  void set_vectors(const live::VectorIndex::Status& status, double behind_seconds) {
    vectors.Add({{"state", "ready"}}).Set(static_cast<double>(status.posts));
    vectors.Add({{"state", "waiting"}}).Set(static_cast<double>(status.waiting));
    vectors_failed.Add({}).Set(static_cast<double>(status.failed));
    vectors_rate.Add({}).Set(status.per_second);
    vectors_behind.Add({}).Set(behind_seconds);
  }

  void set_engine(const infer::EngineStatus& status) {
    const auto set = [](Family<Gauge>& family, const char* state, size_t count) {
      family.Add({{"state", state}}).Set(static_cast<double>(count));
    };
    const auto raise = [this](const char* kind, uint64_t count) {
      Counter& total = engine_tokens.Add({{"kind", kind}});
      total.Increment(std::max(0.0, static_cast<double>(count) - total.Value()));
    };
    set(generations, "running", status.running);
    set(generations, "waiting", status.waiting);
    set(cache_pages, "used", status.cache_pages_used);
    set(cache_pages, "free", status.cache_pages - std::min(status.cache_pages, status.cache_pages_used));
    raise("prompt", status.prompt_tokens);
    raise("cached", status.cached_tokens);
    raise("completion", status.completion_tokens);
    raise("guessed", status.guessed_tokens);
  }
};

Metrics::Metrics(std::string_view version) : families_(std::make_unique<Families>()) {
  families_->build.Add({{"version", std::string(version)}}).Set(1);
}

Metrics::~Metrics() = default;

void Metrics::request(std::string_view route, int status, double seconds) {
  const std::string name(route);
  families_->requests.Add({{"route", name}, {"status", std::to_string(status)}}).Increment();
  families_->request_seconds.Add({{"route", name}}, kSeconds).Observe(seconds);
}

void Metrics::answer(std::string_view writer, double seconds, size_t prompt_tokens, size_t cached_tokens,
                     size_t completion_tokens) {
  const std::string name(writer);
  families_->answers.Add({{"writer", name}}).Increment();
  families_->answer_seconds.Add({{"writer", name}}, kSeconds).Observe(seconds);
  families_->tokens.Add({{"kind", "prompt"}}).Increment(static_cast<double>(prompt_tokens));
  families_->tokens.Add({{"kind", "cached"}}).Increment(static_cast<double>(cached_tokens));
  families_->tokens.Add({{"kind", "completion"}}).Increment(static_cast<double>(completion_tokens));
}

void Metrics::first_text(double seconds) { families_->first_text.Add({}, kSeconds).Observe(seconds); }

void Metrics::next_text(double seconds) { families_->next_text.Observe(seconds); }

void Metrics::ingest(const live::IngestResult& result) {
  const auto add = [&](const char* outcome, size_t count) {
    families_->posts.Add({{"outcome", outcome}}).Increment(static_cast<double>(count));
  };
  add("added", result.added);
  add("replaced", result.replaced);
  add("duplicate", result.duplicates);
  add("deleted", result.deleted);
}

std::string Metrics::text(const Gauges& gauges, const nlohmann::json& sources) {
  std::lock_guard lock(families_->scrape);
  families_->connections.Add({}).Set(static_cast<double>(gauges.connections));
  families_->feed_clients.Add({}).Set(static_cast<double>(gauges.feed_clients));
  families_->answering.Add({{"state", "running"}}).Set(static_cast<double>(gauges.answers_running));
  families_->answering.Add({{"state", "waiting"}}).Set(static_cast<double>(gauges.answers_waiting));
  families_->feed_age.Add({}).Set(gauges.feed_age_seconds);
  families_->set_store(gauges.store);
  if (gauges.vectors) families_->set_vectors(*gauges.vectors, gauges.vectors_behind_seconds);
  if (gauges.engine) families_->set_engine(*gauges.engine);
  auto all = families_->registry.Collect();
  for (auto& family : source_families(sources)) all.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace fathom::server
