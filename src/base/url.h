// Addresses on the web (RFC 3986) as far as the program fetches them. Plain values and pure functions.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

struct Url {
  std::string scheme, host, port, target;  // target: path and query, at least "/"

  bool encrypted() const { return scheme == "https" || scheme == "wss"; }
  /// host, or [host] for IPv6; with the port where it is not the scheme's own.
  std::string authority() const;
};

/// Errors: kInvalidArgument for anything but http(s)://host[:port][/...].
Url parse_url(std::string_view url);

/// Errors: kInvalidArgument for anything but ws(s)://host[:port][/...].
Url parse_web_socket_url(std::string_view url);

/// RFC 3986, section 5.2, without the folding of "../": absolute, //authority, /path, ?query and relative references.
std::string resolve_reference(const Url& base, std::string_view reference);

/// One part of a query ("?key=part") or path: all but unreserved characters as %XX (RFC 3986, section 2).
std::string percent_encode(std::string_view text);

}  // namespace fathom
