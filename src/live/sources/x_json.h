// What the X API v2 sends (https://docs.x.com/x-api): frames of its streams, pages of its search, problems; and the posts
// that they hold. Both spellings of the fields are read, the old one (tweet) and the one of the renaming under way (post).
//
// Pure functions on untrusted bytes, but for XFrames, which holds the unfinished frame between pieces (not thread-safe).
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"

namespace fathom::live {

/// An entry of "errors" that came without data: the stream is about to end, or a request was refused.
struct XProblem {
  std::string title, detail, type;
  bool too_many_connections = false;
};

/// One frame of a stream, or one page of a search.
struct XMessage {
  std::vector<Post> posts;  // orders to remove among them: earlier versions of edited posts, deleted posts
  std::vector<std::string> left_out;  // why, for people: entries that are no posts
  std::optional<XProblem> problem;
  uint64_t newest_id = 0;  // of the posts that are not from the future, 0: none
  std::string next_token;  // of a page that is not the last
};

/// Unknown members and kinds of messages are passed over. Errors: kCorrupt for what is no JSON object.
XMessage parse_x_message(std::string_view json, Time received_at);

/// The problem in the body of a refused request, in a sentence; empty when it names none.
std::string x_problem_sentence(std::string_view body);

/// When an id was made (its upper 42 bits are milliseconds since 2010-11-04T01:42:54.657Z). `id` has only digits.
Time x_time_of_id(uint64_t id);

/// 0 for what is no id.
uint64_t parse_x_id(std::string_view text);

/// Takes a stream apart into frames, each ended by CR LF; empty ones are signs of life. A frame over the limit is left out
/// whole.
class XFrames {
 public:
  explicit XFrames(size_t max_frame_bytes = size_t{2} << 20) : max_frame_bytes_(max_frame_bytes) {}

  /// Calls `on_frame` for each frame that `piece` completes, until it returns false. Returns how many were left out.
  size_t feed(std::string_view piece, const std::function<bool(std::string_view)>& on_frame);

 private:
  size_t max_frame_bytes_;
  std::string rest_;
  bool too_long_ = false;
};

}  // namespace fathom::live
