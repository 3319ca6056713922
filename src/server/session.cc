#include "server/session.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <chrono>
#include <optional>

#include "base/log.h"
#include "base/text.h"
#include "server/api_error.h"
#include "server/client_stream.h"
#include "server/exchange.h"

namespace fathom::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kReadAhead = 64 * 1024;
constexpr size_t kWriteStep = 64 * 1024;          // the write deadline is renewed after each
constexpr size_t kLingerBytes = size_t{1} << 20;  // of a refused body that are read and dropped
constexpr milliseconds kLingerTime{1000};

bool sane_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

/// "http://host/path" -> {"host", "/path"}: the form that clients of a proxy send.
std::optional<std::pair<std::string_view, std::string_view>> split_absolute(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (target.substr(0, kScheme.size()) != kScheme) return std::nullopt;
  target.remove_prefix(kScheme.size());
  const size_t slash = std::min(target.find_first_of("/?"), target.size());
  const std::string_view path = target.substr(slash);
  return std::pair{target.substr(0, slash),
                   path.empty() || path.front() != '/' ? std::string_view("/") : path};
}

ApiError parse_failure(const error_code& ec, size_t limit) {
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow)
    return ApiError(431, "the request's headers exceed " + std::to_string(limit) + " bytes",
                    "headers_too_large");
  if (ec == http::error::bad_version)
    return ApiError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here", "bad_version");
  return ApiError(400, "the request is not well-formed HTTP: " + ec.message(), "bad_request");
}

