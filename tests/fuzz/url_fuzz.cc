// base: parse_url. What is accepted must be safe to write into a request and must be read back as the same parts.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/transport.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fathom::Url url;
  try {
    url = fathom::parse_url({reinterpret_cast<const char*>(data), size});
  } catch (const fathom::Error&) {
    return 0;
  }
  for (const std::string* part : {&url.host, &url.target})
    for (const char c : *part) FATHOM_CHECK(static_cast<unsigned char>(c) > ' ' && c != '\x7f');
  FATHOM_CHECK(!url.host.empty() && url.target.front() == '/');
  const bool v6 = url.host.find(':') != std::string::npos;
  const auto again = fathom::parse_url(url.scheme + "://" + (v6 ? "[" + url.host + "]" : url.host) + ":" +
                                       url.port + url.target);
  FATHOM_CHECK(again.host == url.host && again.port == url.port && again.target == url.target &&
               again.scheme == url.scheme);
  return 0;
}
