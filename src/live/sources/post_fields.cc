#include "live/sources/post_fields.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kMaxAddressBytes = 4096;  // as Post allows, like the next
constexpr size_t kMaxLinks = 64;
constexpr size_t kMaxTags = 256;
constexpr size_t kMaxTagBytes = 512;

bool has(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

}  // namespace

const json& member(const json& object, const char* name) {
  static const json kNone;
  if (!object.is_object()) return kNone;
  const auto found = object.find(name);
  return found == object.end() ? kNone : *found;
}

const json& member(const json& object, const char* name, const char* other_name) {
  const json& first = member(object, name);
  return first.is_null() ? member(object, other_name) : first;
}

std::string_view text_of(const json& value) {
  return value.is_string() ? std::string_view(value.get_ref<const std::string&>()) : std::string_view();
}

std::string_view text_of(const json& object, const char* name) { return text_of(member(object, name)); }

std::optional<int64_t> number_of(const json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    return number <= uint64_t{INT64_MAX} ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
  }
  const auto digits = text_of(value);
  int64_t number = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || ec != std::errc{} || end != digits.data() + digits.size() || number < 0) return {};
  return number;
}

bool is_web_address(std::string_view address) {
  return address.size() <= kMaxAddressBytes &&
         (address.starts_with("http://") || address.starts_with("https://")) &&
         std::none_of(address.begin(), address.end(),
                      [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; });
}

std::string one_line(std::string_view text, size_t most) {
  std::string line(text.substr(0, most));
  if (line.size() < text.size()) line.resize(line.size() - incomplete_utf8_tail(line));
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return std::string(trim(line));
}

bool is_true(const json& value) { return value.is_boolean() && value.get<bool>(); }

void add_link(Post& post, std::string_view address) {
  if (is_web_address(address) && post.links.size() < kMaxLinks && !has(post.links, address))
    post.links.emplace_back(address);
}

void add_tag(Post& post, std::string_view tag) {
  if (!tag.empty() && tag.size() <= kMaxTagBytes && post.tags.size() < kMaxTags && !has(post.tags, tag))
    post.tags.emplace_back(tag);
}

void cut_text(std::string& text) {
  constexpr std::string_view kMore = " [...]";
  if (text.size() <= kMaxTextBytes) return;
  text.resize(kMaxTextBytes - kMore.size());
  text.resize(text.size() - incomplete_utf8_tail(text));
  text += kMore;
}

Time believable_time(std::string_view claimed, Time seen) {
  const auto time = parse_time(claimed);
  return time && *time >= Time{} ? std::min(*time, seen) : seen;
}

}  // namespace fathom::live
