// Covers live/post.h and live/codec.h: any bytes as a post's JSON, the round trip of what is accepted, any bytes as a record.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "live/codec.h"
#include "live/post.h"

namespace {

void parse(std::string_view json) {
  try {
    const auto post = fathom::live::parse_post(json, fathom::Time{});
    fathom::live::validate(post);
    const auto form = fathom::live::to_json(post);
    // The forms of one post agree: as JSON and as a record.
    if (fathom::live::to_json(fathom::live::parse_post(form.dump(), fathom::Time{})) != form) std::abort();
    if (post.deleted) return;
    if (fathom::live::to_json(fathom::live::decode_record(fathom::live::encode_record(post))) != form)
      std::abort();
  } catch (const fathom::Error& error) {
    if (error.code() != fathom::ErrorCode::kInvalidArgument) std::abort();
  }
}

void decode(std::string_view record) {
  try {
    const auto post = fathom::live::decode_record(record);
    if (fathom::live::record_key(record) != post.key()) std::abort();
    if (fathom::live::record_text(record) != post.text) std::abort();
  } catch (const fathom::Error& error) {
    if (error.code() != fathom::ErrorCode::kCorrupt) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  parse(input);
  decode(input);
  return 0;
}
