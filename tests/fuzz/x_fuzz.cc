// live: what the X API sends: frames cut anywhere, pages, problems, rules.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "live/sources/x_json.h"
#include "live/sources/x_rules.h"

namespace {

using namespace fathom::live;

template <class Read>
void attempt(Read read) {
  try {
    read();
  } catch (const fathom::Error&) {  // refused with a sentence
  }
}

std::vector<std::string> frames_of(std::string_view stream, size_t step) {
  XFrames frames(512);
  std::vector<std::string> found;
  size_t left_out = 0;
  for (size_t at = 0; at < stream.size(); at += step)
    left_out += frames.feed(stream.substr(at, step), [&](std::string_view frame) {
      found.emplace_back(frame);
      return true;
    });
  found.push_back(std::to_string(left_out));
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  FATHOM_CHECK(frames_of(text, size + 1) == frames_of(text, 1 + size % 17));
  attempt([&] {
    for (const Post& post : parse_x_message(text, fathom::Time{}).posts) {
      FATHOM_CHECK(parse_x_id(post.id) != 0 && post.text.size() <= kMaxTextBytes);
      FATHOM_CHECK(post.deleted || !post.text.empty());
      attempt([&] { validate(post); });
    }
  });
  x_problem_sentence(text);
  x_rules_refused(text);
  attempt([&] { FATHOM_CHECK(parse_x_rules(text).rules.size() <= kMaxXRules); });
  return 0;
}
