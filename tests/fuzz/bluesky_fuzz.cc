// live: the events of Bluesky's Jetstream, and the addresses of its records; profiles of authors.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/bluesky_authors.h"
#include "live/sources/bluesky_event.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom::live;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const BlueskyEvent event = parse_bluesky_event(text, fathom::Time{});
    if (!event.post) return 0;
    FATHOM_CHECK(event.post->created_at <= event.time);
    FATHOM_CHECK(event.post->text.size() <= kMaxTextBytes && fathom::is_valid_utf8(event.post->text));
    FATHOM_CHECK(event.post->deleted || !event.post->text.empty());
    validate(*event.post);
  } catch (const fathom::Error&) {  // refused with a sentence
  }
  FATHOM_CHECK(bluesky_post_id(text).size() <= 512);
  try {
    for (const Author& author : parse_bluesky_profiles(text)) FATHOM_CHECK(is_bluesky_handle(author.handle));
  } catch (const fathom::Error&) {  // refused with a sentence
  }
  return 0;
}
