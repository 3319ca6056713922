#include "base/websocket.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/error.h"
#include "base/url.h"
#include "support/feed_server.h"
#include "support/tls_server.h"

namespace fathom {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::FeedConnection;
using test::FeedServer;
using Steady = std::chrono::steady_clock;

WebSocketRequest to(const FeedServer& server) {
  WebSocketRequest request;
  request.url = server.ws_url("/stream?a=1");
  request.connect_timeout = 10s;
  request.silence = 10s;
  return request;
}

template <class Act>
std::string refusal(ErrorCode code, Act act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

class WebSocketTest : public ::testing::Test {
 protected:
  std::unique_ptr<WebSocket> connect(const WebSocketRequest& request) {
    return sockets_->connect(request, stop_.get_token());
  }
  std::unique_ptr<WebSocket> connect(const FeedServer& server) { return connect(to(server)); }

  std::unique_ptr<WebSockets> sockets_ = make_web_sockets();
  std::stop_source stop_;
};

TEST(ParseWebSocketUrl, TakesAddressesApart) {
  const Url url = parse_web_socket_url("WSS://Example.org/a?b=c");
  EXPECT_EQ(url.scheme, "wss");
  EXPECT_EQ(url.authority(), "example.org");
  EXPECT_EQ(url.target, "/a?b=c");
  EXPECT_EQ(url.port, "443");
  EXPECT_EQ(parse_web_socket_url("ws://[::1]:90").authority(), "[::1]:90");
  EXPECT_EQ(parse_web_socket_url("ws://example.org").port, "80");
  for (const char* text : {"", "http://example.org", "ws:/example.org", "ws://", "ws://a b", "wsss://a"})
    EXPECT_THROW(parse_web_socket_url(text), Error) << text;
}

TEST(PercentEncode, KeepsUnreservedCharactersAlone) {
  EXPECT_EQ(percent_encode("aZ9-._~"), "aZ9-._~");
  EXPECT_EQ(percent_encode("a b/c?\xC3\xA4%"), "a%20b%2Fc%3F%C3%A4%25");
}

TEST_F(WebSocketTest, MessagesGoBothWays) {
  FeedServer server([](FeedConnection& c) {
    EXPECT_EQ(c.request().target, "/stream?a=1");
    EXPECT_EQ(c.request().headers.at("x-key"), "k");
    ASSERT_TRUE(c.upgrade());
    while (const auto message = c.receive()) c.send("you said " + *message);
  });
  auto request = to(server);
  request.headers["X-Key"] = "k";
  const auto socket = connect(request);
  for (const std::string text : {"one", "two", "caf\xC3\xA9"}) {
    socket->send(text, {});
    const auto message = socket->receive({});
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->data, "you said " + text);
    EXPECT_FALSE(message->binary);
  }
}

TEST_F(WebSocketTest, BinaryAndLargeMessagesAndFragmentsArriveWhole) {
  const std::string large(300000, 'x');
  FeedServer server([&](FeedConnection& c) {
    c.upgrade();
    c.send_binary(std::string("\0\xFF\x01", 3));
    c.send(large);
    c.raw(
        std::string("\x01\x03"
                    "abc"
                    "\x89\x01p"  // a ping between the fragments
                    "\x80\x02"
                    "de"));
    c.hang();
  });
  const auto socket = connect(server);
  const auto binary = socket->receive({});
  EXPECT_TRUE(binary->binary);
  EXPECT_EQ(binary->data, std::string("\0\xFF\x01", 3));
  EXPECT_EQ(socket->receive({})->data, large);
  EXPECT_EQ(socket->receive({})->data, "abcde");
}

TEST_F(WebSocketTest, AsksForItsSubprotocol) {
  FeedServer server([](FeedConnection& c) {
    EXPECT_EQ(c.request().header("sec-websocket-protocol"), "xrpc.v1.json");
    c.upgrade(c.request().target == "/other" ? "soap" : "xrpc.v1.json");
    c.send("hello");
  });
  auto request = to(server);
  request.protocol = "xrpc.v1.json";
  EXPECT_EQ(connect(request)->receive({})->data, "hello");
  request.url = server.ws_url("/other");
  refusal(ErrorCode::kNetwork, [&] { connect(request); });
  request.protocol = "a\r\nb";
  refusal(ErrorCode::kInvalidArgument, [&] { connect(request); });
}

TEST_F(WebSocketTest, AnswersPings) {
  std::atomic<int> pongs{0};
  FeedServer server([&](FeedConnection& c) {
    c.upgrade();
    for (int i = 0; i < 3; ++i) c.ping();
    while (c.pongs() < 3 && c.pause(5ms)) {
    }
    pongs = c.pongs();
    c.send("done");
  });
  EXPECT_EQ(connect(server)->receive({})->data, "done");
  EXPECT_EQ(pongs.load(), 3);
}

TEST_F(WebSocketTest, AServerWithNothingToSayIsKeptAlive) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    while (c.pings() < 3 && c.pause(5ms)) {
    }
    c.send("still here");
  });
  auto request = to(server);
  request.silence = 300ms;
  const auto socket = connect(request);
  EXPECT_EQ(socket->receive({})->data, "still here");
}

