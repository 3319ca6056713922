// Who may ask: the Host and Origin checks that keep other sites' pages out, and API keys. Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/http.h"
#include "server/keys.h"
#include "server/server.h"

namespace fathom::server {

class Access {
 public:
  /// Errors: kInvalidArgument for an empty key and for an address that others can reach without a key.
  explicit Access(const ServerOptions& options);

  /// Why `request` may not proceed whatever it asks for, if so.
  std::optional<ApiError> refusal(const Request& request) const;

  /// Who asks, and whether they may do what needs `role`.
  struct Caller {
    std::optional<ApiError> refusal;
    std::shared_ptr<KeyHolder> holder;  // null: no key is needed here, or none of ours was given
    RateLimit::Decision rate;           // with a limit of 0: the key has none
  };
  Caller identify(const Request& request, Role role);

  bool needs_key() { return !keys_.empty(); }

 private:
  std::optional<ApiError> host_refusal(const Request& request) const;
  std::optional<ApiError> origin_refusal(const Request& request) const;

  KeyRing keys_;
  std::vector<std::string> hosts_;  // that a Host header may name; empty: any
};

}  // namespace fathom::server
