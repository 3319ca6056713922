// Apache Kafka through librdkafka: options, handles and errors that the source and the publisher share.
//
// Only built with librdkafka (FATHOM_KAFKA); without it `kafka_built` is false and the makers throw kUnsupported.
// Plain values; handles belong to one object.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fathom::live {

struct KafkaOptions {
  std::string brokers;  // "host:port", several separated by commas
  std::string topic = "fathom-posts";
  // Of the topic's partitions those p with p % shares == share: what this replica holds.
  size_t share = 0, shares = 1;
  std::string security = "plaintext";  // plaintext, ssl, sasl_plaintext, sasl_ssl
  std::string mechanism = "PLAIN";     // of SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
  std::string username, password;
  std::string ca_file;  // PEM; empty: the system's certificates

  bool operator==(const KafkaOptions&) const = default;
};

/// Whether this program can speak to Kafka.
bool kafka_built();

/// "K/N", K from 1: the K-th of N shares. Errors: kInvalidArgument.
void parse_share(std::string_view text, KafkaOptions& options);

/// "HOST:PORT[,HOST:PORT...][,topic=T][,share=K/N][,security=S][,mechanism=M][,username=U][,password=SECRET][,ca=FILE]", where
/// SECRET is a reference as in sources/config.h. Errors: kInvalidArgument, kNotFound, kPermissionDenied (the secret).
KafkaOptions parse_broker(std::string_view text);

}  // namespace fathom::live
