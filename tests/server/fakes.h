// A store, an engine and an assistant that do as a test says, and a real server in front of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "server/client.h"
#include "server/server.h"

namespace fathom::server {

inline constexpr Time kNow = std::chrono::sys_days{std::chrono::year{2026} / 11 / 23} + std::chrono::hours(7);

inline live::Post make_post(const std::string& id, const std::string& text, const std::string& source = "x") {
  live::Post post;
  post.id = id;
  post.source = source;
  post.author.handle = "ada";
  post.text = text;
  post.created_at = kNow;
  post.received_at = kNow;
  post.url = "https://example.org/" + id;
  return post;
}

class FakeStore final : public live::Store {
 public:
  live::IngestResult ingest(std::vector<live::Post> posts) override {
    std::unique_lock lock(mutex_);
    if (ingest_error) throw Error(*ingest_error, "fake: /var/lib/secret is full");
    live::IngestResult result;
    for (auto& post : posts) {
      const auto known =
          std::find_if(log_.begin(), log_.end(), [&](const auto& e) { return e.post.key() == post.key(); });
      if (known != log_.end()) {
        ++result.duplicates;
        continue;
      }
      ++result.added;
      log_.push_back({log_.size() + 1, std::move(post)});
    }
    changed_.notify_all();
    return result;
  }

  live::SearchResult search(const live::Query& query) const override {
    std::lock_guard lock(mutex_);
    last_query = query;
    if (query.text == "bad\"") throw Error(ErrorCode::kInvalidArgument, "query: a quote is not closed");
    if (query.text == "boom") throw Error(ErrorCode::kCorrupt, "fake: /var/lib/secret/000012.sst is damaged");
    live::SearchResult result;
    result.as_of = kNow;
    for (const auto& entry : log_) {
      if (entry.post.text.find(query.text) == std::string::npos) continue;
      ++result.matched;
      if (result.hits.size() >= query.limit) continue;
      live::Hit& hit = result.hits.emplace_back();
      hit.post = entry.post;
      hit.sequence = entry.sequence;
    }
    result.terms = {{query.text, result.matched}};
    return result;
  }

  std::optional<live::Post> find(std::string_view key) const override {
    std::lock_guard lock(mutex_);
    for (const auto& entry : log_) {
      if (entry.post.key() == key) return entry.post;
    }
    return std::nullopt;
  }

  std::vector<live::Sequenced> tail(uint64_t after, size_t limit) const override {
    std::lock_guard lock(mutex_);
    std::vector<live::Sequenced> out;
    for (size_t i = after; i < log_.size() && out.size() < limit; ++i) out.push_back(log_[i]);
    return out;
  }

  std::vector<live::Sequenced> newest(size_t limit) const override {
    std::lock_guard lock(mutex_);
    const size_t count = std::min(limit, log_.size());
    return {log_.rbegin(), log_.rbegin() + static_cast<std::ptrdiff_t>(count)};
  }

  bool wait_for(uint64_t after, std::chrono::milliseconds wait, const std::stop_token& stop) const override {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, stop, wait, [&] { return log_.size() > after; });
  }

  Time feed_time() const override { return kNow; }

  live::StoreStats stats() const override {
    std::lock_guard lock(mutex_);
    live::StoreStats stats;
    stats.posts = stats.last_sequence = log_.size();
    stats.by_source = {{"x", log_.size()}};
    return stats;
  }

  std::optional<ErrorCode> ingest_error;
  mutable std::optional<live::Query> last_query;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  std::vector<live::Sequenced> log_;
};

