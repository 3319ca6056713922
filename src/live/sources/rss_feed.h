// One feed of the source "rss": what is known of it, how it is asked for, when it is due again.
//
// Not thread-safe; different feeds may be fetched on different threads.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/error.h"
#include "live/sources/feed_document.h"
#include "live/sources/rss.h"

namespace fathom::live {

class RssFeed {
 public:
  RssFeed(std::string configured, const RssOptions& options);

  /// What one request brought.
  struct Fetched {
    std::optional<FeedDocument> document;  // empty: not changed, or failed
    std::optional<Error> error;
    bool gone = false;                 // for good
    std::vector<std::string> remarks;  // for people: it has moved, say
  };
  /// Asks for the feed, follows redirects and pages that name it. Never throws but when stopped.
  Fetched fetch(Transport& transport, const Clock& clock, const std::stop_token& stop);

  /// The posts that are new or changed, oldest first; notes what was seen and sets when the feed is due again.
  std::vector<Post> take(const Fetched& fetched, Time now);

  const std::string& configured() const { return configured_; }
  const std::string& address() const { return address_; }
  Time due() const { return due_; }
  bool gone() const { return gone_; }

  nlohmann::json to_json() const;
  void restore(const nlohmann::json& kept);

 private:
  struct Seen {
    uint64_t content = 0;  // hash of what was delivered; 0: in an earlier run
    Time first{};
  };

  HttpRequest request(const std::string& address) const;
  HttpResponse follow(Transport& transport, const std::stop_token& stop, Fetched& fetched);
  bool read(const HttpResponse& response, const Clock& clock, Fetched& fetched);
  void schedule(const Fetched& fetched, bool news, Time now);
  Time allowed_from(Time time) const;
  void forget_old();

  const std::string configured_;
  const RssOptions& options_;
  std::string address_;  // where it is now
  std::string etag_, modified_;
  Time due_{};
  std::chrono::milliseconds interval_;
  std::chrono::milliseconds told_{};  // what the server and the feed ask for at least
  std::bitset<24> skip_hours_;
  std::bitset<7> skip_days_;
  bool gone_ = false;
  int failures_ = 0;
  uint64_t round_ = 0;
  std::map<std::string, Seen> seen_;  // by the entry's digest
  std::vector<std::string> present_;  // in the last document
};

}  // namespace fathom::live
