#include "base/transport.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/http_server.h"
#include "support/tls_server.h"

namespace fathom {
namespace {

using namespace std::chrono_literals;
using test::HttpServer;
using test::Reply;
using test::ServerRequest;
using test::TlsServer;
using test::TrustedFile;
using Steady = std::chrono::steady_clock;

HttpRequest get(const std::string& url, std::chrono::milliseconds timeout = 10s) {
  HttpRequest request;
  request.url = url;
  request.timeout = timeout;
  return request;
}

/// Runs `act`, which must throw an Error of this code; returns its sentence.
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

std::string fetch_refusal(ErrorCode code, const HttpRequest& request) {
  return refusal(code, [&] { make_transport()->fetch(request, {}); });
}

TEST(ParseUrl, TakesAddressesApart) {
  const Url plain = parse_url("http://Example.org/a/b?c=d#e");
  EXPECT_EQ(plain.scheme, "http");
  EXPECT_EQ(plain.host, "example.org");
  EXPECT_EQ(plain.port, "80");
  EXPECT_EQ(plain.target, "/a/b?c=d");
  EXPECT_EQ(parse_url("HTTPS://example.org").port, "443");
  EXPECT_EQ(parse_url("https://example.org").target, "/");
  EXPECT_EQ(parse_url("http://example.org?q=1").target, "/?q=1");
  EXPECT_EQ(parse_url("http://example.org:8080/x").port, "8080");
  EXPECT_EQ(parse_url("http://example.org:/x").port, "80");
  EXPECT_EQ(parse_url("http://[::1]:90/x").host, "::1");
  EXPECT_EQ(parse_url("http://[::1]:90/x").port, "90");
}

TEST(ParseUrl, RefusesWhatCannotBeFetched) {
  for (const char* url :
       {"", "example.org", "ftp://example.org/", "file:///etc/passwd", "http://", "http:///x", "http://:80/",
        "http://a b/", "http://a/\r\nX: y", "http://a:0/", "http://a:65536/", "http://a:8o/",
        "http://user:pw@host/", "http://[::1/", "http://[nonsense]/", "http://[::1]80/",
        "http://ex\xC3\xA4mple.org/", "http://a\\b/", "https://a%41/"})
    EXPECT_NE(refusal(ErrorCode::kInvalidArgument, [&] { parse_url(url); }), "") << url;
}

TEST(Transport, SendsTheRequestAndReadsTheAnswer) {
  HttpServer server([](const ServerRequest& request, Reply& reply) {
    reply.send(201,
               request.method + " " + request.target + " " + request.header("x-key") + " " + request.body,
               {{"X-Answer", "yes"}});
  });
  HttpRequest request = get(server.url("/path?q=1"));
  request.method = "POST";
  request.body = "the body";
  request.headers["X-Key"] = "k1";
  const auto response = make_transport()->fetch(request, {});
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(response.body, "POST /path?q=1 k1 the body");
  EXPECT_EQ(response.headers.at("x-answer"), "yes");
}

TEST(Transport, NamesItsHostAndAsksForNoCompression) {
  HttpServer server([](const ServerRequest& request, Reply& reply) {
    reply.send(200, request.header("host") + "|" + request.header("accept-encoding") + "|" +
                        (request.header("user-agent").empty() ? "" : "agent"));
  });
  EXPECT_EQ(make_transport()->fetch(get(server.url()), {}).body,
            "127.0.0.1:" + std::to_string(server.port()) + "|identity|agent");
}

TEST(Transport, AnErrorStatusIsAnAnswer) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.send(503, "later"); });
  const auto response = make_transport()->fetch(get(server.url()), {});
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body, "later");
}

TEST(Transport, ReadsChunkedBodies) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    reply.pause(20ms);
    reply.raw("7;ext=1\r\n, world\r\n0\r\nTrailer: x\r\n\r\n");
  });
  EXPECT_EQ(make_transport()->fetch(get(server.url()), {}).body, "hello, world");
}

TEST(Transport, ReadsABodyThatEndsWithTheConnection) {
  HttpServer server(
      [](const ServerRequest&, Reply& reply) { reply.raw("HTTP/1.1 200 OK\r\n\r\nuntil the end"); });
  EXPECT_EQ(make_transport()->fetch(get(server.url()), {}).body, "until the end");
}

TEST(Transport, HeadHasNoBody) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  });
  HttpRequest request = get(server.url());
  request.method = "HEAD";
  EXPECT_EQ(make_transport()->fetch(request, {}).headers.at("content-length"), "1000");
}

