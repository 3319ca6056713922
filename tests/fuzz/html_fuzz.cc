// live: HTML to text. Any bytes give valid text without control characters, of bounded size.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "live/source_html.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view html(reinterpret_cast<const char*>(data), size);
  const auto found = fathom::live::html_to_text(html);
  FATHOM_CHECK(fathom::is_valid_utf8(found.text) && found.text.size() <= 4 * size + 64);
  for (const char c : found.text)
    FATHOM_CHECK(static_cast<unsigned char>(c) >= ' ' || c == '\n' || c == '\t');
  for (const auto& link : found.links) FATHOM_CHECK(fathom::is_valid_utf8(link) && link.size() > 7);
  FATHOM_CHECK(fathom::is_valid_utf8(fathom::live::decode_html_references(html)));
  return 0;
}
