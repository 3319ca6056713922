#include "cli/show.h"

#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace fathom::cli {

std::string for_terminal(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    const bool control = (c < 0x20 && c != '\n') || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) ||
                         (c >= 0x2066 && c <= 0x2069);  // C0, C1 and the marks that reorder text
    append_utf8(out, control ? U' ' : c);
  }
  return out;
}

void show_post(const nlohmann::json& post) {
  const auto text = [&](const char* field) { return for_terminal(post.value(field, "")); };
  const std::string handle = for_terminal(post.contains("author") ? post["author"].value("handle", "") : "");
  std::cout << fmt::format("{}  @{}  {}{}\n", text("created_at"), handle, text("source"),
                           post.value("fiction", false) ? "  (fiction)" : "");
  std::cout << "  " << text("text") << "\n";
  if (const std::string url = text("url"); !url.empty()) std::cout << "  " << url << "\n";
  std::cout << "\n";
}

}  // namespace fathom::cli