TEST(Transport, ACutOffAnswerIsAnErrorThatNamesTheHost) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort");
  });
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(server.url())).find("127.0.0.1"), std::string::npos);
}

TEST(Transport, NoAnswerAtAllIsAnError) {
  HttpServer server([](const ServerRequest&, Reply&) {});
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(server.url())), "");
}

TEST(Transport, WhatIsNotHttpIsAnError) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"); });
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(server.url())), "");
}

TEST(Transport, LimitsTheBody) {
  HttpServer server([](const ServerRequest& request, Reply& reply) {
    if (request.target == "/declared") {
      reply.send(200, std::string(1001, 'x'));
    } else if (request.target == "/chunked") {
      reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (int i = 0; i < 100; ++i) reply.raw("64\r\n" + std::string(100, 'x') + "\r\n");
      reply.raw("0\r\n\r\n");
    } else {
      reply.send(200, std::string(1000, 'x'));
    }
  });
  for (const char* target : {"/declared", "/chunked", "/fits"}) {
    HttpRequest request = get(server.url(target));
    request.max_bytes = 1000;
    if (std::string_view(target) == "/fits") {
      EXPECT_EQ(make_transport()->fetch(request, {}).body.size(), 1000u);
    } else {
      EXPECT_NE(fetch_refusal(ErrorCode::kResourceExhausted, request).find("1000"), std::string::npos);
    }
  }
}

TEST(Transport, LimitsTheHeaders) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nX: " + std::string(200000, 'x') + "\r\n\r\n");
  });
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(server.url())), "");
}

TEST(Transport, ASilentServerEndsAtTheDeadline) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.hang(); });
  const auto begin = Steady::now();
  const auto sentence = fetch_refusal(ErrorCode::kDeadlineExceeded, get(server.url(), 200ms));
  EXPECT_GE(Steady::now() - begin, 190ms);
  EXPECT_LT(Steady::now() - begin, 10s);
  EXPECT_NE(sentence.find("0.2 s"), std::string::npos) << sentence;
}

TEST(Transport, ADribblingServerEndsAtTheDeadlineToo) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (reply.pause(10ms) && reply.raw("x")) {
    }
  });
  fetch_refusal(ErrorCode::kDeadlineExceeded, get(server.url(), 300ms));
}

TEST(Transport, AStopEndsTheCallAtOnce) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.hang(); });
  std::stop_source stop;
  std::jthread stopper([&] {
    test::eventually([&] { return server.requests() == 1; });
    stop.request_stop();
  });
  const auto begin = Steady::now();
  refusal(ErrorCode::kCancelled, [&] { make_transport()->fetch(get(server.url(), 60s), stop.get_token()); });
  EXPECT_LT(Steady::now() - begin, 20s);
}

TEST(Transport, AStopBeforeTheCallIsSeen) {
  std::stop_source stop;
  stop.request_stop();
  refusal(ErrorCode::kCancelled,
          [&] { make_transport()->fetch(get("http://127.0.0.1:1/"), stop.get_token()); });
}

TEST(Transport, StopsRacingWithAnswersNeverHang) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.send(200, "done"); });
  const auto transport = make_transport();
  for (int i = 0; i < 60; ++i) {
    std::stop_source stop;
    std::jthread stopper([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 30));
      stop.request_stop();
    });
    try {
      EXPECT_EQ(transport->fetch(get(server.url(), 60s), stop.get_token()).body, "done");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCancelled) << error.what();
    }
  }
}

TEST(Transport, NobodyListeningIsAnErrorThatNamesThePlace) {
  uint16_t port = 0;
  {
    HttpServer server([](const ServerRequest&, Reply&) {});
    port = server.port();
  }
  const std::string place = "127.0.0.1:" + std::to_string(port);
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get("http://" + place + "/")).find(place), std::string::npos);
}

TEST(Transport, AnUnknownNameIsAnErrorThatNamesIt) {
  const HttpRequest request = get("http://no-such-host.invalid/", 5s);
  try {
    make_transport()->fetch(request, {});
    FAIL();
  } catch (const Error& error) {  // a resolver without a network may take longer than we wait
    EXPECT_TRUE(error.code() == ErrorCode::kNetwork || error.code() == ErrorCode::kDeadlineExceeded);
    EXPECT_NE(std::string(error.what()).find("no-such-host.invalid"), std::string::npos) << error.what();
  }
}

TEST(Transport, RefusesHeadersThatWouldEndTheHead) {
  HttpRequest request = get("http://127.0.0.1:1/");
  request.headers["X"] = "a\r\nHost: evil";
  EXPECT_NE(fetch_refusal(ErrorCode::kInvalidArgument, request), "");
  request.headers = {{"X Y", "a"}};
  EXPECT_NE(fetch_refusal(ErrorCode::kInvalidArgument, request), "");
  request.headers = {};
  request.method = "GET /";
  EXPECT_NE(fetch_refusal(ErrorCode::kInvalidArgument, request), "");
}

