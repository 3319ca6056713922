// Fetching models from a local server that behaves as the real one does, or badly on purpose.
#include "model/pull.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "base/transport.h"
#include "model/inspect.h"
#include "support/http_server.h"

namespace fathom::model {
namespace {

using nlohmann::json;
using test::HttpServer;
using test::Reply;
using test::ServerRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string sha256(std::string_view bytes) {
  Digest digest(DigestKind::kSha256);
  digest.update(bytes);
  return digest.finish();
}

std::string git_sha1(const std::string& bytes) {
  Digest digest(DigestKind::kSha1);
  digest.update("blob " + std::to_string(bytes.size()) + std::string(1, '\0') + bytes);
  return digest.finish();
}

std::string many_bytes(size_t size) {
  std::string out;
  for (uint32_t i = 0; out.size() < size; ++i) out += static_cast<char>((i * 2654435761u) >> 24);
  return out;
}

TEST(Digest, GivesTheStandardsValues) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(git_sha1("hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");  // git hash-object
}

/// The endpoint, with one repository owner/model in it.
class HubServer {
 public:
  using Special = std::function<bool(const ServerRequest&, Reply&)>;  // true: it has answered

  HubServer() : server_([this](const ServerRequest& request, Reply& reply) { answer(request, reply); }) {}

  void add(const std::string& name, const std::string& content) { files_[name] = content; }
  void special(Special special) {
    const std::lock_guard lock(mutex_);
    special_ = std::move(special);
  }
  void lists_checksums(bool yes) { lists_checksums_ = yes; }
  std::string url() const { return server_.url(); }
  std::vector<ServerRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  size_t count(const std::string& part) const {
    size_t n = 0;
    for (const auto& request : requests()) n += request.target.find(part) != std::string::npos ? 1 : 0;
    return n;
  }

  static constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

 private:
  static bool is_large(const std::string& name) {
    return name.ends_with(".gguf") || name.ends_with(".safetensors");
  }

  void answer(const ServerRequest& request, Reply& reply) {
    Special special;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
      special = special_;  // its own: a test may set another while this one still answers
    }
    if (special && special(request, reply)) return;
    if (request.target == "/api/models/owner/model/revision/main?blobs=true") {
      reply.send(200, listing());
      return;
    }
    const std::string place = std::string("/owner/model/resolve/") + kCommit + "/";
    const bool here =
        request.target.starts_with(place) && files_.contains(request.target.substr(place.size()));
    if (!here) {
      reply.send(404, "");
      return;
    }
    const std::string name = request.target.substr(place.size());
    if (request.method == "HEAD") return send_head(name, reply);
    send_file(files_.at(name), request, reply);
  }

  std::string listing() const {
    json siblings = json::array();
    for (const auto& [name, content] : files_) {
      json file = {{"rfilename", name}};
      if (lists_checksums_) {
        file["size"] = content.size();
        file["blobId"] = git_sha1(content);
        if (is_large(name))
          file["lfs"] = {{"sha256", sha256(content)}, {"size", content.size()}, {"pointerSize", 130}};
      }
      siblings.push_back(file);
    }
    return json{{"sha", kCommit}, {"siblings", siblings}}.dump();
  }

  void send_head(const std::string& name, Reply& reply) const {
    const std::string& content = files_.at(name);
    if (is_large(name))
      reply.raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/elsewhere\r\nX-Linked-Etag: \"" +
                sha256(content) + "\"\r\nX-Linked-Size: " + std::to_string(content.size()) +
                "\r\nContent-Length: 0\r\n\r\n");
    else
      reply.raw("HTTP/1.1 200 OK\r\nETag: \"" + git_sha1(content) +
                "\"\r\nContent-Length: " + std::to_string(content.size()) + "\r\n\r\n");
  }

 public:
  static void send_file(const std::string& content, const ServerRequest& request, Reply& reply) {
    const std::string range = request.header("range");
    const std::string etag = "\"" + sha256(content).substr(0, 20) + "\"";
    const std::string condition = request.header("if-range");
    if (range.empty() || (!condition.empty() && condition != etag)) {
      reply.send(200, content, {{"ETag", etag}});
      return;
    }
    const size_t from = std::stoul(range.substr(6));
    reply.send(206, content.substr(from),
               {{"ETag", etag},
                {"Content-Range", "bytes " + std::to_string(from) + "-" + std::to_string(content.size() - 1) +
                                      "/" + std::to_string(content.size())}});
  }

