#include "server/posts_body.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "server/json_body.h"

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr size_t kErrorsTold = 10;
constexpr size_t kErrorsCounted = 1000;  // then the rest is not read

class PostReader {
 public:
  explicit PostReader(Time received_at) : received_at_(received_at) {}

  void add(std::string_view text) {
    ++line_;
    if (++entries_ > kMaxPostsPerRequest)
      throw ApiError(
          413, fmt::format("more than {} posts in one request; send them in several", kMaxPostsPerRequest),
          "too_many_posts");
    try {
      posts_.push_back(live::parse_post(text, received_at_));
    } catch (const Error& error) {
      note(error.what());
    }
  }

  void skip_line() { ++line_; }

  std::vector<live::Post> take() {
    if (bad_ > 0) refuse();
    if (posts_.empty())
      throw ApiError(400, "the body has no posts; send one JSON object a line", "empty_body");
    return std::move(posts_);
  }

 private:
  void note(const std::string& message) {
    ++bad_;
    posts_.clear();  // nothing will be stored
    if (errors_.size() < kErrorsTold) errors_.push_back({{"line", line_}, {"message", message}});
    if (bad_ >= kErrorsCounted) refuse();
  }

  [[noreturn]] void refuse() const {
    const json& first = errors_.front();
    std::string message = fmt::format("nothing was stored: line {}: {}", first["line"].get<size_t>(),
                                      first["message"].get_ref<const std::string&>());
    if (bad_ > 1)
      message += fmt::format(" ({}{} more bad lines)", bad_ >= kErrorsCounted ? "at least " : "", bad_ - 1);
    ApiError error(400, message, "invalid_posts");
    error.extra = to_text({{"lines", errors_}});
    throw error;
  }

  const Time received_at_;
  size_t line_ = 0;
  size_t entries_ = 0;
  size_t bad_ = 0;
  json errors_ = json::array();
  std::vector<live::Post> posts_;
};

void read_lines(std::string_view body, PostReader& reader) {
  while (!body.empty()) {
    const size_t end = std::min(body.find('\n'), body.size());
    const std::string_view line = trim(body.substr(0, end));
    body.remove_prefix(std::min(end + 1, body.size()));
    if (line.empty()) {
      reader.skip_line();
    } else {
      reader.add(line);
    }
  }
}

void read_array(std::string_view body, PostReader& reader) {
  parse_json_entries(body, [&](const json& entry) { reader.add(to_text(entry)); });
}

}  // namespace

bool is_json(const Request& request) {
  const auto* type = request.header("content-type");
  if (type == nullptr) return false;
  return equals_ignore_case(trim(std::string_view(*type).substr(0, type->find(';'))), "application/json");
}

std::vector<live::Post> parse_posts(std::string_view body, bool json_document, Time received_at) {
  PostReader reader(received_at);
  const std::string_view text = trim(body);
  if (!text.empty() && text.front() == '[') {
    read_array(text, reader);
  } else if (json_document && !text.empty()) {
    reader.add(text);
  } else {
    read_lines(body, reader);
  }
  return reader.take();
}

}  // namespace fathom::server
