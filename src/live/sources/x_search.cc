#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "live/sources/scoped_cursor.h"
#include "live/sources/x_api.h"
#include "live/sources/x_json.h"

namespace fathom::live {
namespace {

constexpr auto kSearchable = std::chrono::hours(7 * 24 - 1);  // of the seven days, with room for slow clocks

class XSearch final : public Source {
 public:
  XSearch(const XOptions& options, Transport& transport, const Clock& clock)
      : api_(options, transport, clock),
        scope_(fmt::format("x {} search {}", options.api_url, options.query)) {
    api_.prefer_new_spelling();
  }

  std::string_view name() const override { return api_.options().name; }

  void run(Sink& sink, const std::stop_token& stop) override {
    newest_ = std::max(newest_, parse_x_id(place_of_cursor(sink.cursor(), scope_)));
    for (;;) {
      if (!poll(sink, stop)) return;
      api_.backoff().reset();
      sink.set_live();
      if (!api_.sleep(pause(), stop)) return;
    }
  }

 private:
  Micros pause() const {
    const Micros interval = api_.options().interval;
    return exhausted_until_ ? std::max(interval, Micros(*exhausted_until_ - api_.now())) : interval;
  }

  /// What came since the last poll, newest first. The cursor moves when all of it is delivered: a poll that breaks off is
  /// repeated whole. Returns false when the source is to stop.
  bool poll(Sink& sink, const std::stop_token& stop) {
    const std::string first = first_target();
    const size_t most = newest_ == 0 ? 1 : api_.options().max_pages;
    std::string token;
    uint64_t newest = newest_;
    for (size_t page = 0; page < most; ++page) {
      const XMessage message = get_page(first, token, stop);
      for (const auto& why : message.left_out) sink.reject(why);
      for (const Post& post : message.posts)
        if (!sink.deliver(post)) return false;
      newest = std::max(newest, message.newest_id);
      token = message.next_token;
      if (token.empty()) break;
    }
    if (!token.empty() && newest_ != 0)
      sink.warn(fmt::format("more than {} pages of posts came between two searches; the oldest were left out",
                            most));
    newest_ = newest;
    if (newest_ != 0) sink.advance(scoped_cursor(scope_, std::to_string(newest_)));
    return true;
  }

  /// From the last post on, or as far back as X searches when that is too long ago.
  std::string first_target() const {
    std::string target =
        "/2/tweets/search/recent?max_results=100&query=" + percent_encode(api_.options().query);
    if (newest_ == 0) return target;
    const Time oldest = std::chrono::floor<std::chrono::seconds>(api_.now() - kSearchable);
    if (x_time_of_id(newest_) > oldest) return target + fmt::format("&since_id={}", newest_);
    return target + "&start_time=" + percent_encode(format_time(oldest));
  }

  XMessage get_page(const std::string& first, const std::string& token, const std::stop_token& stop) {
    const std::string page = token.empty() ? first : first + "&next_token=" + percent_encode(token);
    HttpResponse response = fetch(page + "&" + api_.fields(), stop);
    if (api_.try_other_spelling(response)) response = fetch(page + "&" + api_.fields(), stop);
    api_.check(response);
    exhausted_until_ = api_.exhausted_until(response);
    try {
      return parse_x_message(response.body, api_.now());
    } catch (const Error& error) {
      throw RetryAfter(ErrorCode::kNetwork, error.what(), api_.backoff().after_refusal());
    }
  }

  HttpResponse fetch(const std::string& target, const std::stop_token& stop) {
    try {
      return api_.transport().fetch(api_.request(target), stop);
    } catch (const Error&) {
      api_.rethrow(false);
    }
  }

  XApi api_;
  const std::string scope_;
  uint64_t newest_ = 0;
  std::optional<Time> exhausted_until_;
};

}  // namespace

std::unique_ptr<Source> make_x_search(const XOptions& options, Transport& transport, const Clock& clock) {
  return std::make_unique<XSearch>(options, transport, clock);
}

}  // namespace fathom::live