TEST_F(WebSocketTest, SilenceEndsIt) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    const int socket = ::dup(c.socket().native_handle());  // neither read nor closed
    std::this_thread::sleep_for(600ms);
    ::close(socket);
  });
  auto request = to(server);
  request.silence = 200ms;
  const auto socket = connect(request);
  const auto begin = Steady::now();
  const auto sentence = refusal(ErrorCode::kDeadlineExceeded, [&] { socket->receive({}); });
  EXPECT_NE(sentence.find("127.0.0.1"), std::string::npos) << sentence;
  EXPECT_LT(Steady::now() - begin, 5s);
}

TEST_F(WebSocketTest, AnOrderlyCloseTellsItsReason) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    c.send("last words");
    c.close(1001, "restarting");
  });
  const auto socket = connect(server);
  EXPECT_EQ(socket->receive({})->data, "last words");
  EXPECT_EQ(socket->close_reason(), "");
  EXPECT_FALSE(socket->receive({}).has_value());
  EXPECT_EQ(socket->close_reason(), "1001 (restarting)");
}

TEST_F(WebSocketTest, ABrokenConnectionIsAnError) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    c.raw("\x81\x7E\x01");  // the middle of a head
    c.drop();
  });
  const auto socket = connect(server);
  refusal(ErrorCode::kNetwork, [&] { socket->receive({}); });
}

TEST_F(WebSocketTest, LargeMessagesAreRefusedByTheirLengthAlone) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    c.raw(std::string("\x81\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10));
    c.hang();
  });
  auto request = to(server);
  request.max_message_bytes = 1000;
  const auto sentence = refusal(ErrorCode::kResourceExhausted, [&] { connect(request)->receive({}); });
  EXPECT_NE(sentence.find("1000 bytes"), std::string::npos) << sentence;
}

TEST_F(WebSocketTest, FragmentsAddUpToTheLimit) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    c.raw("\x01\x7D" + std::string(125, 'a'));
    for (int i = 0; i < 100; ++i)
      if (!c.raw(std::string("\x00\x7D", 2) + std::string(125, 'a'))) break;
    c.hang();
  });
  auto request = to(server);
  request.max_message_bytes = 1000;
  refusal(ErrorCode::kResourceExhausted, [&] { connect(request)->receive({}); });
}

TEST_F(WebSocketTest, FramesAgainstTheProtocolAreErrors) {
  using namespace std::string_literals;
  for (const std::string& frame : {
           "\xC1\x01x"s,          // a reserved bit
           "\x83\x01x"s,          // a reserved operation
           "\x81\x81\0\0\0\0x"s,  // masked by the server
           "\x80\x01x"s,          // goes on with nothing
           "\x09\x01x"s,          // a ping in fragments
           "\x89\x7E\x01\x00"s,   // a ping that is too long
           "\x81\x7E\x00\x01x"s,  // a length that could be shorter
           "\x81\x02\xC3\x28"s,   // text that is not UTF-8
           "\x88\x01\x03"s,       // half a close code
           "\x88\x02\x03\xEC"s,   // close code 1004, reserved
       }) {
    FeedServer server([&](FeedConnection& c) {
      c.upgrade();
      c.raw(frame);
      c.hang();
    });
    const auto socket = connect(server);
    refusal(ErrorCode::kNetwork, [&] { socket->receive({}); });
  }
}