TEST(Transport, FollowsRedirects) {
  HttpServer server([](const ServerRequest& request, Reply& reply) {
    if (request.target == "/absolute-path") return void(reply.send(302, "", {{"Location", "/a/b?x=1"}}));
    if (request.target == "/a/b?x=1") return void(reply.send(307, "", {{"Location", "c"}}));
    if (request.target == "/a/c") return void(reply.send(308, "", {{"Location", "?y=2"}}));
    reply.send(200, request.method + " " + request.target + " " + request.body);
  });
  EXPECT_EQ(make_transport()->fetch(get(server.url("/absolute-path")), {}).body, "GET /a/c?y=2 ");
}

TEST(Transport, ARedirectedPostKeepsItsBodyOnlyWhereItMust) {
  HttpServer server([](const ServerRequest& request, Reply& reply) {
    if (request.target == "/303") return void(reply.send(303, "", {{"Location", "/end"}}));
    if (request.target == "/307") return void(reply.send(307, "", {{"Location", "/end"}}));
    reply.send(200, request.method + " " + request.body);
  });
  HttpRequest request = get(server.url("/303"));
  request.method = "POST";
  request.body = "x";
  EXPECT_EQ(make_transport()->fetch(request, {}).body, "GET ");
  request.url = server.url("/307");
  EXPECT_EQ(make_transport()->fetch(request, {}).body, "POST x");
}

TEST(Transport, KeysDoNotFollowToAnotherHost) {
  const auto echo = [](const ServerRequest& request, Reply& reply) {
    reply.send(200, request.header("authorization") + "|" + request.header("x-other"));
  };
  HttpServer other(echo);
  HttpServer server([&](const ServerRequest& request, Reply& reply) {
    if (request.target == "/away") return void(reply.send(302, "", {{"Location", other.url("/")}}));
    if (request.target == "/here") return void(reply.send(302, "", {{"Location", "/end"}}));
    echo(request, reply);
  });
  HttpRequest request = get(server.url("/away"));
  request.headers = {{"Authorization", "Bearer s"}, {"X-Other", "o"}};
  EXPECT_EQ(make_transport()->fetch(request, {}).body, "|o");
  request.url = server.url("/here");
  EXPECT_EQ(make_transport()->fetch(request, {}).body, "Bearer s|o");
}

TEST(Transport, RedirectsEnd) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.send(302, "", {{"Location", "/"}}); });
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(server.url())).find("redirects"), std::string::npos);
  EXPECT_EQ(server.requests(), 6u);
}

TEST(Transport, ARedirectToSomethingElseIsAnError) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.send(302, "", {{"Location", "file:///etc/passwd"}});
  });
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(server.url())), "");
}

// --- streams

TEST(TransportStream, HandsOverPiecesAsTheyArrive) {
  std::atomic<bool> first_seen{false};
  HttpServer server([&](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    test::eventually([&] { return first_seen.load() || reply.closing(); });  // else the piece was held back
    reply.raw("3\r\ntwo\r\n0\r\n\r\n");
  });
  std::string all;
  const auto response = make_transport()->stream(get(server.url()),
                                                 [&](std::string_view piece) {
                                                   all += piece;
                                                   first_seen.store(true);
                                                   return true;
                                                 },
                                                 {});
  EXPECT_EQ(all, "onetwo");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "");
}

TEST(TransportStream, PiecesKeepToTheLimit) {
  const std::string body(300000, 'x');
  HttpServer server([&](const ServerRequest&, Reply& reply) { reply.send(200, body); });
  HttpRequest request = get(server.url());
  request.max_bytes = 1000;
  size_t total = 0;
  make_transport()->stream(request,
                           [&](std::string_view piece) {
                             EXPECT_LE(piece.size(), 1000u);
                             total += piece.size();
                             return true;
                           },
                           {});
  EXPECT_EQ(total, body.size());
}

TEST(TransportStream, EndsWhenTheReaderHasEnough) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (reply.raw("1\r\nx\r\n") && reply.pause(1ms)) {
    }
  });
  int pieces = 0;
  make_transport()->stream(get(server.url()), [&](std::string_view) { return ++pieces < 3; }, {});
  EXPECT_EQ(pieces, 3);
}

