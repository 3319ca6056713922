// librdkafka's objects with owners. Included only where librdkafka is.
#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>
#include <string>

#include "base/error.h"
#include "live/broker/kafka_client.h"

namespace fathom::live {

struct KafkaDelete {
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
  void operator()(rd_kafka_topic_partition_list_t* list) const {
    rd_kafka_topic_partition_list_destroy(list);
  }
  void operator()(const rd_kafka_metadata_t* metadata) const { rd_kafka_metadata_destroy(metadata); }
  void operator()(rd_kafka_t* kafka) const { rd_kafka_destroy(kafka); }
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
};
template <class T>
using KafkaOwner = std::unique_ptr<T, KafkaDelete>;

/// Connection, security and logging of `options`. Errors: kInvalidArgument (names the setting).
KafkaOwner<rd_kafka_conf_t> kafka_settings(const KafkaOptions& options);
void set_kafka(rd_kafka_conf_t* settings, const char* name, const std::string& value);

/// Takes the settings. Errors: kInvalidArgument.
KafkaOwner<rd_kafka_t> open_kafka(rd_kafka_type_t type, KafkaOwner<rd_kafka_conf_t> settings);

/// The sentence for a failure, with the code that says whether trying again may help.
Error kafka_error(const KafkaOptions& options, rd_kafka_resp_err_t error, std::string_view doing);

/// How many partitions the topic has. Errors: kNetwork (no broker answers; no such topic yet).
int32_t kafka_partitions(const KafkaOptions& options, rd_kafka_t* kafka, int timeout_ms);

}  // namespace fathom::live
