// live: what a Mastodon server sends: statuses, timelines, messages of the stream, its description.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "live/sources/mastodon_status.h"

namespace {

using namespace fathom::live;

void check(const MastodonStatus& status) {
  for (const Post& post : status.posts) validate(post);
}

template <class Read>
void attempt(Read read) {
  try {
    read();
  } catch (const fathom::Error& error) {
    FATHOM_CHECK(error.code() == fathom::ErrorCode::kCorrupt);  // no post that is refused
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  attempt([&] { check(parse_mastodon_status(json, "h.example", {})); });
  attempt([&] {
    for (const MastodonStatus& status : parse_mastodon_page(json, "h.example", {}).statuses) check(status);
  });
  attempt([&] {
    const MastodonMessage message = parse_mastodon_message(json);
    if (message.event == "update") check(parse_mastodon_status(message.payload, "h.example", {}));
  });
  attempt([&] { validate(mastodon_removal(json, "h.example", {})); });
  mastodon_streaming_url(json);
  return 0;
}
