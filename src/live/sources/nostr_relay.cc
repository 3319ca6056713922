#include "live/sources/nostr_relay.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessageBytes = size_t{1} << 20;
constexpr std::string_view kSubscription = "fathom";

}  // namespace

bool NostrInbox::put(NostrLetter letter, const std::stop_token& stop) {
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return letters_.size() < kMostLetters; })) return false;
    letters_.push_back(std::move(letter));
  }
  changed_.notify_all();
  return true;
}

std::optional<NostrLetter> NostrInbox::take(const std::stop_token& stop) {
  std::optional<NostrLetter> letter;
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return !letters_.empty(); })) return {};
    letter = std::move(letters_.front());
    letters_.pop_front();
  }
  changed_.notify_all();
  return letter;
}

std::string nostr_request(const NostrOptions& options, int64_t since) {
  json notes{{"kinds", {1}}};
  if (!options.authors.empty()) notes["authors"] = options.authors;
  if (!options.tags.empty()) notes["#t"] = options.tags;
  json others{{"kinds", {5}}};  // a deletion has no hashtags
  if (options.counts) others["kinds"] = {5, 6, 7};
  for (json* filter : {&notes, &others}) {
    if (since > 0)
      (*filter)["since"] = since;
    else
      (*filter)["limit"] = filter == &notes ? options.backfill : 1;
  }
  return json::array({"REQ", kSubscription, notes, others}).dump();
}

NostrRelay::NostrRelay(size_t number, const NostrOptions& options, int64_t since, WebSockets& sockets,
                       const Clock& clock, const NostrSignatures& signatures, NostrInbox& inbox)
    : number_(number),
      options_(options),
      url_(options.relays[number]),
      since_(since),
      sockets_(sockets),
      clock_(clock),
      signatures_(signatures),
      inbox_(inbox),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

void NostrRelay::run(const std::stop_token& stop) {
  auto wait = options_.retry_first;
  while (!stop.stop_requested()) {
    said_something_ = false;
    try {
      follow(stop);
    } catch (const Error& error) {
      put(NostrLetter::Type::kFailed, error.what(), stop);
    }
    if (said_something_) wait = options_.retry_first;
    if (!clock_.sleep(wait, stop)) return;
    wait = std::min(wait * 2, options_.retry_longest);
  }
}

void NostrRelay::follow(const std::stop_token& stop) {
  WebSocketRequest request;
  request.url = url_;
  request.silence = options_.silence;
  request.max_message_bytes = kMaxMessageBytes;
  const auto socket = sockets_.connect(request, stop);
  put(NostrLetter::Type::kConnected, {}, stop);
  socket->send(nostr_request(options_, since_), stop);
  while (const auto message = socket->receive(stop))
    if (!take(message->data, stop)) return;
  throw Error(ErrorCode::kNetwork, fmt::format("{} closed the connection: {}", url_, socket->close_reason()));
}

bool NostrRelay::take(std::string_view text, const std::stop_token& stop) {
  using Type = NostrMessage::Type;
  NostrMessage message;
  try {
    message = parse_nostr_message(text);
  } catch (const Error& error) {
    put(NostrLetter::Type::kRejected, fmt::format("{}: {}", url_, error.what()), stop);
    return true;
  }
  said_something_ = said_something_ || message.type == Type::kEvent || message.type == Type::kEndOfStored;
  if (message.type == Type::kEndOfStored) put(NostrLetter::Type::kCurrent, {}, stop);
  if (message.type == Type::kNotice) put(NostrLetter::Type::kNotice, message.text, stop);
  if (message.type == Type::kClosed)
    throw Error(ErrorCode::kNetwork, fmt::format("{} ended the subscription: {}", url_, message.text));
  if (message.type != Type::kEvent) return true;
  NostrEvent& event = *message.event;
  if (!signatures_.verify(event.pubkey, event.id, event.sig)) {
    put(NostrLetter::Type::kRejected, fmt::format("{}: event {} is not signed by its author", url_, event.id),
        stop);
    return true;
  }
  const int64_t now = std::chrono::floor<std::chrono::seconds>(clock_.now()).time_since_epoch().count();
  const int64_t rewind = std::chrono::floor<std::chrono::seconds>(options_.rewind).count();
  since_ = std::max(since_, std::min(event.created_at, now) - rewind);
  return inbox_.put({NostrLetter::Type::kEvent, number_, std::move(event), {}}, stop);
}

void NostrRelay::put(NostrLetter::Type type, std::string text, const std::stop_token& stop) {
  inbox_.put({type, number_, {}, std::move(text)}, stop);
}

}  // namespace fathom::live
