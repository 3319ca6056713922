// live: what Nostr relays send. Events are tried with the id that they ought to have too: a fuzzer finds no digests.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/nostr_event.h"
#include "live/sources/nostr_signature.h"
#include "live/sources/post_fields.h"

namespace {

using namespace fathom::live;

void read(std::string_view text) {
  try {
    const NostrMessage message = parse_nostr_message(text);
    if (!message.event) return;
    static const NostrSignatures signatures;
    signatures.verify(message.event->pubkey, message.event->id, message.event->sig);
    FATHOM_CHECK(message.event->references().size() <= message.event->tags.size());
    const auto post = nostr_post(*message.event, "https://pages.example/", fathom::Time{});
    if (!post) return;
    FATHOM_CHECK(post->text.size() <= kMaxTextBytes && fathom::is_valid_utf8(post->text));
    validate(*post);
  } catch (const fathom::Error&) {  // refused with a sentence
  }
}

/// The message with its event's id put right; empty when it has no event.
std::string with_true_id(std::string_view text) {
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_array() || value.size() < 3 || !value[2].is_object()) return {};
  nlohmann::json& from = value[2];
  NostrEvent event;
  event.pubkey = text_of(from, "pubkey");
  event.content = text_of(from, "content");
  event.created_at = number_of(member(from, "created_at")).value_or(0);
  event.kind = number_of(member(from, "kind")).value_or(0);
  try {
    event.tags = from.value("tags", event.tags);
  } catch (const nlohmann::json::exception&) {  // not a list of lists of strings
    return {};
  }
  from["id"] = nostr_event_id(event);
  return value.dump();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read(text);
  read(with_true_id(text));
  return 0;
}