 private:
  std::map<std::string, std::string> files_;
  Special special_;
  bool lists_checksums_ = true;
  mutable std::mutex mutex_;
  std::vector<ServerRequest> requests_;
  HttpServer server_;  // last: gone first
};

class PullTest : public ::testing::Test {
 protected:
  PullResult fetch(const std::string& name = "owner/model") {
    PullOptions options = options_;
    if (options.endpoint.starts_with("https://huggingface")) options.endpoint = hub_.url();
    options.folder = folder_.path() / "models";
    return pull(
        parse_hub_name(name), options, *transport_, clock_,
        [this](const PullProgress& progress) { last_ = progress; }, stop_.get_token());
  }

  void expect_refused(ErrorCode code, const std::string& what, const std::string& name = "owner/model") {
    try {
      fetch(name);
      ADD_FAILURE() << "fetched, though " << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(what));
      EXPECT_THAT(error.what(), Not(HasSubstr("hf_secret")));
    }
  }

  std::vector<std::string> left() const {
    std::vector<std::string> names;
    if (!std::filesystem::exists(folder_.path() / "models")) return names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path() / "models"))
      if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string part_of(const std::string& name, const std::string& content) const {
    return "." + name + "." + sha256(content).substr(0, 16) + ".part";
  }

  /// The first `bytes` of what is asked for, with the length of all, and then nothing more.
  static void break_off(const std::string& content, const ServerRequest& request, Reply& reply,
                        size_t bytes) {
    const std::string range = request.header("range");
    const size_t from = range.empty() ? 0 : std::stoul(range.substr(6));
    std::string head = range.empty() ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 206 Partial Content\r\n";
    if (!range.empty())
      head += "Content-Range: bytes " + std::to_string(from) + "-" + std::to_string(content.size() - 1) +
              "/" + std::to_string(content.size()) + "\r\n";
    reply.raw(head + "ETag: \"v1\"\r\nContent-Length: " + std::to_string(content.size() - from) + "\r\n\r\n" +
              content.substr(from, bytes));
  }

  TempDir folder_;
  HubServer hub_;
  PullOptions options_;
  std::unique_ptr<Transport> transport_ = make_transport();
  ManualClock clock_;
  std::stop_source stop_;
  PullProgress last_;
};