/// A token is a byte.
class FakeEngine final : public infer::Engine {
 public:
  using Script = std::function<infer::GenerateResult(const infer::GenerateRequest&, const infer::TextSink&,
                                                     const std::stop_token&)>;
  FakeEngine() {
    info_.name = "tiny-model";
    info_.architecture = "llama";
    info_.quantisation = "F32";
    info_.context = 200;
    info_.vocabulary = 256;
  }
  const infer::ModelInfo& info() const override { return info_; }
  std::vector<int32_t> tokenize(std::string_view text) const override { return {text.begin(), text.end()}; }
  std::string detokenize(const std::vector<int32_t>& tokens) const override {
    return {tokens.begin(), tokens.end()};
  }
  std::vector<int32_t> tokenize_chat(const std::vector<infer::ChatMessage>& messages) const override {
    std::vector<int32_t> out;
    for (const auto& message : messages)
      out.insert(out.end(), message.content.begin(), message.content.end());
    return out;
  }
  std::vector<int32_t> apply_template(const infer::ChatRequest& request) const override {
    std::string text;
    for (const auto& message : *request.messages) text += message.value("content", "");
    {
      std::lock_guard lock(mutex_);
      last_messages = *request.messages;
    }
    return {text.begin(), text.end()};
  }
  std::string chat_template() const override { return template_text; }
  std::vector<float> logits(const std::vector<int32_t>& tokens, size_t first) override {
    std::vector<float> out((tokens.size() - first) * info_.vocabulary);  // all alike: 1/256 each
    return out;
  }
  infer::GenerateResult generate(const infer::GenerateRequest& request, const infer::TextSink& sink,
                                 const std::stop_token& stop) override {
    {
      std::lock_guard lock(mutex_);
      last_request = request;
      requests.push_back(request);
    }
    return script(request, sink, stop);
  }
  void set_context(size_t tokens) { info_.context = tokens; }
  infer::EngineStatus status() const override { return engine_status; }

  infer::EngineStatus engine_status;
  std::string template_text;
  mutable nlohmann::ordered_json last_messages;  // of apply_template
  std::vector<infer::GenerateRequest> requests;  // all of them, in order of arrival
  Script script = [](const infer::GenerateRequest& request, const infer::TextSink& sink,
                     const std::stop_token&) {
    infer::GenerateResult result;
    for (const char* piece : {"Hello", ", ", "world"}) {
      if (!sink(piece)) break;
      result.text += piece;
    }
    result.prompt_tokens = request.prompt.size();
    result.completion_tokens = 3;
    return result;
  };
  std::optional<infer::GenerateRequest> last_request;

 private:
  mutable std::mutex mutex_;
  infer::ModelInfo info_;
};

/// A script that says `text` in pieces of `size` bytes, each byte a token with a log probability of -0.5.
inline FakeEngine::Script says(const std::string& text, size_t size = 4) {
  return [text, size](const infer::GenerateRequest& request, const infer::TextSink& sink,
                      const std::stop_token&) {
    infer::GenerateResult result;
    result.prompt_tokens = request.prompt.size();
    for (size_t at = 0; at < text.size(); at += size) {
      const std::string piece = text.substr(at, size);
      for (const char c : piece) {
        if (request.on_token) request.on_token({c, -0.5f, {{c, -0.5f}, {'z', -2.5f}}});
        ++result.completion_tokens;
      }
      result.text += piece;
      if (sink(piece)) continue;
      result.finish = infer::FinishReason::kCancelled;
      break;
    }
    return result;
  };
}

/// Vectors of four numbers made of a text's length.
class FakeEmbedder final : public infer::Embedder {
 public:
  FakeEmbedder() { info_ = {"tiny-embedder", "bert", 4, 64}; }
  const infer::EmbedderInfo& info() const override { return info_; }
  std::vector<infer::Embedding> embed(std::span<const std::string> texts) override {
    std::vector<infer::Embedding> out;
    for (const auto& text : texts) out.push_back({{0.6f, 0.0f, 0.8f, 0.0f}, text.size()});
    return out;
  }

 private:
  infer::EmbedderInfo info_;
};

/// "Grüße [1]. Done [2]." in two pieces, from two posts of which the second has no web address.
inline answer::Answer cited_answer(const answer::Events& events) {
  answer::Answer answer;
  answer.steps = {{.query = "hello", .found = 3, .read = 2}};
  answer.read = {make_post("p1",
                           "Viele Gr\xC3\xBC\xC3\x9F"
                           "e an alle"),
                 make_post("p2", "It is done", "world")};
  answer.read[1].url.clear();
  answer.read[1].fiction = true;
  answer.text =
      "Gr\xC3\xBC\xC3\x9F"
      "e [1]. Done [2].";
  answer::Citation first{1, answer.read[0], 8, 11, 0, 12, 6, 13};
  answer::Citation second{2, answer.read[1], 18, 21, 13, 22, 6, 10};
  answer.citations = {first, second};
  answer.as_of = kNow;
  answer.writer = "extract";
  answer.found = answer.fiction = true;
  answer.prompt_tokens = 11;
  answer.cached_tokens = 5;
  answer.completion_tokens = 7;
  if (events.on_step) events.on_step(answer.steps[0]);
  if (events.on_read) events.on_read(answer.read);
  if (events.on_text) {
    events.on_text(answer.text.substr(0, 12), {first});
    events.on_text(answer.text.substr(12), {second});
  }
  return answer;
}

