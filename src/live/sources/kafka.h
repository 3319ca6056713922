// Posts from a Kafka topic, as KafkaPublisher writes them (or anyone: normalised JSON, or the flat form of parse_post).
//
// The partitions of this replica's share are read from its own offsets, which are the cursor: {"topic", "offsets": {"0": 12}}.
// No consumer group is needed, so that a replica that starts again goes on exactly where its store is, and two replicas
// with the same share both hold all of it. Offsets that the topic no longer has are said and the oldest are taken;
// partitions that are added later are found within a minute.
#pragma once

#include <memory>
#include <string>

#include "live/broker/kafka_client.h"
#include "live/source.h"

namespace fathom::live {

/// Errors: kUnsupported (built without librdkafka). `run`: kNetwork, kUnauthenticated, kPermissionDenied.
std::unique_ptr<Source> make_kafka_source(const KafkaOptions& options, std::string name, const Clock& clock);

}  // namespace fathom::live
