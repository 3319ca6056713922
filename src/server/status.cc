// GET /v1/status for the page, /healthz for watchdogs, /metrics for Prometheus.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/context.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

using nlohmann::json;

json store_json(const live::StoreStats& stats) {
  json by_source = json::object();
  for (const auto& [source, posts] : stats.by_source) by_source[source] = posts;
  return {{"posts", stats.posts},       {"last_sequence", stats.last_sequence},
          {"terms", stats.terms},       {"index_bytes", stats.index_bytes},
          {"ingested", stats.ingested}, {"by_source", std::move(by_source)}};
}

json model_json(const infer::Engine* engine) {
  if (engine == nullptr) return nullptr;
  const infer::ModelInfo& info = engine->info();
  return {{"name", info.name},
          {"architecture", info.architecture},
          {"quantisation", info.quantisation},
          {"parameters", info.parameters},
          {"file_bytes", info.file_bytes},
          {"context", info.context}};
}

json engine_json(const infer::Engine* engine) {
  if (engine == nullptr) return nullptr;
  const infer::EngineStatus status = engine->status();
  return {{"running", status.running},
          {"waiting", status.waiting},
          {"cache_pages", status.cache_pages},
          {"cache_pages_used", status.cache_pages_used},
          {"prompt_tokens", status.prompt_tokens},
          {"cached_tokens", status.cached_tokens},
          {"completion_tokens", status.completion_tokens},
          {"guessed_tokens", status.guessed_tokens}};
}

json embedder_json(const infer::Embedder* embedder) {
  if (embedder == nullptr) return nullptr;
  const infer::EmbedderInfo& info = embedder->info();
  return {{"name", info.name},
          {"architecture", info.architecture},
          {"dimensions", info.dimensions},
          {"context", info.context}};
}

json conversations_json(const Services& services) {
  json out = {{"kept", services.conversations != nullptr}};
  if (!services.conversations_problem.empty()) out["problem"] = services.conversations_problem;
  return out;
}

json status_json(const Context& context) {
  const Services& services = context.services;
  json writers = json::array({kExtractModel});
  if (services.engine != nullptr) writers.push_back(kGenerateModel);
  return {{"version", context.options.version},
          {"now", format_time(services.clock.now())},
          {"feed_time", format_time(services.store.feed_time())},
          {"fiction", services.fiction_feed},
          {"needs_key", context.needs_key()},
          {"model", model_json(services.engine)},
          {"engine", engine_json(services.engine)},
          {"embedding_model", embedder_json(services.embedder)},
          {"writers", std::move(writers)},
          {"store", store_json(services.store.stats())},
          {"sources", sources_json(services)},
          {"conversations", conversations_json(services)}};
}

void add_vectors(const Services& services, Metrics::Gauges& gauges) {
  gauges.vectors = services.vectors->status();
  if (gauges.vectors->waiting == 0) return;
  const uint64_t read =
      gauges.store.last_sequence - std::min(gauges.vectors->waiting, gauges.store.last_sequence);
  const auto next = services.store.tail(read, 1);
  if (next.empty()) return;
  const auto behind = services.clock.now() - next.front().post.received_at;
  gauges.vectors_behind_seconds = std::max(0.0, std::chrono::duration<double>(behind).count());
}

Response metrics_response(const Context& context) {
  Metrics::Gauges gauges = context.gauges();
  gauges.store = context.services.store.stats();
  if (const infer::Engine* engine = context.services.engine) gauges.engine = engine->status();
  if (context.services.vectors != nullptr) add_vectors(context.services, gauges);
  const auto age = context.services.clock.now() - context.services.store.feed_time();
  gauges.feed_age_seconds = std::chrono::duration<double>(age).count();
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = context.metrics.text(gauges, sources_json(context.services));
  return response;
}

}  // namespace

int64_t unix_seconds(const Clock& clock) {
  return std::chrono::duration_cast<std::chrono::seconds>(clock.now().time_since_epoch()).count();
}

std::string fingerprint(const Context& context) { return "fathom_" + context.options.version; }

json sources_json(const Services& services) {
  return services.sources_status ? services.sources_status() : json::array();
}

void add_status_routes(Router& router, const Context& context) {
  router.add({.method = "GET",
              .pattern = "/v1/status",
              .name = "status",
              .handler = [&context](const Request&, const std::shared_ptr<Reply>& reply) {
                reply->send(json_response(status_json(context)));
              }});
  router.add({.method = "GET",
              .pattern = "/metrics",
              .name = "metrics",
              .handler = [&context](const Request&, const std::shared_ptr<Reply>& reply) {
                reply->send(metrics_response(context));
              }});
  router.add({.method = "GET",
              .pattern = "/healthz",
              .name = "healthz",
              .lane = Lane::kInline,
              .open = true,
              .handler = [](const Request&, const std::shared_ptr<Reply>& reply) {
                reply->send(json_response({{"status", "ok"}}));
              }});
}

}  // namespace fathom::server
