// HTTP itself: framing, limits, timeouts, what malformed requests get, how the server ends.
#include <gtest/gtest.h>

#include "server/fakes.h"

namespace fathom::server {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr std::string_view kHealth = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

TEST(Protocol, KeepsTheConnectionAndAnswersPipelinedRequestsInOrder) {
  TestServer server;
  Client client(server.start());
  std::string requests;
  for (int i = 0; i < 50; ++i)
    requests += request_text("GET", i % 2 == 0 ? "/healthz" : "/v1/models",
                             {{"X-Request-Id", "r" + std::to_string(i)}});
  client.send(requests);
  for (int i = 0; i < 50; ++i) {
    const Answer answer = client.read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.header("x-request-id"), "r" + std::to_string(i));
    EXPECT_EQ(answer.json().contains("status"), i % 2 == 0);
  }
}

TEST(Protocol, EveryAnswerHasARequestId) {
  TestServer server;
  const uint16_t port = server.start();
  EXPECT_EQ(get(port, "/healthz", {{"X-Request-Id", "abc-1.2_3"}}).header("x-request-id"), "abc-1.2_3");
  const Answer odd = get(port, "/nowhere", {{"X-Request-Id", "a b\tc"}});
  EXPECT_EQ(odd.status, 404);
  EXPECT_EQ(odd.header("x-request-id").substr(0, 4), "req_");
  EXPECT_NE(get(port, "/healthz").header("x-request-id"), get(port, "/healthz").header("x-request-id"));
}

TEST(Protocol, Http10ClosesUnlessAskedToStay) {
  TestServer server;
  const uint16_t port = server.start();
  Client closing(port);
  closing.send("GET /healthz HTTP/1.0\r\n\r\n");
  EXPECT_EQ(closing.read().header("connection"), "close");
  EXPECT_TRUE(closing.ends());
  Client staying(port);
  for (int i = 0; i < 2; ++i) {
    staying.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(staying.read().header("connection"), "keep-alive");
  }
}

TEST(Protocol, Http10StreamsAreNotChunkedAndEndWithTheConnection) {
  TestServer server;
  Client client(server.start());
  auto body = user_says("hello");
  body["stream"] = true;
  const std::string text = body.dump();
  client.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " +
              std::to_string(text.size()) + "\r\n\r\n" + text);
  const Answer answer = client.read();
  EXPECT_EQ(answer.header("transfer-encoding"), "");
  EXPECT_EQ(parse_events(answer.body).back().at("data"), "[DONE]");
}

TEST(Protocol, HeadHasTheHeadersOfGetAndNoBody) {
  TestServer server;
  Client client(server.start());
  client.send(request_text("HEAD", "/healthz") + std::string(kHealth));
  const Answer head = client.read(true);
  EXPECT_EQ(head.status, 200);
  const Answer full = client.read();
  EXPECT_EQ(head.header("content-length"), full.header("content-length"));
  client.send(request_text("HEAD", "/v1/feed") + std::string(kHealth));
  EXPECT_EQ(client.read(true).header("content-type"), "text/event-stream");
  EXPECT_EQ(client.read().status, 200);
}

