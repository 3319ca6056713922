// What the server counts, in the text format of Prometheus. Thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "answer/assistant.h"
#include "infer/engine.h"
#include "live/store.h"
#include "live/vectors/vectors.h"

namespace fathom::server {

class Metrics {
 public:
  explicit Metrics(std::string_view version);
  ~Metrics();

  void request(std::string_view route, int status, double seconds);
  void answer(std::string_view writer, double seconds, size_t prompt_tokens, size_t cached_tokens,
              size_t completion_tokens);
  void first_text(double seconds);
  /// Between two pieces of text of one generation.
  void next_text(double seconds);
  void ingest(const live::IngestResult& result);

  /// Read at each scrape.
  struct Gauges {
    size_t connections = 0, feed_clients = 0;
    size_t answers_running = 0, answers_waiting = 0;
    double feed_age_seconds = 0;  // now less the feed's clock
    live::StoreStats store;
    std::optional<infer::EngineStatus> engine;           // empty: there is none
    std::optional<live::VectorIndex::Status> vectors{};  // empty: there are none
    double vectors_behind_seconds = 0;  // since the oldest post that waits for its vector came
  };
  /// `sources`: the list of GET /v1/status. The whole exposition.
  std::string text(const Gauges& gauges, const nlohmann::json& sources);

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace fathom::server
