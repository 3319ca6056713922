#include "live/sources/kafka.h"

#include <fmt/format.h>

#include "base/error.h"
#include "live/sources/config.h"
#ifdef FATHOM_KAFKA
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/random.h"
#include "live/broker/kafka_handle.h"
#endif

namespace fathom::live {

#ifndef FATHOM_KAFKA

std::unique_ptr<Source> make_kafka_source(const KafkaOptions&, std::string, const Clock&) {
  throw Error(ErrorCode::kUnsupported,
              "this program was built without Kafka; install librdkafka-dev and build it again");
}

std::vector<SourceKind> kafka_kinds() { return {}; }

#else

namespace {

using nlohmann::json;

constexpr int kWaitMillis = 250;
constexpr int kMetadataMillis = 10'000;
constexpr size_t kBatch = 1000;
constexpr auto kPartitionCheck = std::chrono::seconds(60);

/// The next offset of each partition.
using Offsets = std::map<int32_t, int64_t>;

std::string write_cursor(const std::string& topic, const Offsets& offsets) {
  json out = {{"topic", topic}, {"offsets", json::object()}};
  for (const auto& [partition, offset] : offsets) out["offsets"][std::to_string(partition)] = offset;
  return out.dump();
}

/// What cannot be read, or is another topic's, is no cursor: everything is read again, and known posts are recognised.
Offsets read_cursor(const std::string& text, const std::string& topic) {
  Offsets offsets;
  const json cursor = json::parse(text, nullptr, false);
  if (!cursor.is_object() || cursor.value("topic", json()) != topic) return offsets;
  const json entries = cursor.value("offsets", json::object());
  for (const auto& [partition, offset] : entries.items()) {
    const int number = std::atoi(partition.c_str());
    if (offset.is_number_integer() && offset.get<int64_t>() >= 0 && number >= 0)
      offsets[number] = offset.get<int64_t>();
  }
  return offsets;
}

class KafkaSource final : public Source {
 public:
  KafkaSource(const KafkaOptions& options, std::string name, const Clock& clock)
      : options_(options), name_(std::move(name)), clock_(clock) {}

  std::string_view name() const override { return name_; }

  void run(Sink& sink, const std::stop_token& stop) override {
    Reading reading(*this, sink);
    reading.run(stop);
  }

 private:
  /// One connection.
  class Reading {
   public:
    Reading(const KafkaSource& source, Sink& sink)
        : source_(source), sink_(sink), offsets_(read_cursor(sink.cursor(), source.options_.topic)) {
      auto settings = kafka_settings(source.options_);
      // Offsets are the store's affair; a group of one's own name is only what `assign` asks for.
      set_kafka(settings.get(), "group.id", fmt::format("fathom-{:016x}", Random(seed()).next()));
      set_kafka(settings.get(), "enable.auto.commit", "false");
      set_kafka(settings.get(), "enable.auto.offset.store", "false");
      set_kafka(settings.get(), "auto.offset.reset", "error");
      set_kafka(settings.get(), "enable.partition.eof", "true");
      set_kafka(settings.get(), "isolation.level", "read_committed");
      kafka_ = open_kafka(RD_KAFKA_CONSUMER, std::move(settings));
      rd_kafka_poll_set_consumer(kafka_.get());
    }
    ~Reading() {
      queue_.reset();
      rd_kafka_consumer_close(kafka_.get());
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

    void run(const std::stop_token& stop) {
      assign(kafka_partitions(options(), kafka_.get(), kMetadataMillis));
      queue_.reset(rd_kafka_queue_get_consumer(kafka_.get()));
      Time checked = source_.clock_.now();
      while (!stop.stop_requested()) {
        if (!read_batch()) return;
        if (source_.clock_.now() - checked < kPartitionCheck) continue;
        checked = source_.clock_.now();
        const int32_t partitions = kafka_partitions(options(), kafka_.get(), kMetadataMillis);
        if (partitions != partitions_) assign(partitions);
      }
    }

   private:
    uint64_t seed() const {
      return static_cast<uint64_t>(source_.clock_.now().time_since_epoch().count()) ^
             reinterpret_cast<uintptr_t>(this);
    }
    const KafkaOptions& options() const { return source_.options_; }

    void assign(int32_t partitions) {
      partitions_ = partitions;
      at_end_.clear();
      mine_ = 0;
      const KafkaOwner<rd_kafka_topic_partition_list_t> list(rd_kafka_topic_partition_list_new(partitions));
      for (int32_t partition = 0; partition < partitions; ++partition) {
        if (static_cast<size_t>(partition) % options().shares != options().share) continue;
        ++mine_;
        auto* entry = rd_kafka_topic_partition_list_add(list.get(), options().topic.c_str(), partition);
        const auto known = offsets_.find(partition);
        entry->offset = known == offsets_.end() ? RD_KAFKA_OFFSET_BEGINNING : known->second;
      }
      if (mine_ == 0)
        throw Error(
            ErrorCode::kInvalidArgument,
            fmt::format("topic '{}' has {} partitions, so that share {}/{} is empty; use fewer shares",
                        options().topic, partitions, options().share + 1, options().shares));
      const auto error = rd_kafka_assign(kafka_.get(), list.get());
      if (error != RD_KAFKA_RESP_ERR_NO_ERROR) throw kafka_error(options(), error, "reading");
    }

    /// False when the source is to stop.
    bool read_batch() {
      std::array<rd_kafka_message_t*, kBatch> messages{};
      const ssize_t count = rd_kafka_consume_batch_queue(queue_.get(), kWaitMillis, messages.data(), kBatch);
      bool more = true, read = false;
      for (ssize_t i = 0; i < count; ++i) {
        const KafkaOwner<rd_kafka_message_t> message(messages[static_cast<size_t>(i)]);
        if (!more) continue;  // only to free it; it will be read again
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
          handle(*message);
          continue;
        }
        more = take(*message);
        if (!more) continue;
        offsets_[message->partition] = message->offset + 1;
        read = true;
      }
      if (read) sink_.advance(write_cursor(options().topic, offsets_));
      return more;
    }

