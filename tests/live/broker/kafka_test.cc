// Kafka without a broker: options and shares. tests/e2e/kafka.test.mjs starts a real one.
#include <gtest/gtest.h>

#include "base/error.h"
#include "live/broker/kafka_client.h"

namespace fathom::live {
namespace {

TEST(KafkaOptions, ABrokerIsNamedWithItsTopicAndShare) {
  const KafkaOptions options = parse_broker("one:9092,two:9092,topic=posts,share=2/3");
  EXPECT_EQ(options.brokers, "one:9092,two:9092");
  EXPECT_EQ(options.topic, "posts");
  EXPECT_EQ(options.share, 1u);
  EXPECT_EQ(options.shares, 3u);
  EXPECT_EQ(parse_broker("one:9092").topic, "fathom-posts");
}

TEST(KafkaOptions, WhatIsNoBrokerIsRefusedWithASentence) {
  for (const char* text : {"", "topic=posts", "one:9092,share=0/2", "one:9092,share=3/2", "one:9092,share=1",
                           "one:9092,share=1/x", "one:9092,shares=1/2", "one:9092,topic="})
    EXPECT_THROW(parse_broker(text), Error) << text;
}

TEST(KafkaOptions, ASecretInTheOpenIsRefused) {
  try {
    parse_broker("one:9092,security=sasl_ssl,username=u,password=open-sesame");
    FAIL() << "the secret was taken";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("open-sesame"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fathom::live
