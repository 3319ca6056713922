#include "server/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/error.h"
#include "server/api_error.h"

namespace fathom::server {
namespace {

constexpr size_t kMaxUnsent = 256 * 1024;  // a writer that is further ahead of its client waits

/// IMF-fixdate (RFC 9110, section 5.6.7); by hand, since strftime follows the locale.
std::string http_date() {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[utc.tm_wday], utc.tm_mday,
                     kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

bool has_no_body(int status) { return status == 204 || status == 304; }

std::string chunk(std::string_view piece) { return fmt::format("{:x}\r\n{}\r\n", piece.size(), piece); }

class Exchange final : public Reply {
 public:
  Exchange(std::shared_ptr<Channel> channel, Framing framing, std::function<void()> kick)
      : channel_(std::move(channel)), framing_(std::move(framing)), kick_(std::move(kick)) {}

  ~Exchange() override {
    if (finished_) return;
    if (started_) {
      end(true);
    } else {
      send(error_response(ApiError(500, "the request was not answered", "internal_error")));
    }
  }

  void send(Response response) override {
    begin(response.status);
    std::string out = head(response, false);
    if (!framing_.head_only && !has_no_body(response.status)) out += response.body;
    push(std::move(out));
    end(false);
  }

  void start(Response response, std::string ping) override {
    begin(response.status);
    chunked_ = !framing_.http_1_0;
    if (!chunked_) framing_.keep_alive = false;  // the end of the connection is the end of the body
    std::string out = head(response, true);
    if (!framing_.head_only && !response.body.empty()) out += frame(response.body);
    {
      std::lock_guard lock(channel_->mutex);
      if (!framing_.head_only && !ping.empty()) channel_->ping = frame(ping);
    }
    push(std::move(out));
    if (framing_.head_only) end(false);
  }

  bool write(std::string piece) override {
    if (finished_) return false;
    if (piece.empty()) return true;
    if (!wait_for_client()) return false;
    push(frame(piece));
    return true;
  }

  void finish() override {
    if (finished_) return;
    if (chunked_) push("0\r\n\r\n");
    end(false);
  }

  bool started() const override { return started_; }

  size_t unsent() const override {
    std::lock_guard lock(channel_->mutex);
    return channel_->unsent;
  }

  void on_drained(std::function<void()> call) override {
    std::lock_guard lock(channel_->mutex);
    channel_->drained = std::move(call);
  }

  std::stop_token stop() const override { return channel_->stop.get_token(); }

 private:
  /// Until the client has taken enough. False: it is gone, or so slow that it is given up.
  bool wait_for_client() {
    using SteadyClock = std::chrono::steady_clock;
    std::unique_lock lock(channel_->mutex);
    const auto ready = [this] { return channel_->unsent < kMaxUnsent || channel_->gone; };
    if (!ready()) {
      const auto granted =
          framing_.patience +
          std::chrono::seconds(written_ / std::max<size_t>(framing_.client_bytes_per_second, 1));
      const auto start = SteadyClock::now();
      const bool in_time = channel_->taken.wait_until(lock, start + granted - waited_, ready);
      waited_ += SteadyClock::now() - start;
      if (!in_time) {
        channel_->pieces.clear();
        channel_->gone = true;
        lock.unlock();
        channel_->stop.request_stop();
        return false;
      }
    }
    return !channel_->gone;
  }

  void begin(int status) {
    FATHOM_CHECK(!started_, "an answer was begun twice");
    started_ = true;
    std::lock_guard lock(channel_->mutex);
    channel_->status = status;
    framing_.keep_alive = framing_.keep_alive && channel_->keep_alive;
  }

  std::string head(const Response& response, bool streamed) const {
    std::string out =
        fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nServer: Fathom\r\nX-Request-Id: {}\r\n", response.status,
                    reason_phrase(response.status), http_date(), framing_.request_id);
    for (const auto& [name, value] : framing_.headers) out += fmt::format("{}: {}\r\n", name, value);
    for (const auto& [name, value] : response.headers) out += fmt::format("{}: {}\r\n", name, value);
    if (!has_no_body(response.status) && !response.content_type.empty())
      out += fmt::format("Content-Type: {}\r\n", response.content_type);
    if (streamed && chunked_) out += "Transfer-Encoding: chunked\r\n";
    if (!streamed && response.status != 204 && response.status != 304)
      out += fmt::format("Content-Length: {}\r\n", response.body.size());
    if (!framing_.keep_alive) {
      out += "Connection: close\r\n";
    } else if (framing_.http_1_0) {
      out += "Connection: keep-alive\r\n";
    }
    return out +
           "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"
           "Referrer-Policy: no-referrer\r\n\r\n";
  }

  std::string frame(std::string_view piece) const { return chunked_ ? chunk(piece) : std::string(piece); }

  void push(std::string bytes) {
    {
      std::lock_guard lock(channel_->mutex);
      if (channel_->gone) return;
      channel_->unsent += bytes.size();
      written_ += bytes.size();
      channel_->pieces.push_back(std::move(bytes));
      if (channel_->sending) return;
      channel_->sending = true;
    }
    kick_();
  }

  void end(bool aborted) {
    finished_ = true;
    {
      std::lock_guard lock(channel_->mutex);
      channel_->finished = true;
      channel_->aborted = aborted;
      channel_->keep_alive = channel_->keep_alive && framing_.keep_alive && !aborted;
      channel_->ping.clear();
      channel_->drained = nullptr;
      if (channel_->sending) return;
      channel_->sending = true;
    }
    kick_();
  }

  std::shared_ptr<Channel> channel_;
  Framing framing_;
  std::function<void()> kick_;
  bool started_ = false;
  bool finished_ = false;
  bool chunked_ = false;
  size_t written_ = 0;                            // bytes
  std::chrono::steady_clock::duration waited_{};  // for the client
};

}  // namespace

std::shared_ptr<Reply> make_exchange(std::shared_ptr<Channel> channel, Framing framing,
                                     std::function<void()> kick) {
  return std::make_shared<Exchange>(std::move(channel), std::move(framing), std::move(kick));
}

}  // namespace fathom::server