class Session final : public SessionHandle, public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, SessionShared& shared)
      : stream_(std::move(socket), shared.certificate ? shared.certificate->context() : nullptr),
        socket_(stream_.socket()),
        shared_(shared),
        read_timer_(socket_.get_executor()),
        write_timer_(socket_.get_executor()),
        ping_timer_(socket_.get_executor()),
        newcomer_(shared.draining) {
    ++shared_.open;
  }

  ~Session() override { --shared_.open; }

  void start(bool refuse) {
    asio::dispatch(socket_.get_executor(), [self = shared_from_this(), refuse] {
      error_code ignored;
      self->socket_.set_option(tcp::no_delay(true), ignored);
      if (self->stream_.secure()) return refuse ? self->shut() : self->shake_hands();
      if (!refuse) return self->wait_for_request();
      ApiError error(503, "too many connections are open; try again later", "too_many_connections");
      error.headers.emplace_back("Retry-After", "1");
      self->begin_refusal();
      self->refuse(error);
    });
  }

  void close_when_idle() override {
    post([](Session& self) {
      if (self.phase_ == Phase::kIdle && !self.newcomer_) self.shut();
    });
  }

  void cancel() override {
    post([](Session& self) {
      if (self.channel_) self.channel_->stop.request_stop();
    });
  }

  void close() override {
    post([](Session& self) { self.shut(); });
  }

 private:
  enum class Phase { kHandshake, kIdle, kHead, kBody, kAnswer, kLinger, kClosed };
  using Parser = http::request_parser<http::string_body>;

  template <class Call>
  void post(Call call) {
    asio::post(socket_.get_executor(), [self = shared_from_this(), call] { call(*self); });
  }

  /// Calls `late` on this when `timer` has run for `wait` without being set anew.
  void arm(asio::steady_timer& timer, milliseconds wait, void (Session::*late)()) {
    timer.expires_after(wait);
    timer.async_wait([self = shared_from_this(), &timer, late](error_code ec) {
      if (!ec && timer.expiry() <= SteadyClock::now()) ((*self).*late)();
    });
  }

  void disarm(asio::steady_timer& timer) { timer.expires_at(SteadyClock::time_point::max()); }

  void shake_hands() {
    phase_ = Phase::kHandshake;
    arm(read_timer_, shared_.limits.header_timeout, &Session::shut);
    stream_.async_handshake([self = shared_from_this()](error_code ec) {
      if (self->phase_ != Phase::kHandshake) return;
      self->disarm(self->read_timer_);
      return ec ? self->shut() : self->wait_for_request();
    });
  }

  // Reading a request.

  void wait_for_request() {
    if (shared_.draining && !(newcomer_ && answer_number_ == 0)) return linger();
    parser_.reset();
    if (buffer_.size() > 0 && !reading_ahead_) return read_head();
    phase_ = Phase::kIdle;
    arm(read_timer_, shared_.limits.idle_timeout, &Session::shut);
    if (stream_.secure()) return read_ahead();
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code ec) {
      if (self->phase_ != Phase::kIdle) return;
      if (ec) return self->shut();
      if (self->peek() == Input::kNone) return self->wait_for_request();
      self->read_head();
    });
  }

  void read_head() {
    phase_ = Phase::kHead;
    late_ = false;
    started_at_ = SteadyClock::now();
    buffer_.max_size(shared_.limits.header_bytes + kReadAhead);
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(shared_.limits.header_bytes));
    parser_->body_limit(boost::none);  // checked here, by route
    arm(read_timer_, shared_.limits.header_timeout, &Session::on_read_timeout);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](error_code ec, size_t) { self->on_head(ec); });
  }

  /// A request that was begun and not finished in time: told so.
  void on_read_timeout() {
    if (phase_ != Phase::kHead && phase_ != Phase::kBody) return;
    late_ = true;
    error_code ignored;
    socket_.cancel(ignored);
  }

  void on_head(error_code ec) {
    if (phase_ != Phase::kHead) return;
    disarm(read_timer_);
    if (ec && !late_ && ec.category() != make_error_code(http::error::bad_method).category()) return shut();
    if (ec == http::error::end_of_stream || ec == http::error::partial_message) return shut();
    begin_request();
    if (late_) return refuse(ApiError(408, "the request did not arrive in time", "request_timeout"));
    if (ec) return refuse(parse_failure(ec, shared_.limits.header_bytes));
    if (!take_head()) return refuse(ApiError(400, "the request's target is not a path", "bad_request"));

    if (shared_.draining) framing_.keep_alive = false;
    auto admission = shared_.application.admit(request_);
    record_ = {std::move(admission.name),
               std::move(admission.key),
               std::move(admission.role),
               request_.id,
               request_.from,
               request_.method,
               request_.path,
               0,
               0};
    request_.key = record_.key;
    request_.role = record_.role;
    framing_.headers = std::move(admission.headers);
    if (admission.refusal) return answer_whole(std::move(*admission.refusal));
    route_ = admission.route;
    request_.captures = std::move(admission.captures);
    if (!body_fits()) return;
    if (!parser_->is_done() && expects_continue()) return send_continue();
    read_body();
  }

  void begin_refusal() {
    phase_ = Phase::kHead;
    started_at_ = SteadyClock::now();
    begin_request();
  }

  std::string peer() const {
    error_code ec;
    const auto endpoint = socket_.remote_endpoint(ec);
    return ec ? std::string() : endpoint.address().to_string();
  }

  void begin_request() {
    request_ = Request{};
    request_.id = "req_" + random_hex();
    request_.from = peer();
    record_ = {};
    record_.route = "none";
    framing_ = Framing{};
    framing_.request_id = request_.id;
    framing_.patience = shared_.limits.write_timeout;
    framing_.client_bytes_per_second = shared_.limits.client_bytes_per_second;
    route_ = nullptr;
  }

  /// Parsed head -> request_, framing_. False: no usable target.
  bool take_head() {
    const auto& message = parser_->get();
    framing_.http_1_0 = message.version() == 10;
    framing_.keep_alive = message.keep_alive();
    framing_.head_only = message.method() == http::verb::head;
    request_.http_1_0 = framing_.http_1_0;
    request_.method = std::string(message.method_string());
    for (const auto& field : message)
      request_.headers.emplace_back(to_lower_ascii({field.name_string().data(), field.name_string().size()}),
                                    std::string(field.value()));
    if (const auto* id = request_.header("x-request-id"); id != nullptr && sane_request_id(*id)) {
      request_.id = *id;
      framing_.request_id = *id;
    }
    std::string_view target(message.target().data(), message.target().size());
    if (const auto absolute = split_absolute(target)) {
      target = absolute->second;
      for (auto& [name, value] : request_.headers) {
        if (name == "host") value = std::string(absolute->first);
      }
    }
    auto parsed = parse_target(target);
    if (!parsed) return false;
    request_.path = std::move(parsed->path);
    request_.query = std::move(parsed->query);
    return true;
  }

  bool expects_continue() const {
    const auto* expect = request_.header("expect");
    return expect != nullptr && !framing_.http_1_0 && equals_ignore_case(*expect, "100-continue");
  }

  void send_continue() {
    phase_ = Phase::kBody;
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    arm(write_timer_, shared_.limits.write_timeout, &Session::shut);
    asio::async_write(stream_, asio::buffer(kContinue), [self = shared_from_this()](error_code ec, size_t) {
      self->disarm(self->write_timer_);
      if (self->phase_ != Phase::kBody) return;
      if (ec) return self->shut();
      self->read_body();
    });
  }

  /// Refuses a body that is larger than its route takes, announced or arrived.
  bool body_fits() {
    const size_t limit = route_->max_body;
    const auto announced = parser_->content_length();
    if ((announced && *announced > limit) || parser_->get().body().size() > limit) {
      refuse(ApiError(413, "the request's body exceeds the " + std::to_string(limit) + " bytes taken here",
                      "body_too_large"));
      return false;
    }
    return true;
  }

  void read_body() {
    phase_ = Phase::kBody;
    if (parser_->is_done()) return dispatch();
    // Time is granted as bytes arrive, so that a large body may take long and a trickle may not.
    const auto granted =
        shared_.limits.body_timeout +
        std::chrono::seconds(body_counted_ / std::max<size_t>(shared_.limits.body_bytes_per_second, 1));
    const auto spent = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - started_at_);
    arm(read_timer_, std::max(granted - spent, milliseconds(0)), &Session::on_read_timeout);
    http::async_read_some(stream_, buffer_, *parser_,
                          [self = shared_from_this()](error_code ec, size_t) { self->on_body(ec); });
  }

  void on_body(error_code ec) {
    if (phase_ != Phase::kBody) return;
    disarm(read_timer_);
    if (late_) return refuse(ApiError(408, "the request's body did not arrive in time", "request_timeout"));
    if (ec == http::error::partial_message || ec == http::error::end_of_stream) return shut();
    if (ec && ec.category() != make_error_code(http::error::bad_chunk).category()) return shut();
    if (ec) return refuse(parse_failure(ec, shared_.limits.header_bytes));
    if (!body_fits() || !count_body()) return;
    read_body();
  }

  /// Charges what has arrived to the budget of all requests. False: it is spent, and the request refused.
  bool count_body() {
    const size_t size = parser_->get().body().size();
    const size_t more = size - body_counted_;
    const size_t total = shared_.body_bytes.fetch_add(more) + more;
    body_counted_ = size;
    if (total <= shared_.limits.all_body_bytes) return true;
    ApiError error(503, "too many large requests are being handled; try again later", "overloaded");
    error.headers.emplace_back("Retry-After", "1");
    refuse(error);
    return false;
  }

  void release_body() {
    shared_.body_bytes -= body_counted_;
    body_counted_ = 0;
  }

  // Answering it.

  std::shared_ptr<Reply> begin_answer() {
    phase_ = Phase::kAnswer;
    ++answer_number_;
    shared_.busy(+1);
    channel_ = std::make_shared<Channel>();
    return make_exchange(channel_, framing_, [self = shared_from_this()] {
      asio::post(self->socket_.get_executor(), [self] { self->pump(); });
    });
  }

  void dispatch() {
    request_.body = std::move(parser_->get().body());
    auto reply = begin_answer();
    watch();
    ping_later();
    shared_.application.handle(*route_, std::move(request_), std::move(reply));
  }

  void refuse(const ApiError& error) {
    framing_.keep_alive = false;
    answer_whole(error_response(error));
  }

  void answer_whole(Response response) {
    // What follows an unread body cannot be told from it.
    if (!parser_ || !parser_->is_done()) framing_.keep_alive = false;
    begin_answer()->send(std::move(response));
  }

  enum class Input { kNone, kData, kEnd };

  /// What there is to read. A socket may wake its reader for bytes that were read a moment before.
  Input peek() {
    char byte = 0;
    const auto n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) return Input::kData;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? Input::kNone : Input::kEnd;
  }

  /// Notices a client that leaves while its answer is being made. One that has sent its next request already is only
  /// noticed by writing to it.
  void watch() {
    if (stream_.secure()) return read_ahead();
    socket_.async_wait(tcp::socket::wait_read,
                       [self = shared_from_this(), number = answer_number_](error_code ec) {
                         if (self->phase_ != Phase::kAnswer || self->answer_number_ != number) return;
                         const Input input = ec ? Input::kEnd : self->peek();
                         if (input == Input::kData) return;
                         if (input == Input::kNone) return self->watch();
                         self->framing_.keep_alive = false;
                         self->client_left();
                       });
  }

  /// The same under TLS, where what lies on the socket says little: the next request's first bytes are read, or the end.
  /// Nobody else uses the buffer until they are there.
  void read_ahead() {
    if (reading_ahead_ || buffer_.size() > 0) return;
    reading_ahead_ = true;
    buffer_.max_size(shared_.limits.header_bytes + kReadAhead);
    const size_t room = std::min(kReadAhead, buffer_.max_size() - buffer_.size());
    stream_.async_read_some(buffer_.prepare(room), [self = shared_from_this()](error_code ec, size_t n) {
      self->reading_ahead_ = false;
      if (!ec) self->buffer_.commit(n);
      if (self->phase_ == Phase::kIdle) return ec ? self->shut() : self->read_head();
      if (self->phase_ != Phase::kAnswer || !ec) return;
      self->framing_.keep_alive = false;
      self->client_left();
    });
  }

  /// The client will send nothing more, and most likely is gone: what is being made for it stops.
  void client_left() {
    std::function<void()> drained;
    {
      std::lock_guard lock(channel_->mutex);
      channel_->keep_alive = false;
      drained = channel_->drained;
    }
    channel_->stop.request_stop();
    if (drained) drained();
  }

  void ping_later() {
    ping_timer_.expires_after(shared_.limits.ping);
    ping_timer_.async_wait([self = shared_from_this(), number = answer_number_](error_code ec) {
      if (ec || self->phase_ != Phase::kAnswer || self->answer_number_ != number) return;
      self->ping();
      self->ping_later();
    });
  }

  void ping() {
    if (SteadyClock::now() - last_write_ < shared_.limits.ping) return;
    std::lock_guard lock(channel_->mutex);
    if (channel_->ping.empty() || channel_->sending || channel_->gone) return;
    channel_->pieces.push_back(channel_->ping);
    channel_->unsent += channel_->ping.size();
    channel_->sending = true;
    post([](Session& self) { self.pump(); });
  }

  /// Takes up what the channel has; runs only while `sending` is set.
  void pump() {
    if (!channel_) return;
    bool done = false;
    std::function<void()> drained;
    {
      std::lock_guard lock(channel_->mutex);
      if (phase_ == Phase::kClosed) abandon(*channel_);
      current_.clear();
      while (!channel_->pieces.empty() && current_.size() < kWriteStep) {
        current_ += channel_->pieces.front();
        channel_->pieces.pop_front();
      }
      if (current_.empty()) {
        channel_->sending = false;
        done = channel_->finished;
        drained = channel_->drained;
      }
    }
    if (!current_.empty()) {
      offset_ = 0;
      return write_some();
    }
    if (done) return end_answer();
    if (drained) drained();
  }

  /// Nothing more goes out. The caller holds the channel's lock.
  static void abandon(Channel& channel) {
    channel.pieces.clear();
    channel.unsent = 0;
    channel.gone = true;
    channel.taken.notify_all();
  }

  void write_some() {
    arm(write_timer_, shared_.limits.write_timeout, &Session::shut);
    const size_t step = std::min(current_.size() - offset_, kWriteStep);
    stream_.async_write_some(
        asio::buffer(current_.data() + offset_, step),
        [self = shared_from_this()](error_code ec, size_t written) { self->on_written(ec, written); });
  }

  void on_written(error_code ec, size_t written) {
    disarm(write_timer_);
    if (ec || phase_ == Phase::kClosed) {
      if (phase_ != Phase::kClosed) shut();
      return pump();
    }
    last_write_ = SteadyClock::now();
    offset_ += written;
    {
      std::lock_guard lock(channel_->mutex);
      channel_->unsent -= std::min(channel_->unsent, written);
    }
    channel_->taken.notify_all();
    if (offset_ < current_.size()) return write_some();
    pump();
  }

  void end_answer() {
    bool keep = false, aborted = false;
    int status = 0;
    {
      std::lock_guard lock(channel_->mutex);
      keep = channel_->keep_alive && !channel_->gone;
      aborted = channel_->aborted;
      status = channel_->status;
    }
    channel_.reset();
    release_body();
    ping_timer_.cancel();
    const std::chrono::duration<double> taken = SteadyClock::now() - started_at_;
    record_.status = status;
    record_.seconds = taken.count();
    shared_.application.completed(record_);
    shared_.busy(-1);
    if (phase_ == Phase::kClosed) return;
    if (aborted) return shut();
    if (keep) return wait_for_request();
    linger();
  }

  /// Lets the client read the answer: closing on unread input would reset the connection under it.
  void linger() {
    phase_ = Phase::kLinger;
    if (stream_.secure()) return part();
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    buffer_.clear();
    buffer_.max_size(kReadAhead);
    arm(read_timer_, kLingerTime, &Session::shut);
    drop_input(0);
  }

  void part() {
    arm(read_timer_, kLingerTime, &Session::shut);
    stream_.async_goodbye([self = shared_from_this()](error_code) { self->shut(); });
  }

  void drop_input(size_t dropped) {
    if (dropped > kLingerBytes) return shut();
    socket_.async_read_some(buffer_.prepare(kReadAhead),
                            [self = shared_from_this(), dropped](error_code ec, size_t n) {
                              if (self->phase_ != Phase::kLinger) return;
                              if (ec) return self->shut();
                              self->drop_input(dropped + n);
                            });
  }

  void shut() {
    if (phase_ == Phase::kClosed) return;
    phase_ = Phase::kClosed;
    error_code ignored;
    socket_.close(ignored);
    read_timer_.cancel();
    write_timer_.cancel();
    ping_timer_.cancel();
    if (!channel_) return release_body();
    {
      std::lock_guard lock(channel_->mutex);
      abandon(*channel_);
    }
    client_left();
  }

  // All members are used on the socket's strand alone, but for what `shared_` guards itself.
  ClientStream stream_;
  tcp::socket& socket_;  // the stream's
  SessionShared& shared_;
  asio::steady_timer read_timer_, write_timer_, ping_timer_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Phase phase_ = Phase::kIdle;
  bool late_ = false;
  bool reading_ahead_ = false;
  const bool newcomer_;  // came while the server shuts down: told so, once
  SteadyClock::time_point started_at_{}, last_write_{};

  Request request_;
  Framing framing_;
  const Route* route_ = nullptr;
  Application::Completed record_;  // of the request, for when it is answered
  size_t body_counted_ = 0;

  std::shared_ptr<Channel> channel_;  // while an answer is under way
  uint64_t answer_number_ = 0;
  std::string current_;  // in the socket's hands from offset_ on
  size_t offset_ = 0;
};

}  // namespace

std::shared_ptr<SessionHandle> start_session(tcp::socket socket, SessionShared& shared, bool refuse) {
  auto session = std::make_shared<Session>(std::move(socket), shared);
  session->start(refuse);
  return session;
}

}  // namespace fathom::server
