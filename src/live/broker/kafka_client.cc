#include "live/broker/kafka_client.h"

#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "live/sources/config.h"
#ifdef FATHOM_KAFKA
#include "live/broker/kafka_handle.h"
#endif

namespace fathom::live {
namespace {

constexpr size_t kMostShares = 10'000;

size_t number_of(std::string_view text) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

void set_broker_option(std::string_view key, std::string_view value, KafkaOptions& options) {
  if (key == "topic") {
    options.topic = value;
  } else if (key == "share") {
    parse_share(value, options);
  } else if (key == "security") {
    options.security = value;
  } else if (key == "mechanism") {
    options.mechanism = value;
  } else if (key == "username") {
    options.username = value;
  } else if (key == "password") {
    options.password = read_secret(value);
  } else if (key == "ca") {
    options.ca_file = value;
  } else {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the broker's option '{}' is not topic, share, security, mechanism, username, "
                            "password or ca",
                            key));
  }
}

}  // namespace

void parse_share(std::string_view text, KafkaOptions& options) {
  const size_t slash = text.find('/');
  const size_t share = number_of(text.substr(0, slash));
  const size_t shares = slash == std::string_view::npos ? 0 : number_of(text.substr(slash + 1));
  if (share == 0 || shares == 0 || share > shares || shares > kMostShares)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is no share of a topic; write K/N with K from 1 to N, such as 2/3", text));
  options.share = share - 1;
  options.shares = shares;
}

KafkaOptions parse_broker(std::string_view text) {
  KafkaOptions options;
  for (const std::string_view part : split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals != std::string_view::npos)
      set_broker_option(part.substr(0, equals), part.substr(equals + 1), options);
    else if (!trim(part).empty())
      options.brokers += fmt::format("{}{}", options.brokers.empty() ? "" : ",", trim(part));
  }
  if (options.brokers.empty() || options.topic.empty())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' names no broker; write HOST:PORT,topic=NAME", text));
  return options;
}

#ifndef FATHOM_KAFKA

bool kafka_built() { return false; }

#else

bool kafka_built() { return true; }

void set_kafka(rd_kafka_conf_t* settings, const char* name, const std::string& value) {
  char why[256];
  if (rd_kafka_conf_set(settings, name, value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the broker's setting {} is refused: {}", name, why));
}

KafkaOwner<rd_kafka_conf_t> kafka_settings(const KafkaOptions& options) {
  KafkaOwner<rd_kafka_conf_t> settings(rd_kafka_conf_new());
  set_kafka(settings.get(), "bootstrap.servers", options.brokers);
  set_kafka(settings.get(), "client.id", "fathom");
  set_kafka(settings.get(), "security.protocol", options.security);
  if (options.security.starts_with("sasl")) {
    set_kafka(settings.get(), "sasl.mechanisms", options.mechanism);
    set_kafka(settings.get(), "sasl.username", options.username);
    set_kafka(settings.get(), "sasl.password", options.password);
  }
  if (!options.ca_file.empty()) set_kafka(settings.get(), "ssl.ca.location", options.ca_file);
  rd_kafka_conf_set_log_cb(settings.get(), [](const rd_kafka_t*, int, const char*, const char* line) {
    log().debug("kafka: {}", line);
  });
  return settings;
}

KafkaOwner<rd_kafka_t> open_kafka(rd_kafka_type_t type, KafkaOwner<rd_kafka_conf_t> settings) {
  char why[512];
  KafkaOwner<rd_kafka_t> kafka(rd_kafka_new(type, settings.get(), why, sizeof why));
  if (!kafka)
    throw Error(ErrorCode::kInvalidArgument, fmt::format("the broker's settings are refused: {}", why));
  settings.release();  // it is the handle's now
  return kafka;
}

Error kafka_error(const KafkaOptions& options, rd_kafka_resp_err_t error, std::string_view doing) {
  ErrorCode code = ErrorCode::kNetwork;
  if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) code = ErrorCode::kPermissionDenied;
  if (error == RD_KAFKA_RESP_ERR__AUTHENTICATION) code = ErrorCode::kUnauthenticated;
  if (error == RD_KAFKA_RESP_ERR__TIMED_OUT || error == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT)
    code = ErrorCode::kDeadlineExceeded;
  return Error(code, fmt::format("{} topic '{}' at {} failed: {}", doing, options.topic, options.brokers,
                                 rd_kafka_err2str(error)));
}

int32_t kafka_partitions(const KafkaOptions& options, rd_kafka_t* kafka, int timeout_ms) {
  const KafkaOwner<rd_kafka_topic_t> topic(rd_kafka_topic_new(kafka, options.topic.c_str(), nullptr));
  const rd_kafka_metadata_t* found = nullptr;
  const auto error = rd_kafka_metadata(kafka, 0, topic.get(), &found, timeout_ms);
  const KafkaOwner<const rd_kafka_metadata_t> metadata(found);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) throw kafka_error(options, error, "asking for");
  if (metadata->topic_cnt != 1) throw kafka_error(options, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, "asking for");
  const rd_kafka_metadata_topic_t& about = metadata->topics[0];
  if (about.err != RD_KAFKA_RESP_ERR_NO_ERROR) throw kafka_error(options, about.err, "asking for");
  if (about.partition_cnt == 0) throw kafka_error(options, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, "asking for");
  return about.partition_cnt;
}

#endif

}  // namespace fathom::live