TEST_F(PullTest, AGgufFileComesWholeAndOnce) {
  const std::string content = many_bytes(300'000);
  hub_.add("m-Q4_K_M.gguf", content);
  hub_.add("README.md", "read me");
  const auto result = fetch();
  EXPECT_EQ(result.path, folder_.path() / "models" / "m-Q4_K_M.gguf");
  EXPECT_EQ(read_file(result.path), content);
  EXPECT_EQ(result.commit, HubServer::kCommit);
  EXPECT_EQ(result.fetched, content.size());
  EXPECT_EQ(last_.done, content.size());
  EXPECT_THAT(left(), ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_EQ(fetch().fetched, 0u);  // there already
  EXPECT_EQ(hub_.count("/resolve/"), 1u);
}

TEST_F(PullTest, SafetensorsComeWithTheirFiles) {
  hub_.add("config.json", "{}");
  hub_.add("model.safetensors", many_bytes(1000));
  hub_.add("tokenizer.json", "{ }");
  hub_.add("1_Pooling/config.json", "{}");
  hub_.add("pytorch_model.bin", "x");
  const auto result = fetch();
  EXPECT_EQ(result.path, folder_.path() / "models" / "model");
  EXPECT_THAT(left(), ElementsAre("config.json", "config.json", "model.safetensors", "tokenizer.json"));
  EXPECT_EQ(read_file(result.path / "1_Pooling" / "config.json"), "{}");
}

TEST_F(PullTest, ChecksumsThatTheListLacksComeFromTheHeaders) {
  hub_.lists_checksums(false);
  hub_.add("config.json", "{}");
  hub_.add("model.safetensors", many_bytes(1000));
  EXPECT_EQ(fetch().files.size(), 2u);
}

TEST_F(PullTest, WithoutAnyChecksumNothingIsFetched) {
  hub_.lists_checksums(false);
  hub_.add("m.gguf", "x");
  hub_.special([](const ServerRequest& request, Reply& reply) {
    if (request.method != "HEAD") return false;
    reply.raw("HTTP/1.1 200 OK\r\nETag: \"abc\"\r\nContent-Length: 1\r\n\r\n");
    return true;
  });
  expect_refused(ErrorCode::kUnsupported, "no size and checksum");
  EXPECT_TRUE(left().empty());
}

TEST_F(PullTest, ABrokenTransferGoesOnWhereItEnded) {
  const std::string content = many_bytes(100'000);
  hub_.add("m.gguf", content);
  std::atomic<int> broken{0};
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos || broken.fetch_add(1) >= 3) return false;
    break_off(content, request, reply, 30'000);
    return true;
  });
  EXPECT_EQ(read_file(fetch().path), content);
  const auto requests = hub_.requests();
  EXPECT_EQ(requests[1].header("range"), "");
  EXPECT_EQ(requests[2].header("range"), "bytes=30000-");
  EXPECT_EQ(requests[2].header("if-range"), "\"v1\"");
  EXPECT_EQ(requests[4].header("range"), "bytes=90000-");
}

TEST_F(PullTest, ALaterRunGoesOnWhereAnEarlierEnded) {
  const std::string content = many_bytes(100'000);
  hub_.add("m.gguf", content);
  options_.tries = 1;
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos) return false;
    break_off(content, request, reply, 40'000);
    return true;
  });
  // Each try brings something, so it goes on; the third brings the rest.
  EXPECT_EQ(read_file(fetch().path), content);
  std::filesystem::rename(folder_.path() / "models" / "m.gguf",
                          folder_.path() / "models" / part_of("m.gguf", content));
  std::filesystem::resize_file(folder_.path() / "models" / part_of("m.gguf", content), 70'000);
  hub_.special({});
  const auto result = fetch();
  EXPECT_EQ(result.fetched, 30'000u);
  EXPECT_EQ(read_file(result.path), content);
  EXPECT_EQ(hub_.requests().back().header("range"), "bytes=70000-");
}

TEST_F(PullTest, AServerWithoutRangesStartsAgain) {
  const std::string content = many_bytes(50'000);
  hub_.add("m.gguf", content);
  std::filesystem::create_directories(folder_.path() / "models");
  write_file_atomic(folder_.path() / "models" / part_of("m.gguf", content), content.substr(0, 20'000));
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos) return false;
    reply.send(200, content);
    return true;
  });
  EXPECT_EQ(read_file(fetch().path), content);
}

TEST_F(PullTest, APartIsOneRunsAtATime) {
  const std::string content = many_bytes(5'000);
  hub_.add("m.gguf", content);
  const auto part = folder_.path() / "models" / part_of("m.gguf", content);
  std::filesystem::create_directories(part.parent_path());
  write_file_atomic(part, content.substr(0, 2'000));
  const int other = ::open(part.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(other, 0);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  expect_refused(ErrorCode::kIo, "another run is fetching 'm.gguf'");
  EXPECT_EQ(read_file(part), content.substr(0, 2'000));
  ::close(other);
  EXPECT_EQ(read_file(fetch().path), content);
}

TEST_F(PullTest, AWrongChecksumIsThrownAway) {
  const std::string content = many_bytes(5'000);
  hub_.add("m.gguf", content);
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos) return false;
    std::string other = content;
    other[4000] ^= 1;
    reply.send(200, other);
    return true;
  });
  expect_refused(ErrorCode::kCorrupt, "does not have the checksum");
  EXPECT_TRUE(left().empty());
}

TEST_F(PullTest, WrongLengthsAndRangesAreRefused) {
  const std::string content = many_bytes(5'000);
  hub_.add("m.gguf", content);
  // Each answer owns its text: the server may still be sending it when the client has turned away.
  const auto answer_with = [&](const std::string& answer) {
    hub_.special([answer](const ServerRequest& request, Reply& reply) {
      if (request.target.find("/resolve/") == std::string::npos) return false;
      reply.raw(answer);
      return true;
    });
  };
  answer_with("HTTP/1.1 200 OK\r\nContent-Length: 6000\r\n\r\n" + many_bytes(6'000));
  expect_refused(ErrorCode::kCorrupt, "should have 5000 bytes and the server sends 6000");
  answer_with("HTTP/1.1 200 OK\r\n\r\n" + many_bytes(60'000));  // to the end of the connection
  expect_refused(ErrorCode::kCorrupt, "more than the 5000 bytes");
  std::filesystem::remove_all(folder_.path() / "models");
  std::filesystem::create_directories(folder_.path() / "models");
  write_file_atomic(folder_.path() / "models" / part_of("m.gguf", content), content.substr(0, 1'000));
  answer_with(
      "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4999/5000\r\nContent-Length: 5000\r\n\r\n" +
      content);
  expect_refused(ErrorCode::kCorrupt, "another range");
}

TEST_F(PullTest, HugeHeadersAndRedirectLoopsEnd) {
  hub_.add("m.gguf", "content");
  options_.tries = 2;
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos) return false;
    reply.raw("HTTP/1.1 302 Found\r\nLocation: " + request.target + "\r\nContent-Length: 0\r\n\r\n");
    return true;
  });
  expect_refused(ErrorCode::kNetwork, "redirects more than");
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos) return false;
    reply.raw("HTTP/1.1 200 OK\r\nX: " + std::string(1 << 20, 'x') + "\r\n\r\ncontent");
    return true;
  });
  expect_refused(ErrorCode::kNetwork, "127.0.0.1");
}

TEST_F(PullTest, ABusyServerIsWaitedForAndAskedAgain) {
  hub_.add("m.gguf", "content");
  std::atomic<int> busy{0};
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos || busy.fetch_add(1) >= 2) return false;
    reply.send(busy.load() == 1 ? 503 : 429, "", {{"Retry-After", "17"}});
    return true;
  });
  const Time before = clock_.now();
  EXPECT_EQ(read_file(fetch().path), "content");
  EXPECT_EQ(clock_.now() - before, std::chrono::seconds(34));
}

TEST_F(PullTest, AServerThatStaysBusyEndsIt) {
  hub_.add("m.gguf", "content");
  options_.tries = 3;
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    if (request.target.find("/resolve/") == std::string::npos) return false;
    reply.send(500, "");
    return true;
  });
  expect_refused(ErrorCode::kNetwork, "status 500");
  EXPECT_EQ(hub_.count("/resolve/"), 3u);
}

TEST_F(PullTest, TheTokenGoesToTheEndpointOnly) {
  const std::string content = many_bytes(2'000);
  HttpServer elsewhere([&](const ServerRequest& request, Reply& reply) {
    EXPECT_EQ(request.header("authorization"), "");
    HubServer::send_file(content, request, reply);
  });
  hub_.add("m.gguf", content);
  hub_.special([&](const ServerRequest& request, Reply& reply) {
    EXPECT_EQ(request.header("authorization"), "Bearer hf_secret");
    if (request.target.find("/resolve/") == std::string::npos) return false;
    reply.send(302, "", {{"Location", elsewhere.url("/bytes")}});
    return true;
  });
  options_.token = "hf_secret";
  EXPECT_EQ(read_file(fetch().path), content);
  EXPECT_EQ(elsewhere.requests(), 1u);
}

TEST(Hub, SendsNoTokenWithoutEncryption) {
  const auto transport = make_transport();
  const HubName name{"o", "n", ""};
  const auto sent = [&](const std::string& endpoint) {
    return Hub(*transport, endpoint, "hf_secret")
        .request(name, "main", "f")
        .headers.contains("Authorization");
  };
  EXPECT_TRUE(sent("https://huggingface.co"));
  EXPECT_TRUE(sent("http://localhost:8080/"));
  EXPECT_TRUE(sent("http://127.0.0.1:8080"));
  EXPECT_TRUE(sent("http://[::1]:8080"));
  EXPECT_FALSE(sent("http://huggingface.co"));
  EXPECT_FALSE(sent("http://localhost.example"));
  EXPECT_EQ(Hub(*transport, "https://h/", "").request(name, "refs/pr/1", "a b/c?.gguf").url,
            "https://h/o/n/resolve/refs%2Fpr%2F1/a%20b/c%3F.gguf");
  EXPECT_THROW(Hub(*transport, "ftp://h", ""), Error);
}

TEST_F(PullTest, SaysWhatIsMissingOrClosed) {
  expect_refused(ErrorCode::kNotFound, "has no model 'owner/other'", "owner/other");
  options_.token = "hf_secret";
  hub_.special([](const ServerRequest&, Reply& reply) { return reply.send(401, ""); });
  expect_refused(ErrorCode::kUnauthenticated, "HF_TOKEN");
  hub_.special([](const ServerRequest&, Reply& reply) { return reply.send(403, ""); });
  expect_refused(ErrorCode::kPermissionDenied, "let you in");
}

TEST_F(PullTest, HostileNamesWriteNothing) {
  hub_.special([](const ServerRequest&, Reply& reply) {
    return reply.send(200, R"({"siblings":[{"rfilename":"../../escaped.gguf","size":1}]})");
  });
  expect_refused(ErrorCode::kCorrupt, "no path inside a folder");
  EXPECT_TRUE(left().empty());
}

TEST_F(PullTest, OtherContentIsReplacedOnlyWhenTold) {
  hub_.add("m.gguf", "content");
  std::filesystem::create_directories(folder_.path() / "models");
  write_file_atomic(folder_.path() / "models" / "m.gguf", "mine!!!");
  expect_refused(ErrorCode::kInvalidArgument, "--force");
  EXPECT_EQ(read_file(folder_.path() / "models" / "m.gguf"), "mine!!!");
  options_.force = true;
  EXPECT_EQ(read_file(fetch().path), "content");
}

TEST_F(PullTest, ALinkInThePlaceOfThePartIsNotFollowed) {
  hub_.add("m.gguf", "content");
  std::filesystem::create_directories(folder_.path() / "models");
  const auto victim = folder_.path() / "victim";
  write_file_atomic(victim, "precious");
  std::filesystem::create_symlink(victim, folder_.path() / "models" / part_of("m.gguf", "content"));
  expect_refused(ErrorCode::kIo, "cannot create");
  EXPECT_EQ(read_file(victim), "precious");
}

TEST_F(PullTest, AStopLeavesThePart) {
  const std::string content = many_bytes(100'000);
  hub_.add("m.gguf", content);
  hub_.special([&content, stop = stop_](const ServerRequest& request, Reply& reply) mutable {
    if (request.target.find("/resolve/") == std::string::npos) return false;
    break_off(content, request, reply, 50'000);
    stop.request_stop();
    reply.hang();
    return true;
  });
  expect_refused(ErrorCode::kCancelled, "cancelled");
  stop_ = std::stop_source();
  hub_.special({});
  EXPECT_EQ(read_file(fetch().path), content);
}

TEST_F(PullTest, AFolderIsNoModelBeforeItIsWhole) {
  hub_.add("config.json", "{}");
  hub_.add("model.safetensors", many_bytes(1000));
  hub_.add("tokenizer.json", "{ }");
  hub_.special([stop = stop_](const ServerRequest& request, Reply&) mutable {
    if (request.target.find("tokenizer.json") != std::string::npos) stop.request_stop();
    return false;
  });
  expect_refused(ErrorCode::kCancelled, "cancelled");
  EXPECT_TRUE(find_model_files(folder_.path() / "models").empty());
  stop_ = std::stop_source();
  hub_.special({});
  fetch();
  EXPECT_THAT(find_model_files(folder_.path() / "models"), ElementsAre(folder_.path() / "models" / "model"));
  EXPECT_THAT(left(), ElementsAre("config.json", "model.safetensors", "tokenizer.json"));
}

/// The disk of this test is full when a file reaches a size: the system has a limit for that.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &now);
  }
  ~SizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(PullTest, AFullDiskKeepsThePart) {
  const std::string content = many_bytes(400'000);
  hub_.add("m.gguf", content);
  {
    const SizeLimit limit(150'000);
    expect_refused(ErrorCode::kResourceExhausted, "make room");
  }
  EXPECT_THAT(left(), ElementsAre(part_of("m.gguf", content)));
  const auto result = fetch();
  EXPECT_EQ(result.fetched, 250'000u);
  EXPECT_EQ(read_file(result.path), content);
}

}  // namespace
}  // namespace fathom::model
