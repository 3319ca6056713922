#include "server/metrics.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace fathom::server {
namespace {

void expect_lines(const std::string& text, std::initializer_list<const char*> lines) {
  for (const char* line : lines)
    EXPECT_NE(("\n" + text).find("\n" + std::string(line) + "\n"), std::string::npos) << line << "\n" << text;
}

TEST(Metrics, TellOfTheStore) {
  Metrics metrics("1");
  Metrics::Gauges gauges;
  gauges.store.sealed_segments = 3;
  gauges.store.sealed_bytes = 4096;
  gauges.store.log_bytes = 512;
  gauges.store.dropped = 7;
  gauges.store.damaged_records = 2;
  expect_lines(metrics.text(gauges, nlohmann::json::array()),
               {"fathom_store_segments 3", "fathom_store_segment_bytes 4096", "fathom_store_log_bytes 512",
                "fathom_store_dropped_posts 7", "fathom_store_damaged_records 2"});
}

TEST(Metrics, TellOfTheVectorsWhereThereAreSome) {
  Metrics metrics("1");
  Metrics::Gauges gauges;
  EXPECT_EQ(metrics.text(gauges, nlohmann::json::array()).find("fathom_vectors{"), std::string::npos);
  gauges.vectors = live::VectorIndex::Status{};
  gauges.vectors->posts = 90;
  gauges.vectors->waiting = 10;
  gauges.vectors->failed = 1;
  gauges.vectors->per_second = 2.5;
  gauges.vectors_behind_seconds = 4;
  expect_lines(
      metrics.text(gauges, nlohmann::json::array()),
      {"fathom_vectors{state=\"ready\"} 90", "fathom_vectors{state=\"waiting\"} 10",
       "fathom_vectors_failed 1", "fathom_vectors_per_second 2.5", "fathom_vectors_behind_seconds 4"});
}

}  // namespace
}  // namespace fathom::server
