#include "live/sources/nostr.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/url.h"
#include "live/sources/nostr_relay.h"
#include "live/sources/scoped_cursor.h"

namespace fathom::live {
namespace {

constexpr size_t kMostKnown = 50000;  // events remembered, against repetitions and for deletions

/// The last events that came, by id, each with a value. Forgets the oldest.
template <class Value>
class Recent {
 public:
  /// Null when it is not known.
  const Value* find(const std::string& id) const {
    const auto found = values_.find(id);
    return found == values_.end() ? nullptr : &found->second;
  }
  /// False when it is known already.
  bool insert(const std::string& id, Value value) {
    if (!values_.emplace(id, std::move(value)).second) return false;
    order_.push_back(id);
    if (order_.size() > kMostKnown) {
      values_.erase(order_.front());
      order_.pop_front();
    }
    return true;
  }

 private:
  std::unordered_map<std::string, Value> values_;
  std::deque<std::string> order_;
};

class Nostr final : public Source {
 public:
  Nostr(const NostrOptions& options, WebSockets& sockets, const Clock& clock)
      : options_(options), sockets_(sockets), clock_(clock) {}

  std::string_view name() const override { return options_.name; }

  void run(Sink& sink, const std::stop_token& stop) override {
    if (!std::exchange(resumed_, true)) newest_ = counted_ = read_cursor(sink);
    const int64_t rewind = std::chrono::floor<std::chrono::seconds>(options_.rewind).count();
    const int64_t since = newest_ == 0 ? 0 : std::max<int64_t>(newest_ - rewind, 1);
    NostrInbox inbox;
    failed_.clear();
    std::vector<std::unique_ptr<NostrRelay>> relays;
    for (size_t i = 0; i < options_.relays.size(); ++i)
      relays.push_back(
          std::make_unique<NostrRelay>(i, options_, since, sockets_, clock_, signatures_, inbox));
    while (auto letter = inbox.take(stop))
      if (!read(std::move(*letter), sink)) return;
  }

 private:
  static int64_t read_cursor(const Sink& sink) {
    const std::string cursor = sink.cursor();
    const auto place = place_of_cursor(cursor, "nostr");
    int64_t seconds = 0;
    std::from_chars(place.data(), place.data() + place.size(), seconds);
    return std::max<int64_t>(seconds, 0);
  }

  /// Returns false when the source is to stop. Errors: kNetwork when the last relay that worked has failed.
  bool read(NostrLetter letter, Sink& sink) {
    switch (letter.type) {
      case NostrLetter::Type::kEvent: return take(std::move(*letter.event), sink);
      case NostrLetter::Type::kCurrent: sink.set_live(); break;
      case NostrLetter::Type::kConnected: failed_.erase(letter.relay); break;
      case NostrLetter::Type::kRejected: sink.reject(letter.text); break;
      case NostrLetter::Type::kNotice:
        sink.warn(fmt::format("{} says: {}", options_.relays[letter.relay], letter.text));
        break;
      case NostrLetter::Type::kFailed:
        failed_.insert(letter.relay);
        if (failed_.size() == options_.relays.size()) throw Error(ErrorCode::kNetwork, letter.text);
        sink.warn(letter.text);
        break;
    }
    return true;
  }

  bool take(NostrEvent event, Sink& sink) {
    if (!known_.insert(event.id, event.pubkey)) return true;
    const int64_t time = event.created_at;
    if (event.is(NostrKind::kNote) && !deliver(event, sink)) return false;
    if (event.is(NostrKind::kDeletion) && !remove(event, sink)) return false;
    if (event.is(NostrKind::kRepost)) count(event.references(), {.reposts = 1}, time, sink);
    if (event.is(NostrKind::kReaction) && event.content != "-")
      count(event.references(), {.likes = 1}, time, sink);
    move_on(time, sink);
    return true;
  }

  bool deliver(const NostrEvent& event, Sink& sink) {
    const std::string* deleter = deleted_.find(event.id);
    if (deleter != nullptr && *deleter == event.pubkey) return true;
    auto post = nostr_post(event, options_.site, clock_.now());
    if (!post) return true;
    const std::string parent = post->reply_to;
    if (!sink.deliver(std::move(*post))) return false;
    if (!parent.empty()) count({parent}, {.replies = 1}, event.created_at, sink);
    return true;
  }

  /// NIP-09: only what the same key has written.
  bool remove(const NostrEvent& event, Sink& sink) {
    for (const auto reference : event.references()) {
      const std::string id(reference);
      const auto author = author_of(id, sink);
      if (!author) deleted_.insert(id, event.pubkey);  // it may still come, from another relay
      if (author != event.pubkey) continue;
      deleted_.insert(id, event.pubkey);
      Post order;
      order.id = id;
      order.source = "nostr";
      order.created_at = Time(std::chrono::seconds(event.created_at));
      order.received_at = clock_.now();
      order.deleted = true;
      if (!sink.deliver(std::move(order))) return false;
    }
    return true;
  }

  std::optional<std::string> author_of(const std::string& id, const Sink& sink) const {
    if (const std::string* known = known_.find(id)) return *known;
    const auto post = sink.find("nostr:" + id);
    return post ? std::optional(post->author.id) : std::nullopt;
  }

  /// The last reference is what a reaction or a repost is about (NIP-25).
  void count(const std::vector<std::string_view>& references, const CountChange& change, int64_t time,
             Sink& sink) const {
    if (options_.counts && !references.empty() && time > counted_)
      sink.count(fmt::format("nostr:{}", references.back()), change);
  }

  /// The cursor never runs ahead of the clock, whatever an event claims.
  void move_on(int64_t time, Sink& sink) {
    const int64_t now = std::chrono::floor<std::chrono::seconds>(clock_.now()).time_since_epoch().count();
    if (time > now || time <= newest_) return;
    newest_ = time;
    sink.advance(scoped_cursor("nostr", std::to_string(newest_)));
  }

  const NostrOptions options_;
  WebSockets& sockets_;
  const Clock& clock_;
  const NostrSignatures signatures_;
  bool resumed_ = false;
  int64_t newest_ = 0;           // seconds, of the events so far; 0: none
  int64_t counted_ = 0;          // what came before this run of the program was counted then
  std::set<size_t> failed_;      // relays that have not been reached since they failed
  Recent<std::string> known_;    // event -> its author
  Recent<std::string> deleted_;  // event -> who deleted it
};

}  // namespace

std::unique_ptr<Source> make_nostr_source(const NostrOptions& options, WebSockets& sockets,
                                          const Clock& clock) {
  if (options.relays.empty()) throw Error(ErrorCode::kInvalidArgument, "a Nostr source needs a relay");
  for (const auto& relay : options.relays) parse_web_socket_url(relay);
  for (const auto& author : options.authors)
    if (!bytes_of_hex<32>(author))
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("'{}' is no public key: give 64 hexadecimal digits in lower case", author));
  return std::make_unique<Nostr>(options, sockets, clock);
}

}  // namespace fathom::live
