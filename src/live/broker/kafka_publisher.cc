#include "live/broker/kafka_publisher.h"

#include <fmt/format.h>

#include "base/error.h"
#ifdef FATHOM_KAFKA
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "live/broker/kafka_handle.h"
#endif

namespace fathom::live {

#ifndef FATHOM_KAFKA

std::unique_ptr<KafkaPublisher> KafkaPublisher::open(const KafkaOptions&) {
  throw Error(ErrorCode::kUnsupported,
              "this program was built without Kafka; install librdkafka-dev and build it again");
}

#else

namespace {

constexpr int kPollMillis = 100;
constexpr int kFlushMillis = 2000;

/// One call of `publish`: what is still on its way, and what went wrong first.
class Delivery {
 public:
  void start(size_t messages) { left_ = messages; }

  void finish(rd_kafka_resp_err_t error) {
    const std::lock_guard lock(mutex_);
    if (error_ == RD_KAFKA_RESP_ERR_NO_ERROR) error_ = error;
    if (--left_ == 0) done_.notify_all();
  }

  rd_kafka_resp_err_t wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });  // the producer ends every message by its deadline
    return error_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  size_t left_ = 0;
  rd_kafka_resp_err_t error_ = RD_KAFKA_RESP_ERR_NO_ERROR;
};

class Publisher final : public KafkaPublisher {
 public:
  explicit Publisher(const KafkaOptions& options) : options_(options) {
    auto settings = kafka_settings(options);
    for (const auto& [name, value] : {std::pair{"acks", "all"},
                                      {"enable.idempotence", "true"},
                                      {"delivery.timeout.ms", "30000"},
                                      {"linger.ms", "2"},
                                      {"compression.type", "lz4"},
                                      {"partitioner", "murmur2"},
                                      {"queue.buffering.max.messages", "200000"}})
      set_kafka(settings.get(), name, value);
    rd_kafka_conf_set_dr_msg_cb(settings.get(), [](rd_kafka_t*, const rd_kafka_message_t* message, void*) {
      static_cast<Delivery*>(message->_private)->finish(message->err);
    });
    kafka_ = open_kafka(RD_KAFKA_PRODUCER, std::move(settings));
    topic_.reset(rd_kafka_topic_new(kafka_.get(), options.topic.c_str(), nullptr));
    if (!topic_) throw kafka_error(options, rd_kafka_last_error(), "publishing to");
    poller_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) rd_kafka_poll(kafka_.get(), kPollMillis);
    });
  }

  ~Publisher() override {
    rd_kafka_flush(kafka_.get(), kFlushMillis);
    poller_.request_stop();
    poller_.join();
  }

  void publish(std::span<const Post> posts) override {
    for (size_t i = 0; i < posts.size(); ++i) {
      try {
        validate(posts[i]);
      } catch (const Error& error) {
        throw Error(error.code(), fmt::format("post {} of {}: {}", i + 1, posts.size(), error.what()));
      }
    }
    send_all(posts, [](const Post& post) { return std::pair(post.key(), to_json(post)); });
  }

  void publish(std::span<const CountUpdate> updates) override {
    send_all(updates, [](const CountUpdate& update) {
      return std::pair(update.key, nlohmann::json{{"count", update.key},
                                                  {"likes", update.change.likes},
                                                  {"reposts", update.change.reposts},
                                                  {"replies", update.change.replies}});
    });
  }

 private:
  /// `message` makes key and value of an entry.
  template <class Entries, class Message>
  void send_all(const Entries& entries, Message&& message) {
    if (entries.empty()) return;
    Delivery delivery;
    delivery.start(entries.size());
    for (const auto& entry : entries) {
      const auto made = message(entry);
      send(made.first, made.second.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), delivery);
    }
    if (const auto error = delivery.wait(); error != RD_KAFKA_RESP_ERR_NO_ERROR)
      throw kafka_error(options_, error, "publishing to");
  }

  /// Hands one message over; one that cannot be is finished with its error.
  void send(const std::string& key, const std::string& value, Delivery& delivery) {
    for (;;) {
      if (rd_kafka_produce(topic_.get(), RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                           const_cast<char*>(value.data()), value.size(), key.data(), key.size(),
                           &delivery) == 0)
        return;
      const auto error = rd_kafka_last_error();
      if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) return delivery.finish(error);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // until the poller has made room
    }
  }

  const KafkaOptions options_;
  KafkaOwner<rd_kafka_t> kafka_;
  KafkaOwner<rd_kafka_topic_t> topic_;
  std::jthread poller_;
};

}  // namespace

std::unique_ptr<KafkaPublisher> KafkaPublisher::open(const KafkaOptions& options) {
  return std::make_unique<Publisher>(options);
}

#endif

}  // namespace fathom::live
