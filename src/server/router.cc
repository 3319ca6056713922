#include "server/router.h"

#include <optional>

#include "base/error.h"

namespace fathom::server {
namespace {

/// Takes the next piece off `path`; both begin with '/'.
std::string_view take_piece(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view piece = path.substr(0, path.find('/'));
  path.remove_prefix(piece.size());
  return piece;
}

bool is_capture(std::string_view piece) {
  return piece.size() > 2 && piece.front() == '{' && piece.back() == '}';
}

std::optional<Fields> match_path(std::string_view pattern, std::string_view path) {
  Fields captures;
  while (!pattern.empty()) {
    if (path.empty()) return std::nullopt;
    const std::string_view wanted = take_piece(pattern);
    const std::string_view rest = path;
    std::string_view piece = take_piece(path);
    if (!is_capture(wanted)) {
      if (piece != wanted) return std::nullopt;
      continue;
    }
    if (pattern.empty()) {  // the last one takes all that remains
      piece = rest.substr(1);
      path = {};
    }
    auto value = percent_decode(piece);
    if (!value || value->empty()) return std::nullopt;
    captures.emplace_back(wanted.substr(1, wanted.size() - 2), std::move(*value));
  }
  if (!path.empty()) return std::nullopt;
  return captures;
}

void add_method(std::string& allow, std::string_view method) {
  if (!allow.empty()) allow += ", ";
  allow += method;
}

}  // namespace

void Router::add(Route route) {
  FATHOM_CHECK(!route.pattern.empty() && route.pattern.front() == '/');
  routes_.push_back(std::make_unique<const Route>(std::move(route)));
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  if (path.empty() || path.front() != '/') return match;
  for (const auto& route : routes_) {
    auto captures = match_path(route->pattern, path);
    if (!captures) continue;
    const bool get = route->method == "GET";
    if (method == route->method || (get && method == "HEAD")) {
      match.route = route.get();
      match.captures = std::move(*captures);
      return match;
    }
    add_method(match.allow, route->method);
    if (get) add_method(match.allow, "HEAD");
  }
  if (!match.allow.empty()) add_method(match.allow, "OPTIONS");
  return match;
}

}  // namespace fathom::server