TEST(TransportStream, OnlyAGoodAnswerIsHandedOver) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.send(429, "slow down"); });
  bool called = false;
  const auto response =
      make_transport()->stream(get(server.url()), [&](std::string_view) { return called = true; }, {});
  EXPECT_EQ(response.status, 429);
  EXPECT_FALSE(called);
}

TEST(TransportStream, LivesOnAsLongAsThereAreSignsOfLife) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 8 && reply.pause(100ms); ++i) reply.raw("1\r\nx\r\n");
    reply.raw("0\r\n\r\n");
  });
  size_t total = 0;
  make_transport()->stream(get(server.url(), 600ms),
                           [&](std::string_view piece) { return (total += piece.size()) > 0; }, {});
  EXPECT_EQ(total, 8u);
}

TEST(TransportStream, SilenceEndsIt) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    reply.hang();
  });
  refusal(ErrorCode::kDeadlineExceeded, [&] {
    make_transport()->stream(get(server.url(), 200ms), [](std::string_view) { return true; }, {});
  });
}

TEST(TransportStream, AStopEndsIt) {
  HttpServer server([](const ServerRequest&, Reply& reply) {
    reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    reply.hang();
  });
  std::stop_source stop;
  refusal(ErrorCode::kCancelled, [&] {
    make_transport()->stream(
        get(server.url(), 60s), [&](std::string_view) { return stop.request_stop(); }, stop.get_token());
  });
}

TEST(TransportStream, WhatTheReaderThrowsComesThrough) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.send(200, "x"); });
  EXPECT_THROW(
      make_transport()->stream(get(server.url()),
                               [](std::string_view) -> bool { throw std::out_of_range("reader"); }, {}),
      std::out_of_range);
}

// --- TLS, with a certificate made for the test

void say_hello(const ServerRequest&, Reply& reply) { reply.send(200, "hello"); }

TEST(TransportTls, TalksToATrustedServer) {
  TlsServer server("IP:127.0.0.1,DNS:localhost", say_hello);
  const TrustedFile trusted(server.pem());
  const auto transport = make_transport();
  EXPECT_EQ(transport->fetch(get(server.url()), {}).body, "hello");
  EXPECT_EQ(transport->fetch(get(server.url("localhost")), {}).body, "hello");
  std::string streamed;
  transport->stream(get(server.url()),
                    [&](std::string_view piece) { return !streamed.append(piece).empty(); }, {});
  EXPECT_EQ(streamed, "hello");
}

TEST(TransportTls, RefusesAnUnknownCertificate) {
  TlsServer server("IP:127.0.0.1", say_hello);
  const auto sentence = fetch_refusal(ErrorCode::kNetwork, get(server.url()));
  EXPECT_NE(sentence.find("certificate of 127.0.0.1"), std::string::npos) << sentence;
}

TEST(TransportTls, RefusesACertificateOfAnotherHost) {
  TlsServer server("DNS:other.example", say_hello);
  const TrustedFile trusted(server.pem());
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(server.url())).find("127.0.0.1"), std::string::npos);
}

TEST(TransportTls, NeverFollowsARedirectOutOfEncryption) {
  HttpServer plain(say_hello);
  TlsServer server("IP:127.0.0.1", [&](const ServerRequest&, Reply& reply) {
    reply.send(302, "", {{"Location", plain.url("/")}});
  });
  const TrustedFile trusted(server.pem());
  const auto sentence = fetch_refusal(ErrorCode::kNetwork, get(server.url()));
  EXPECT_NE(sentence.find("without encryption"), std::string::npos) << sentence;
  EXPECT_EQ(plain.requests(), 0u);
}

TEST(TransportTls, AServerThatSpeaksNoTlsIsAnError) {
  HttpServer server([](const ServerRequest&, Reply& reply) { reply.hang(); },
                    [](int fd) {
                      auto stream = std::make_unique<test::SocketStream>(fd);
                      stream->write("HTTP/1.1 400 Bad Request\r\n\r\n");
                      return stream;
                    });
  const std::string url = "https://127.0.0.1:" + std::to_string(server.port());
  EXPECT_NE(fetch_refusal(ErrorCode::kNetwork, get(url)), "");
}

TEST(TransportTls, AStopEndsTheHandshake) {
  HttpServer server([](const ServerRequest&, Reply&) {},
                    [](int) -> std::unique_ptr<test::ByteStream> {
                      std::this_thread::sleep_for(300ms);
                      return nullptr;
                    });
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(50ms);
    stop.request_stop();
  });
  const std::string url = "https://127.0.0.1:" + std::to_string(server.port());
  refusal(ErrorCode::kCancelled, [&] { make_transport()->fetch(get(url, 60s), stop.get_token()); });
}

}  // namespace
}  // namespace fathom
