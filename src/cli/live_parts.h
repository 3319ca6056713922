// The live floor of an instance: the store and all that stands around it, opened in the order in which one needs another.
//
// Ownership: owns everything it opens; clock, transport and embedder outlive it. Not thread-safe; the parts are.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "infer/embedder.h"
#include "live/broker/kafka_publisher.h"
#include "live/broker/publishing_store.h"
#include "live/broker/replicas.h"
#include "live/source.h"
#include "live/store.h"
#include "live/trends/standing.h"
#include "live/trends/trends.h"
#include "live/vectors/vectors.h"

namespace fathom::cli {

struct LiveOptions {
  std::optional<std::chrono::hours> keep_for{};
  std::optional<uint64_t> keep_bytes{};
  size_t segment_posts = 1'000'000;   // a segment is written at so many posts
  std::string broker;                 // live::parse_broker; empty: none
  std::vector<std::string> replicas;  // addresses of the others
  std::string replica_key;            // their API key
  bool meaning = true;                // search by meaning where there is an embedding model
  bool private_webhooks = false;      // webhooks may go to this machine and its network
};

class LiveParts {
 public:
  /// `folder`: of the posts and what belongs to them. Errors: those of the parts.
  LiveParts(const LiveOptions& options, const std::filesystem::path& folder, Transport& transport,
            const Clock& clock);
  ~LiveParts();
  LiveParts(const LiveParts&) = delete;
  LiveParts& operator=(const LiveParts&) = delete;

  /// What this machine holds.
  live::Store& own() { return *own_; }
  /// What is searched, asked and posted to: all replicas, through the broker, where there are such.
  live::Store& all() { return replicas_ ? *replicas_ : published(); }
  /// Sources deliver here.
  live::SourceRunner& runner() { return *runner_; }
  live::Trends& trends() { return *trends_; }
  live::StandingQueries& standing() { return *standing_; }
  live::VectorIndex* vectors() { return vectors_.get(); }

  /// The broker's source among them.
  std::vector<live::SourceStatus> sources() const;

  /// Embeds posts with `model` from now on, slowly while `busy`.
  void embed_with(infer::Embedder& model, std::function<bool()> busy);
  /// Ends the sources and all that reads the store. Idempotent.
  void stop();

 private:
  live::Store& published() { return published_ ? *published_ : *own_; }

  const LiveOptions options_;
  const std::filesystem::path folder_;
  std::unique_ptr<live::Store> own_;
  std::unique_ptr<live::KafkaPublisher> publisher_;
  std::unique_ptr<live::PublishingStore> published_;
  std::unique_ptr<live::Replicas> replicas_;
  std::unique_ptr<live::CursorStore> cursors_;
  std::unique_ptr<live::SourceRunner> runner_;
  std::unique_ptr<live::SourceRunner> from_broker_;  // fills `own_`
  std::unique_ptr<live::Trends> trends_;
  std::unique_ptr<live::StandingQueries> standing_;
  std::unique_ptr<live::TextEmbedder> embedder_;
  std::unique_ptr<live::VectorIndex> vectors_;
};

}  // namespace fathom::cli
