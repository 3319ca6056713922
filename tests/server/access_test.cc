// Who may ask: keys, names, origins, addresses.
#include <gtest/gtest.h>

#include "server/fakes.h"

namespace fathom::server {
namespace {

TEST(Access, AnAddressThatOthersReachNeedsAKey) {
  for (const char* address : {"0.0.0.0", "::", "192.168.1.7", "::ffff:127.0.0.1"}) {
    TestServer server;
    server.options.address = address;
    try {
      server.start();
      FAIL() << "listened on " << address << " without a key";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find("API key"), std::string::npos) << error.what();
    }
  }
}

TEST(Access, WithAKeyAnyAddressAndAnyName) {
  TestServer server;
  server.options.address = "0.0.0.0";
  server.options.api_keys = {"k1", "k2"};
  const uint16_t port = server.start();
  EXPECT_EQ(server.server->url(), "http://127.0.0.1:" + std::to_string(port));
  EXPECT_EQ(get(port, "/v1/models", {{"Host", "fathom.example:80"}, {"Authorization", "Bearer k2"}}).status,
            200);
}

TEST(Access, NonsenseAddressesAndEmptyKeysAreRefused) {
  TestServer server;
  server.options.address = "not an address";
  EXPECT_THROW(server.start(), Error);
  server.options.address = "127.0.0.1";
  server.options.api_keys = {" "};
  EXPECT_THROW(server.start(), Error);
}

TEST(Access, KeysGuardTheApiButNotThePageAndTheWatchdog) {
  TestServer server;
  server.options.api_keys = {"right"};
  const uint16_t port = server.start();
  for (const char* path :
       {"/v1/models", "/v1/status", "/metrics", "/v1/search?q=a", "/v1/feed", "/v1/posts/x:1"}) {
    const Answer answer = get(port, path);
    EXPECT_EQ(answer.status, 401) << path;
    EXPECT_EQ(answer.error()["type"], "authentication_error");
    EXPECT_EQ(answer.error()["code"], "invalid_api_key");
    EXPECT_EQ(answer.header("www-authenticate").substr(0, 6), "Bearer");
  }
  EXPECT_EQ(get(port, "/healthz").status, 200);
  EXPECT_EQ(get(port, "/").status, 200);
  for (const char* wrong : {"Bearer wrong", "Bearer right2", "Bearer ", "Basic right", "right", ""})
    EXPECT_EQ(get(port, "/v1/models", {{"Authorization", wrong}}).status, 401) << wrong;
  EXPECT_EQ(get(port, "/v1/models", {{"Authorization", "bearer right"}}).status, 200);
}

TEST(Access, AWrongKeyIsRefusedBeforeTheBody) {
  TestServer server;
  server.options.api_keys = {"right"};
  Client client(server.start());
  client.send("POST /v1/posts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n");
  EXPECT_EQ(client.read().status, 401);
}

TEST(Access, OnLoopbackOnlyOwnNamesAreAnswered) {
  TestServer server;
  server.options.allowed_hosts = {"fathom.test"};
  const uint16_t port = server.start();
  const std::string number = std::to_string(port);
  for (const auto& host : {"localhost", "LOCALHOST", "127.0.0.1", "[::1]", "fathom.test", "localhost."})
    EXPECT_EQ(get(port, "/healthz", {{"Host", std::string(host) + ":" + number}}).status, 200) << host;
  for (const auto& host :
       {"evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "evil@localhost"}) {
    const Answer answer = get(port, "/v1/models", {{"Host", host}});
    EXPECT_EQ(answer.status, 403) << host;
    EXPECT_EQ(answer.error()["code"], "host_not_allowed");
  }
  EXPECT_EQ(get(port, "/", {{"Host", "evil.example"}}).status, 403);
}

TEST(Access, PagesOfOtherSitesChangeNothing) {
  TestServer server;
  const uint16_t port = server.start();
  const std::string own = "localhost:" + std::to_string(port);
  const std::string post = R"({"id":"1","text":"a"})";
  for (const auto& origin : {"http://evil.example", "null", "http://localhost:1", "file://"}) {
    const Answer answer = ask(port, "POST", "/v1/posts", {{"Host", own}, {"Origin", origin}}, post);
    EXPECT_EQ(answer.status, 403) << origin;
    EXPECT_EQ(answer.error()["code"], "origin_not_allowed");
  }
  EXPECT_EQ(server.store.stats().posts, 0u);
  EXPECT_EQ(ask(port, "POST", "/v1/posts", {{"Host", own}, {"Origin", "http://" + own}}, post).status, 200);
  const Answer read = get(port, "/v1/models", {{"Host", own}, {"Origin", "http://evil.example"}});
  EXPECT_EQ(read.header("access-control-allow-origin"), "");
  EXPECT_EQ(read.header("cross-origin-resource-policy"), "same-origin");
}

}  // namespace
}  // namespace fathom::server
