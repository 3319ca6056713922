// Which handler answers which path, and on which threads. Built once, then read from all threads.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"
#include "server/keys.h"

namespace fathom::server {

/// Answers `reply`, now or later. May throw before anything was sent: the error is then the answer.
using Handler = std::function<void(const Request& request, const std::shared_ptr<Reply>& reply)>;

/// Where a handler runs.
enum class Lane {
  kInline,    // on the I/O thread: returns in microseconds
  kRequests,  // may read the store and the disk
  kAnswers,   // may take minutes
};

struct Route {
  std::string method;  // GET answers HEAD too
  /// "/v1/posts/{key}": a name in braces matches one piece, the last one all that remains, slashes too.
  std::string pattern;
  std::string name;  // for the metrics
  Lane lane = Lane::kRequests;
  bool open = false;          // no API key needed
  Role role = Role::kReader;  // that a key must have
  size_t max_body = 0;        // bytes
  bool json_body = false;     // 415 without a JSON content type
  Handler handler;
};

class Router {
 public:
  void add(Route route);

  struct Match {
    const Route* route = nullptr;  // null: 404, or 405 when `allow` is not empty
    Fields captures;
    std::string allow;  // the methods that the path has
  };
  /// `path` as sent. The result lives as long as the router.
  Match find(std::string_view method, std::string_view path) const;

 private:
  std::vector<std::unique_ptr<const Route>> routes_;
};

}  // namespace fathom::server
