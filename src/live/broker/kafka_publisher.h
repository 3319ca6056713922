// Posts to a Kafka topic, for replicas to read (sources/kafka.h).
//
// A message is a post as normalised JSON, or {"count": KEY, "likes", "reposts", "replies"} for counts that come later; its key
// is the post's, so that a post, its edits, counts and deletion lie in one partition, in order (partitions by murmur2 of the
// key, as Java clients do it). The producer is idempotent and waits for all replicas in
// sync (acks=all), so that what was acknowledged survives the loss of a broker as the topic's settings promise.
//
// Ownership: owns its connection and one thread. Thread-safe.
#pragma once

#include <memory>
#include <span>

#include "live/broker/kafka_client.h"
#include "live/post.h"
#include "live/store.h"

namespace fathom::live {

class KafkaPublisher {
 public:
  /// Errors: kUnsupported (built without librdkafka), kInvalidArgument.
  static std::unique_ptr<KafkaPublisher> open(const KafkaOptions& options);
  virtual ~KafkaPublisher() = default;

  /// Returns when the brokers hold all of `posts`. After an error some may have been written: publishing all of them again
  /// is right, replicas recognise what they know. Errors: kInvalidArgument (a post that must not enter: none is written),
  /// kDeadlineExceeded (30 s), kNetwork, kUnauthenticated, kPermissionDenied, kResourceExhausted (message too large).
  virtual void publish(std::span<const Post> posts) = 0;
  virtual void publish(std::span<const CountUpdate> updates) = 0;
};

}  // namespace fathom::live