    bool take(const rd_kafka_message_t& message) {
      at_end_.erase(message.partition);
      if (message.payload == nullptr)
        return true;  // a tombstone of a compacted topic says nothing about its time
      const std::string_view value(static_cast<const char*>(message.payload), message.len);
      if (value.starts_with(R"({"count":)")) return take_count(message, value);
      Post post;
      try {
        post = parse_post(value, source_.clock_.now(), source_.name_);
        validate(post);
      } catch (const Error& error) {
        reject(message, error.what());
        return true;
      }
      return sink_.deliver(std::move(post));
    }

    bool take_count(const rd_kafka_message_t& message, std::string_view value) {
      const json update = json::parse(value, nullptr, false);
      if (!update.is_object() || !update["count"].is_string()) {
        reject(message, "no counts of a post");
        return true;
      }
      const auto number = [&](const char* name) -> int32_t {
        if (!update.contains(name) || !update[name].is_number_integer()) return 0;
        return static_cast<int32_t>(std::clamp<int64_t>(update[name].get<int64_t>(), INT32_MIN, INT32_MAX));
      };
      sink_.count(update["count"].get<std::string>(),
                  {.likes = number("likes"), .reposts = number("reposts"), .replies = number("replies")});
      return true;
    }

    void reject(const rd_kafka_message_t& message, std::string_view why) {
      sink_.reject(fmt::format("partition {}, offset {}: {}", message.partition, message.offset, why));
    }

    void handle(const rd_kafka_message_t& message) {
      switch (message.err) {
        case RD_KAFKA_RESP_ERR__PARTITION_EOF:
          at_end_.insert(message.partition);
          if (at_end_.size() == mine_) sink_.set_live();
          return;
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
          sink_.warn(fmt::format("partition {} no longer has offset {}; going on from the oldest it has",
                                 message.partition, offsets_[message.partition]));
          offsets_.erase(message.partition);
          return assign(partitions_);
        case RD_KAFKA_RESP_ERR__TRANSPORT:
        case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        case RD_KAFKA_RESP_ERR__RESOLVE:
          return sink_.warn(rd_kafka_message_errstr(&message));  // librdkafka connects again by itself
        default: throw kafka_error(options(), message.err, "reading");
      }
    }

    const KafkaSource& source_;
    Sink& sink_;
    Offsets offsets_;
    KafkaOwner<rd_kafka_t> kafka_;
    KafkaOwner<rd_kafka_queue_t> queue_;
    int32_t partitions_ = 0;
    size_t mine_ = 0;
    std::set<int32_t> at_end_;
  };

  const KafkaOptions options_;
  const std::string name_;
  const Clock& clock_;
};

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  KafkaOptions options;
  options.brokers = spec.option("brokers");
  std::replace(options.brokers.begin(), options.brokers.end(), '\n', ',');
  if (const auto topic = spec.option("topic"); !topic.empty()) options.topic = topic;
  if (const auto share = spec.option("share"); !share.empty()) parse_share(share, options);
  if (const auto security = spec.option("security"); !security.empty()) options.security = security;
  if (const auto mechanism = spec.option("mechanism"); !mechanism.empty()) options.mechanism = mechanism;
  options.username = spec.option("username");
  if (const auto password = spec.option("password"); !password.empty())
    options.password = read_secret(password);
  options.ca_file = spec.option("ca");
  return make_kafka_source(options, spec.name, context.clock);
}

}  // namespace

std::unique_ptr<Source> make_kafka_source(const KafkaOptions& options, std::string name, const Clock& clock) {
  return std::make_unique<KafkaSource>(options, std::move(name), clock);
}

std::vector<SourceKind> kafka_kinds() {
  SourceKind kafka;
  kafka.name = "kafka";
  kafka.summary = "A topic of Apache Kafka with posts as JSON, as 'fathom serve --broker' writes it";
  const auto option = [&](std::string_view name, std::string_view help,
                          std::string_view example) -> SourceOption& {
    SourceOption& added = kafka.options.emplace_back();
    added.name = name;
    added.help = help;
    added.example = example;
    return added;
  };
  SourceOption& brokers = option("brokers", "Brokers to begin with", "kafka1:9092");
  brokers.required = brokers.list = true;
  option("topic", "Topic to read; default fathom-posts", "posts");
  option("share", "The K-th of N shares of the topic's partitions; default all", "1/2");
  option("security", "plaintext, ssl, sasl_plaintext or sasl_ssl", "sasl_ssl");
  option("mechanism", "Of SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "SCRAM-SHA-512");
  option("username", "Of SASL", "fathom");
  option("password", "Of SASL", "$KAFKA_PASSWORD").secret = true;
  option("ca", "Certificates to trust, a PEM file; default the system's", "/etc/ssl/kafka.pem");
  kafka.make = make_from_spec;
  return {kafka};
}

#endif

}  // namespace fathom::live
