// The page: the files of web/, which need no key, under a content policy that lets nothing in from elsewhere.
#include <fmt/format.h>
#include <openssl/sha.h>

#include <array>

#include "base/text.h"
#include "server/context.h"
#include "server/web_files.h"

namespace fathom::server {
namespace {

constexpr const char* kPolicy =
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'";

std::string mime_type(std::string_view path) {
  static constexpr std::array<std::pair<std::string_view, const char*>, 14> kTypes = {{
      {".html", "text/html; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".mjs", "text/javascript; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".json", "application/json"},
      {".map", "application/json"},
      {".webmanifest", "application/manifest+json"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".jpg", "image/jpeg"},
      {".ico", "image/x-icon"},
      {".woff2", "font/woff2"},
      {".txt", "text/plain; charset=utf-8"},
      {".md", "text/plain; charset=utf-8"},
  }};
  for (const auto& [suffix, type] : kTypes) {
    if (path.size() > suffix.size() && path.substr(path.size() - suffix.size()) == suffix) return type;
  }
  return "application/octet-stream";
}

std::string entity_tag(std::string_view content) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(content.data()), content.size(), digest.data());
  std::string tag = "\"";
  for (size_t i = 0; i < 12; ++i) tag += fmt::format("{:02x}", digest[i]);
  return tag + "\"";
}

/// If-None-Match (RFC 9110, section 13.1.2): a list of tags, weak ones too, or "*".
bool matches(const std::string* if_none_match, std::string_view tag) {
  if (if_none_match == nullptr) return false;
  for (auto piece : split(*if_none_match, ',')) {
    piece = trim(piece);
    if (piece.substr(0, 2) == "W/") piece.remove_prefix(2);
    if (piece == tag || piece == "*") return true;
  }
  return false;
}

Handler file_handler(const WebFile& file) {
  return [file, tag = entity_tag(file.content), type = mime_type(file.path)](
             const Request& request, const std::shared_ptr<Reply>& reply) {
    Response response;
    response.content_type = type;
    response.headers = {{"ETag", tag}, {"Cache-Control", "no-cache"}, {"Content-Security-Policy", kPolicy}};
    if (matches(request.header("if-none-match"), tag)) {
      response.status = 304;
    } else {
      response.body = std::string(file.content);
    }
    reply->send(std::move(response));
  };
}

void add_file(Router& router, const std::string& path, const WebFile& file) {
  router.add({.method = "GET",
              .pattern = path,
              .name = "web",
              .lane = Lane::kInline,
              .open = true,
              .handler = file_handler(file)});
}

}  // namespace

void add_web_routes(Router& router, const Context&) {
  for (const auto& file : web_files()) {
    add_file(router, std::string(file.path), file);
    if (file.path == "/index.html") add_file(router, "/", file);
    if (file.path == "/plan.html") add_file(router, "/plan", file);
  }
}

}  // namespace fathom::server
