#include "model/shown.h"

namespace fathom::model {

namespace {
constexpr size_t kMost = 120;
}

std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMost)) out += (c >= ' ' && c <= '~') ? c : '?';
  return text.size() > kMost ? out + "..." : out;
}

}  // namespace fathom::model
