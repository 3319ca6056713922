// A store whose posts go through a Kafka topic: `ingest` publishes, and every replica, this one too, takes them from there.
//
// What the other functions show is the inner store, which a Kafka source fills. So `ingest` returns when the brokers hold the
// posts, a moment before they can be found. Thread-safe.
#pragma once

#include "live/broker/forwarding_store.h"
#include "live/broker/kafka_publisher.h"

namespace fathom::live {

class PublishingStore final : public ForwardingStore {
 public:
  PublishingStore(Store& inner, KafkaPublisher& publisher) : ForwardingStore(inner), publisher_(publisher) {}

  /// What becomes of a post is known to the replicas alone: all count as added, orders to delete as deleted.
  IngestResult ingest(std::vector<Post> posts) override;
  void count(const std::vector<CountUpdate>& updates) override { publisher_.publish(updates); }

 private:
  KafkaPublisher& publisher_;
};

}  // namespace fathom::live
