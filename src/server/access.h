// Who may ask: the Host and Origin checks that keep other sites' pages out, and API keys. Immutable; thread-safe.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/http.h"
#include "server/server.h"

namespace fathom::server {

class Access {
 public:
  /// Errors: kInvalidArgument for an empty key and for an address that others can reach without a key.
  explicit Access(const ServerOptions& options);

  /// Why `request` may not proceed, if so. `open`: the route needs no key.
  std::optional<ApiError> refusal(const Request& request, bool open) const;

  bool needs_key() const { return !keys_.empty(); }

 private:
  using Digest = std::array<unsigned char, 32>;

  static Digest digest(std::string_view key);
  std::optional<ApiError> host_refusal(const Request& request) const;
  std::optional<ApiError> origin_refusal(const Request& request) const;
  std::optional<ApiError> key_refusal(const Request& request) const;

  std::vector<Digest> keys_;
  std::vector<std::string> hosts_;  // that a Host header may name; empty: any
};

}  // namespace fathom::server