TEST_F(WebSocketTest, RefusalsCarryTheirStatus) {
  const std::map<int, ErrorCode> codes{{400, ErrorCode::kInvalidArgument},
                                       {401, ErrorCode::kUnauthenticated},
                                       {403, ErrorCode::kPermissionDenied},
                                       {404, ErrorCode::kNotFound},
                                       {429, ErrorCode::kResourceExhausted},
                                       {503, ErrorCode::kNetwork},
                                       {200, ErrorCode::kNetwork}};
  for (const auto& [status, code] : codes) {
    FeedServer server([&, answer = status](FeedConnection& c) { c.answer(answer, "because so"); });
    const auto sentence = refusal(code, [&] { connect(server); });
    EXPECT_NE(sentence.find("because so"), std::string::npos) << sentence;
  }
}

TEST_F(WebSocketTest, AWrongAcceptKeyIsARefusal) {
  FeedServer server([](FeedConnection& c) {
    c.raw(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n");
    c.hang();
  });
  refusal(ErrorCode::kNetwork, [&] { connect(server); });
}

TEST_F(WebSocketTest, AnUpgradeThatNeverComesEndsAtTheDeadline) {
  FeedServer server([](FeedConnection& c) { c.hang(); });
  auto request = to(server);
  request.connect_timeout = 200ms;
  refusal(ErrorCode::kDeadlineExceeded, [&] { connect(request); });
}

TEST_F(WebSocketTest, NobodyListeningIsAnError) {
  WebSocketRequest request;
  request.url = "ws://127.0.0.1:1/";
  refusal(ErrorCode::kNetwork, [&] { connect(request); });
}

TEST_F(WebSocketTest, AStopEndsWaiting) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    c.hang();
  });
  const auto socket = connect(server);
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop_.request_stop();
  });
  const auto begin = Steady::now();
  refusal(ErrorCode::kCancelled, [&] { socket->receive(stop_.get_token()); });
  EXPECT_LT(Steady::now() - begin, 5s);
  refusal(ErrorCode::kCancelled, [&] { connect(server); });
}

TEST_F(WebSocketTest, StopsRacingWithMessagesNeverHang) {
  FeedServer server([](FeedConnection& c) {
    c.upgrade();
    while (c.send("x")) {
    }
  });
  for (int i = 0; i < 20; ++i) {
    const auto socket = connect(server);
    std::stop_source stop;
    std::jthread stopper([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(100 * i));
      stop.request_stop();
    });
    refusal(ErrorCode::kCancelled, [&] {
      for (;;) socket->receive(stop.get_token());
    });
  }
}

// --- over TLS

/// Opens a WebSocket by hand, says one word and hears one.
void greet(const test::ServerRequest& request, test::Reply& reply) {
  const std::string key = request.header("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[20];
  SHA1(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest);
  unsigned char accept[32];
  EVP_EncodeBlock(accept, digest, sizeof digest);
  reply.raw(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: " +
      std::string(reinterpret_cast<const char*>(accept)) + "\r\n\r\n");
  reply.raw("\x81\x05hello");
  reply.hang();
}

TEST_F(WebSocketTest, TalksToATrustedServerOverTls) {
  test::TlsServer server("IP:127.0.0.1", greet);
  const test::TrustedFile trusted(server.pem());
  WebSocketRequest request;
  request.url = "wss://127.0.0.1:" + std::to_string(server.port()) + "/";
  const auto socket = connect(request);
  EXPECT_EQ(socket->receive({})->data, "hello");
  socket->send("thanks", {});
}

TEST_F(WebSocketTest, RefusesAnUnknownCertificate) {
  test::TlsServer server("IP:127.0.0.1", greet);
  WebSocketRequest request;
  request.url = "wss://127.0.0.1:" + std::to_string(server.port()) + "/";
  const auto sentence = refusal(ErrorCode::kNetwork, [&] { connect(request); });
  EXPECT_NE(sentence.find("certificate of 127.0.0.1"), std::string::npos) << sentence;
}

}  // namespace
}  // namespace fathom
