#include "live/sources/redacted.h"

#include <algorithm>
#include <utility>

namespace fathom::live {
namespace {

using Secrets = std::vector<std::string>;

std::string without(const Secrets& secrets, std::string_view text) {
  std::string out(text);
  for (const std::string& secret : secrets)
    for (size_t at = 0; (at = out.find(secret, at)) != std::string::npos; at += 3)
      out.replace(at, secret.size(), "***");
  return out;
}

class RedactedSink final : public Sink {
 public:
  RedactedSink(Sink& sink, const Secrets& secrets) : sink_(sink), secrets_(secrets) {}

  std::string cursor() const override { return sink_.cursor(); }
  bool deliver(Post post) override { return sink_.deliver(std::move(post)); }
  void count(std::string_view key, const CountChange& change) override { sink_.count(key, change); }
  std::optional<Post> find(std::string_view key) const override { return sink_.find(key); }
  void remove_author(std::string_view source, std::string_view handle, Time at) override {
    sink_.remove_author(source, handle, at);
  }
  void advance(std::string cursor) override { sink_.advance(without(secrets_, cursor)); }
  void set_live() override { sink_.set_live(); }
  void reject(std::string_view why) override { sink_.reject(without(secrets_, why)); }
  void warn(std::string_view what) override { sink_.warn(without(secrets_, what)); }

 private:
  Sink& sink_;
  const Secrets& secrets_;
};

class RedactedSource final : public Source {
 public:
  RedactedSource(std::unique_ptr<Source> source, Secrets secrets)
      : source_(std::move(source)), secrets_(std::move(secrets)) {}

  std::string_view name() const override { return source_->name(); }
  bool replays() const override { return source_->replays(); }

  void run(Sink& sink, const std::stop_token& stop) override {
    RedactedSink quiet(sink, secrets_);
    try {
      source_->run(quiet, stop);
    } catch (const RetryAfter& error) {
      throw RetryAfter(error.code(), without(secrets_, error.what()), error.wait());
    } catch (const Error& error) {
      throw Error(error.code(), without(secrets_, error.what()));
    } catch (const std::exception& error) {
      throw Error(ErrorCode::kInternal, without(secrets_, error.what()));
    }
  }

 private:
  const std::unique_ptr<Source> source_;
  const Secrets secrets_;
};

}  // namespace

std::unique_ptr<Source> redacted(std::unique_ptr<Source> source, std::vector<std::string> secrets) {
  std::erase(secrets, "");
  // Of two of which one begins with the other, the longer one goes first.
  std::sort(secrets.begin(), secrets.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  if (secrets.empty()) return source;
  return std::make_unique<RedactedSource>(std::move(source), std::move(secrets));
}

}  // namespace fathom::live
