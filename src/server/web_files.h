// The page's files as they were at build time, one a path under web/. Immutable for the life of the process.
#pragma once

#include <span>
#include <string_view>

namespace fathom::server {

struct WebFile {
  std::string_view path;  // "/index.html"
  std::string_view content;
};

std::span<const WebFile> web_files();

}  // namespace fathom::server
