#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "live/sources/scoped_cursor.h"
#include "live/sources/x_api.h"
#include "live/sources/x_json.h"
#include "live/sources/x_rules.h"

namespace fathom::live {
namespace {

constexpr std::string_view kRules = "/2/tweets/search/stream/rules";
constexpr size_t kMaxRulePages = 10;

std::string_view path_of(XMode mode) {
  switch (mode) {
    case XMode::kSampled: return "/2/tweets/sample/stream";
    case XMode::kSampled10: return "/2/tweets/sample10/stream";
    case XMode::kCompliance: return "/2/tweets/compliance/stream";
    default: return "/2/tweets/search/stream";
  }
}

class XStream final : public Source {
 public:
  XStream(const XOptions& options, Transport& transport, const Clock& clock)
      : api_(options, transport, clock),
        scope_(fmt::format("x {}{}", options.api_url, path_of(options.mode))),
        tag_("fathom/" + options.name) {
    if (options.mode == XMode::kFiltered) wanted_ = check_x_rules(options.rules);
  }

  std::string_view name() const override { return api_.options().name; }

  void run(Sink& sink, const std::stop_token& stop) override {
    if (!wanted_.empty() && !rules_set_) set_rules(stop);
    newest_ = std::max(newest_, parse_x_id(place_of_cursor(sink.cursor(), scope_)));
    HttpResponse head = follow(sink, stop);
    if (api_.try_other_spelling(head)) head = follow(sink, stop);
    if (stopped_ || stop.stop_requested()) return;
    api_.check(head);
    end_of_stream();
  }

 private:
  // --- the account's rules

  void set_rules(const std::stop_token& stop) {
    const XRulesChange change = plan_x_rules(wanted_, present_rules(stop), tag_);
    if (!change.remove.empty()) api_.post(kRules, x_rules_to_remove(change.remove), stop);
    if (!change.add.empty()) {
      const auto response = api_.post(kRules, x_rules_to_add(change.add, tag_), stop);
      if (const auto refused = x_rules_refused(response.body); !refused.empty())
        throw Error(ErrorCode::kInvalidArgument, refused);
    }
    log().info("source {}: {} rules at X, {} added, {} removed", name(), wanted_.size(), change.add.size(),
               change.remove.size());
    rules_set_ = true;
  }

  std::vector<XRule> present_rules(const std::stop_token& stop) {
    std::vector<XRule> rules;
    std::string token;
    for (size_t page = 0; page < kMaxRulePages; ++page) {
      const std::string next = token.empty() ? "" : "?pagination_token=" + percent_encode(token);
      XRulesPage answer = parse_x_rules(api_.get(std::string(kRules) + next, stop).body);
      std::move(answer.rules.begin(), answer.rules.end(), std::back_inserter(rules));
      token = std::move(answer.next_token);
      if (token.empty()) break;
    }
    return rules;
  }

  // --- the stream

  std::string target() const {
    const XOptions& options = api_.options();
    std::string query = options.mode == XMode::kCompliance ? "" : api_.fields();
    const auto add = [&](std::string_view key, int64_t value) {
      query += fmt::format("{}{}={}", query.empty() ? "" : "&", key, value);
    };
    if (options.partition > 0) add("partition", options.partition);
    if (const int64_t minutes = gap_minutes(); minutes > 0) add("backfill_minutes", minutes);
    return fmt::format("{}{}{}", path_of(options.mode), query.empty() ? "" : "?", query);
  }

  /// How much of what was missed is asked for again.
  int64_t gap_minutes() const {
    if (api_.options().backfill_minutes == 0 || newest_ == 0) return 0;
    const auto gap = std::chrono::ceil<std::chrono::minutes>(api_.now() - x_time_of_id(newest_)).count();
    return std::clamp<int64_t>(gap, 1, api_.options().backfill_minutes);
  }

  /// One connection, until it ends. Errors: RetryAfter.
  HttpResponse follow(Sink& sink, const std::stop_token& stop) {
    XFrames frames;
    healthy_ = stopped_ = false;
    problem_.reset();
    const Time begin = api_.now();
    HttpRequest request = api_.request(target());
    request.timeout = api_.options().silence;
    request.on_head = [&](const HttpResponse&) {
      sink.set_live();
      return true;
    };
    const auto on_piece = [&](std::string_view piece) {
      const size_t left_out = frames.feed(piece, [&](std::string_view frame) { return take(frame, sink); });
      for (size_t i = 0; i < left_out; ++i) sink.reject("a frame that is too long");
      if (api_.now() - begin >= api_.options().silence) set_healthy();
      return !problem_ && !stopped_;
    };
    try {
      return api_.transport().stream(request, on_piece, stop);
    } catch (const Error&) {
      api_.rethrow(healthy_);
    }
  }

  /// Posts came, or signs of life for a while: should the connection end, it is made again at once.
  void set_healthy() {
    if (!std::exchange(healthy_, true)) api_.backoff().reset();
  }

  /// Returns false when the connection is to be closed.
  bool take(std::string_view frame, Sink& sink) {
    XMessage message;
    try {
      message = parse_x_message(frame, api_.now());
    } catch (const Error& error) {
      sink.reject(error.what());
      return true;
    }
    for (const auto& why : message.left_out) sink.reject(why);
    for (Post& post : message.posts)
      if (!sink.deliver(std::move(post))) {
        stopped_ = true;
        return false;
      }
    if (message.newest_id > newest_) {
      newest_ = message.newest_id;
      sink.advance(scoped_cursor(scope_, std::to_string(newest_)));
    }
    if (!message.posts.empty()) set_healthy();
    problem_ = std::move(message.problem);
    return !problem_;
  }

  [[noreturn]] void end_of_stream() {
    using std::chrono::milliseconds;
    if (!problem_)
      throw RetryAfter(ErrorCode::kNetwork, "X ended the stream",
                       healthy_ ? milliseconds(0) : api_.backoff().after_network_failure());
    const std::string what = fmt::format("X ended the stream: {}: {}", problem_->title, problem_->detail);
    if (problem_->too_many_connections)
      throw RetryAfter(ErrorCode::kResourceExhausted, what,
                       api_.backoff().after_rate_limit(api_.now(), std::nullopt));
    throw RetryAfter(ErrorCode::kNetwork, what, healthy_ ? milliseconds(0) : api_.backoff().after_refusal());
  }

  XApi api_;
  const std::string scope_, tag_;
  std::vector<std::string> wanted_;
  bool rules_set_ = false;
  uint64_t newest_ = 0;

  // Of the present connection.
  bool healthy_ = false, stopped_ = false;
  std::optional<XProblem> problem_;
};

}  // namespace

std::unique_ptr<Source> make_x_stream(const XOptions& options, Transport& transport, const Clock& clock) {
  return std::make_unique<XStream>(options, transport, clock);
}

}  // namespace fathom::live