TEST(Protocol, ExpectContinueIsAnsweredBeforeTheBody) {
  TestServer server;
  Client client(server.start());
  client.send(
      "POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 21\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read().status, 100);
  client.send(R"({"id":"1","text":"a"})");
  EXPECT_EQ(client.read().json()["added"], 1);
}

TEST(Protocol, ARefusalComesInsteadOfContinue) {
  TestServer server;
  server.options.limits.posts_body_bytes = 1000;
  Client client(server.start());
  client.send(
      "POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
  const Answer answer = client.read();
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.error()["code"], "body_too_large");
  EXPECT_TRUE(client.ends());
}

TEST(Protocol, ChunkedBodiesAreRead) {
  TestServer server;
  Client client(server.start());
  client.send("POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.send("8\r\n{\"id\":\"1\r\nd\r\n\",\"text\":\"a\"}\r\n0\r\n\r\n");
  EXPECT_EQ(client.read().json()["added"], 1);
  client.send(kHealth);
  EXPECT_EQ(client.read().status, 200);
}

TEST(Protocol, AChunkedBodyThatGrowsTooLargeIsRefused) {
  TestServer server;
  server.options.limits.posts_body_bytes = 10'000;
  Client client(server.start());
  client.send("POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "400\r\n" + std::string(1024, ' ') + "\r\n";
  for (int i = 0; i < 20; ++i) client.send(chunk);
  EXPECT_EQ(client.read().status, 413);
}

TEST(Protocol, AllBodiesTogetherAreBounded) {
  TestServer server;
  server.options.limits.all_body_bytes = 50'000;
  Gate started, release;
  server.assistant.script = [&](const answer::Request&, const answer::Events& events,
                                const std::stop_token& stop) {
    started.open();
    release.wait(stop);
    return cited_answer(events);
  };
  const uint16_t port = server.start();
  Client holder(port);
  holder.send(request_text("POST", "/v1/chat/completions", {{"Content-Type", "application/json"}},
                           user_says(std::string(40'000, 'a')).dump()));
  ASSERT_TRUE(started.wait());
  const std::string body(20'000, ' ');
  const Answer refused = ask(port, "POST", "/v1/posts", {}, body);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("retry-after"), "1");
  release.open();
  EXPECT_EQ(holder.read().status, 200);
  Answer taken;
  for (int tries = 0; tries < 1000 && taken.status != 400; ++tries)  // until the bytes are given back
    taken = ask(port, "POST", "/v1/posts", {}, body);
  EXPECT_EQ(taken.error()["code"], "empty_body");
}

TEST(Protocol, MalformedRequestsGetASentence) {
  TestServer server;
  const uint16_t port = server.start();
  const std::vector<std::pair<std::string, int>> cases = {
      {"nonsense\r\n\r\n", 400},
      {"GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n", 400},
      {"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505},
      {"GET /healthz HTTP/1.1\r\n\r\n", 400},
      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"GET /v1/search?q=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na",
       415},
      {"POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\nContent-Length: 1\r\n\r\na", 417},
      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n", 431},
      {"GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431},
  };
  for (const auto& [request, status] : cases) {
    Client client(port);
    client.send(request);
    const Answer answer = client.read();
    EXPECT_EQ(answer.status, status) << request.substr(0, 80);
    EXPECT_FALSE(answer.error()["message"].get<std::string>().empty()) << request.substr(0, 80);
    EXPECT_EQ(answer.error()["type"], status >= 500 ? "server_error" : "invalid_request_error");
  }
  EXPECT_EQ(get(port, "/healthz").status, 200);
}

TEST(Protocol, AbsoluteTargetsAreTaken) {
  TestServer server;
  Client client(server.start());
  client.send("GET http://localhost/healthz HTTP/1.1\r\nHost: elsewhere\r\n\r\n");
  EXPECT_EQ(client.read().status, 200);
}

TEST(Protocol, UnknownAddressesAndMethods) {
  TestServer server;
  const uint16_t port = server.start();
  const Answer unknown = get(port, "/v2/chat");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.error()["code"], "unknown_url");
  const Answer wrong = ask(port, "DELETE", "/v1/posts");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.header("allow"), "POST, OPTIONS");
  const Answer options = ask(port, "OPTIONS", "/v1/models");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.header("allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(options.header("access-control-allow-origin"), "");
}

TEST(Protocol, ARefusedBodyDoesNotResetTheConnectionUnderItsAnswer) {
  TestServer server;
  server.options.limits.posts_body_bytes = 1000;
  Client client(server.start());
  const std::string body(600'000, 'x');
  client.send(request_text("POST", "/v1/posts", {}, body));
  EXPECT_EQ(client.read().status, 413);
}

TEST(Protocol, SlowHeadersTimeOut) {
  TestServer server;
  server.options.limits.header_timeout = milliseconds(100);
  Client client(server.start());
  client.send("GET /healthz HTTP/1.1\r\nHost: loc");
  EXPECT_EQ(client.read().status, 408);
  EXPECT_TRUE(client.ends());
}

TEST(Protocol, SlowBodiesTimeOut) {
  TestServer server;
  server.options.limits.body_timeout = milliseconds(100);
  Client client(server.start());
  client.send("POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
  const Answer answer = client.read();
  EXPECT_EQ(answer.status, 408);
  EXPECT_EQ(answer.error()["code"], "request_timeout");
}

TEST(Protocol, IdleConnectionsAreClosedWithoutAWord) {
  TestServer server;
  server.options.limits.idle_timeout = milliseconds(50);
  Client client(server.start());
  EXPECT_TRUE(client.ends());
}

TEST(Protocol, TooManyConnectionsAreTold) {
  TestServer server;
  server.options.limits.connections = 3;
  const uint16_t port = server.start();
  std::vector<std::unique_ptr<Client>> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(std::make_unique<Client>(port));
    held.back()->send(kHealth);
    EXPECT_EQ(held.back()->read().status, 200);
  }
  Client refused(port);
  const Answer answer = refused.read();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.error()["code"], "too_many_connections");
  held.clear();
  int status = 0;
  for (int tries = 0; tries < 1000 && status != 200; ++tries) {
    try {
      status = get(port, "/healthz").status;
    } catch (const std::exception&) {  // a refusal that was reset
    }
  }
  EXPECT_EQ(status, 200);
}

TEST(Protocol, AnswersToOldFashionedHalfClosedClients) {
  TestServer server;
  Client client(server.start());
  client.send(kHealth);
  client.half_close();
  EXPECT_EQ(client.read().status, 200);
  EXPECT_TRUE(client.ends());
}

TEST(Protocol, ABusyPortIsLeftForTheNextUnlessItWasAskedFor) {
  TestServer first;
  const uint16_t port = first.start();
  TestServer second;
  second.options.port = port;
  const uint16_t other = second.start();
  EXPECT_GT(other, port);
  EXPECT_LE(other, port + 20);
  EXPECT_EQ(get(other, "/healthz").status, 200);
  TestServer third;
  third.options.port = port;
  third.options.port_fixed = true;
  try {
    third.start();
    FAIL() << "took a busy port";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
    EXPECT_NE(std::string(error.what()).find(std::to_string(port)), std::string::npos);
  }
}

TEST(Protocol, StopLetsARunningAnswerFinishAndTakesNoMore) {
  TestServer server;
  Gate started, release;
  server.assistant.script = [&](const answer::Request&, const answer::Events& events,
                                const std::stop_token& stop) {
    started.open();
    release.wait(stop);
    return cited_answer(events);
  };
  const uint16_t port = server.start();
  Client idle(port);
  Client busy(port);
  busy.send(request_text("POST", "/v1/chat/completions", {{"Content-Type", "application/json"}},
                         user_says("hello").dump()));
  ASSERT_TRUE(started.wait());
  server.server->stop();
  EXPECT_TRUE(idle.ends());
  Client late(port);
  late.send(request_text("GET", "/healthz"));
  const Answer refused = late.read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.error()["code"], "shutting_down");
  EXPECT_FALSE(refused.header("retry-after").empty());
  EXPECT_TRUE(late.ends());
  release.open();
  const Answer answer = busy.read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(busy.ends());
  server.stop();
  EXPECT_THROW(get(port, "/healthz"), std::runtime_error);
}

TEST(Protocol, StopEndsWhatDoesNotFinishInTime) {
  TestServer server;
  server.options.limits.drain = milliseconds(50);
  Gate started, never;
  server.assistant.script = [&](const answer::Request&, const answer::Events&, const std::stop_token& stop) {
    started.open();
    never.wait(stop);
    answer::Answer cut;
    cut.finish = infer::FinishReason::kCancelled;
    return cut;
  };
  Client client(server.start());
  client.send(request_text("POST", "/v1/chat/completions", {{"Content-Type", "application/json"}},
                           user_says("hello").dump()));
  ASSERT_TRUE(started.wait());
  const auto before = SteadyClock::now();
  server.stop();
  EXPECT_LT(SteadyClock::now() - before, std::chrono::seconds(8));
  EXPECT_EQ(client.read().status, 503);
}

TEST(Protocol, AServerThatNeverRanEndsQuietly) {
  TestServer server;
  server.services = std::make_unique<Services>(Services{
      .store = server.store, .assistant = server.assistant, .clock = server.clock, .sources_status = {}});
  server.server = Server::create(server.options, *server.services);
  Client waiting(server.port());
  server.server.reset();
  EXPECT_TRUE(waiting.ends());
}

}  // namespace
}  // namespace fathom::server