class FakeAssistant final : public answer::Assistant {
 public:
  using Script =
      std::function<answer::Answer(const answer::Request&, const answer::Events&, const std::stop_token&)>;

  bool has_model() const override { return true; }
  answer::Answer answer(const answer::Request& request, const answer::Events& events,
                        const std::stop_token& stop) const override {
    {
      std::lock_guard lock(mutex_);
      last_request_ = request;
    }
    return script(request, events, stop);
  }
  answer::Request last_request() const {
    std::lock_guard lock(mutex_);
    return last_request_;
  }

  Script script = [](const answer::Request&, const answer::Events& events, const std::stop_token&) {
    return cited_answer(events);
  };

 private:
  mutable std::mutex mutex_;
  mutable answer::Request last_request_;
};

/// Opens once; those who wait see it.
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  /// False after ten seconds or when stopped.
  bool wait(const std::stop_token& stop = {}) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, stop, std::chrono::seconds(10), [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool open_ = false;
};

/// Set what is to differ, then `start`.
class TestServer {
 public:
  TestServer() {
    options.port = 0;
    options.version = "1.2.3";
    options.limits.drain = std::chrono::milliseconds(2000);
  }
  ~TestServer() { stop(); }

  uint16_t start(bool with_engine = true) {
    services = std::make_unique<Services>(Services{.store = store,
                                                   .assistant = assistant,
                                                   .engine = with_engine ? &engine : nullptr,
                                                   .embedder = with_embedder ? &embedder : nullptr,
                                                   .clock = clock,
                                                   .sources_status = sources_status,
                                                   .fiction_feed = fiction,
                                                   .conversations = conversations,
                                                   .conversations_problem = conversations_problem,
                                                   .styles = styles,
                                                   .setup = setup});
    server = Server::create(options, *services);
    thread = std::jthread([this](const std::stop_token& token) { server->run(token); });
    return server->port();
  }
  void stop() {
    if (!thread.joinable()) return;
    thread.request_stop();
    thread.join();
  }
  uint16_t port() const { return server->port(); }

  Answer chat(const nlohmann::json& body, HeaderList headers = {}) const {
    return post("/v1/chat/completions", body, std::move(headers));
  }
  Answer post(const std::string& path, const nlohmann::json& body, HeaderList headers = {}) const {
    headers.emplace_back("Content-Type", "application/json");
    return ask(port(), "POST", path, headers, body.dump());
  }
  Answer get(const std::string& path, const HeaderList& headers = {}) const {
    return ask(port(), "GET", path, headers);
  }
  Answer remove(const std::string& path, const HeaderList& headers = {}) const {
    return ask(port(), "DELETE", path, headers);
  }

  ServerOptions options;
  FakeStore store;
  FakeEngine engine;
  FakeEmbedder embedder;
  bool with_embedder = false;
  FakeAssistant assistant;
  ManualClock clock{kNow};
  std::function<nlohmann::json()> sources_status;
  bool fiction = false;
  answer::Conversations* conversations = nullptr;
  std::string conversations_problem;
  const answer::Styles* styles = nullptr;
  Setup* setup = nullptr;
  std::unique_ptr<Services> services;
  std::unique_ptr<Server> server;
  std::jthread thread;
};

/// The JSON of the events of a stream, [DONE] left out.
inline std::vector<nlohmann::json> event_data(const Answer& answer) {
  std::vector<nlohmann::json> out;
  for (const auto& event : parse_events(answer.body)) {
    if (event.count("data") != 0 && event.at("data") != "[DONE]")
      out.push_back(nlohmann::json::parse(event.at("data")));
  }
  return out;
}

inline nlohmann::json user_says(const std::string& text, const std::string& model = "fathom") {
  return {{"model", model}, {"messages", {{{"role", "user"}, {"content", text}}}}};
}

}  // namespace fathom::server
