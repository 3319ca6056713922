#include "base/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/address_v6.hpp>
#include <charconv>

#include "base/error.h"
#include "base/text.h"

namespace fathom {
namespace {

using BoostError = boost::system::error_code;
namespace net = boost::asio;

[[noreturn]] void throw_bad_url(std::string_view url, std::string_view why) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is not an address that can be fetched: {}",
                                                       sanitize_utf8(url.substr(0, 200)), why));
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/// Takes "host", "host:port", "[v6]" or "[v6]:port" apart.
void parse_authority(std::string_view url, std::string_view authority, Url& out) {
  std::string_view port;
  bool has_port = false;
  if (!authority.empty() && authority.front() == '[') {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) throw_bad_url(url, "its '[' is not closed");
    out.host = to_lower_ascii(authority.substr(1, end - 1));
    BoostError bad;
    net::ip::make_address_v6(out.host, bad);
    if (bad) throw_bad_url(url, "what stands in brackets is no IPv6 address");
    const auto rest = authority.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') throw_bad_url(url, "']' is followed by no port");
    has_port = !rest.empty();
    if (has_port) port = rest.substr(1);
  } else {
    const size_t colon = authority.find(':');
    has_port = colon != std::string_view::npos;
    if (has_port) port = authority.substr(colon + 1);
    out.host = to_lower_ascii(authority.substr(0, colon));
    if (out.host.empty()) throw_bad_url(url, "it names no host");
    if (out.host.size() > 253 || !std::all_of(out.host.begin(), out.host.end(), is_host_character))
      throw_bad_url(url, "its host is no host name");
  }
  out.port = out.encrypted() ? "443" : "80";
  if (!has_port || port.empty()) return;
  unsigned number = 0;
  const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (ec != std::errc{} || end != port.data() + port.size() || number < 1 || number > 65535)
    throw_bad_url(url, "its port is no number from 1 to 65535");
  out.port = std::to_string(number);
}

/// `plain` is the scheme without encryption, which an `s` is added to for the other.
Url parse(std::string_view url, std::string_view plain) {
  for (const char c : url)
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f' || c == '\\')
      throw_bad_url(url, "it has a space, a control character or a backslash in it");
  Url out;
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos)
    throw_bad_url(url, fmt::format("it does not begin with {0}:// or {0}s://", plain));
  out.scheme = to_lower_ascii(url.substr(0, colon));
  if (out.scheme != plain && out.scheme != std::string(plain) + "s")
    throw_bad_url(url, fmt::format("only {0}:// and {0}s:// are supported", plain));
  auto rest = url.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t slash = rest.find_first_of("/?");
  const auto authority = rest.substr(0, slash);
  if (authority.find('@') != std::string_view::npos)
    throw_bad_url(url, "a user name in it is not supported; use an Authorization header");
  parse_authority(url, authority, out);
  out.target = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash));
  if (out.target.front() == '?') out.target.insert(0, "/");
  return out;
}

}  // namespace

Url parse_url(std::string_view url) { return parse(url, "http"); }

Url parse_web_socket_url(std::string_view url) { return parse(url, "ws"); }

std::string Url::authority() const {
  std::string text = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (encrypted() ? "443" : "80")) text += ":" + port;
  return text;
}

std::string resolve_reference(const Url& base, std::string_view reference) {
  if (const size_t colon = reference.find(':');
      colon != std::string_view::npos && colon < reference.find_first_of("/?#"))
    return std::string(reference);
  if (reference.starts_with("//")) return fmt::format("{}:{}", base.scheme, reference);
  const std::string site = fmt::format("{}://{}", base.scheme, base.authority());
  if (reference.starts_with("/")) return site + std::string(reference);
  const std::string path = base.target.substr(0, base.target.find('?'));
  if (reference.starts_with("?") || reference.empty()) return site + path + std::string(reference);
  return site + path.substr(0, path.rfind('/') + 1) + std::string(reference);
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kUnreserved = "-._~";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       kUnreserved.find(c) != std::string_view::npos;
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace fathom
