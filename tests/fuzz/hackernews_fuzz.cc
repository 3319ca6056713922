// live: the answers of the Hacker News API (items, lists, numbers) and the posts that items become.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/hackernews_item.h"

namespace {

template <class Read>
void attempt(Read read) {
  try {
    read();
  } catch (const fathom::Error&) {  // refused with a sentence
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom::live;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  attempt([&] { parse_hackernews_number(json); });
  attempt([&] {
    for (const int64_t id : parse_hackernews_ids(json)) FATHOM_CHECK(id > 0);
  });
  attempt([&] {
    const auto item = parse_hackernews_item(json);
    if (!item) return;
    FATHOM_CHECK(item->parent < item->id);
    const auto post = hackernews_post(*item, item->parent, "hackernews", "https://news.example", {});
    if (!post) return;
    FATHOM_CHECK(post->text.size() <= kMaxTextBytes && fathom::is_valid_utf8(post->text));
    FATHOM_CHECK(post->deleted || !post->text.empty());
    FATHOM_CHECK(fathom::parse_time(fathom::format_time(post->created_at)).has_value());
  });
  return 0;
}
