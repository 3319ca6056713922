#include "server/feed_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace fathom::server {
namespace {

using answer::Mode;
using nlohmann::ordered_json;

constexpr std::array<std::string_view, 4> kModes = {"answer", "digest", "explain", "deep"};
constexpr std::array<std::string_view, 3> kPlannings = {"auto", "rules", "model"};
constexpr std::array<std::string_view, 6> kMembers = {"mode", "post", "style", "rounds", "think", "planner"};
constexpr size_t kMaxPostBytes = 1024, kMaxStyleNameBytes = 40;
constexpr int64_t kMaxRounds = 12;

void refuse_unknown(const ordered_json& object) {
  for (const auto& entry : object.items()) {
    if (std::find(kMembers.begin(), kMembers.end(), entry.key()) != kMembers.end()) continue;
    const std::string name = sanitize_utf8(entry.key().substr(0, 100));
    throw ApiError(
        400,
        fmt::format("fathom.{} is unknown; there are mode, post, style, rounds, think and planner", name),
        "unknown_parameter", "fathom." + name);
  }
}

Mode read_mode(const JsonFields& fields) {
  const std::string name = fields.text("mode").value_or("answer");
  const auto found = std::find(kModes.begin(), kModes.end(), name);
  if (found == kModes.end()) fields.refuse("mode", "must be \"answer\", \"digest\", \"explain\" or \"deep\"");
  return static_cast<Mode>(found - kModes.begin());
}

answer::Planning read_planning(const JsonFields& fields) {
  const std::string name = fields.text("planner").value_or("auto");
  const auto found = std::find(kPlannings.begin(), kPlannings.end(), name);
  if (found == kPlannings.end()) fields.refuse("planner", "must be \"auto\", \"rules\" or \"model\"");
  return static_cast<answer::Planning>(found - kPlannings.begin());
}

std::string read_post(const JsonFields& fields, Mode mode) {
  if (mode != Mode::kExplain) {
    if (fields.has("post")) fields.refuse("post", "is for the mode \"explain\"");
    return {};
  }
  std::string post = fields.required_text("post");
  if (post.size() > kMaxPostBytes || post.find(':') == std::string::npos)
    fields.refuse("post", "must be the key of a post, such as \"hn:1\"");
  return post;
}

std::string read_style(const JsonFields& fields) {
  std::string style = fields.text("style").value_or("");
  const auto is_name = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (style.size() > kMaxStyleNameBytes || !std::all_of(style.begin(), style.end(), is_name))
    fields.refuse("style", "must be the name of a style; GET /v1/styles lists them");
  return style;
}

}  // namespace

void FeedRequest::apply_to(answer::Request& request) const {
  request.mode = mode;
  request.subject = post;
  request.style = style;
  if (rounds) request.rounds = *rounds;
  request.think = think;
  request.planner = planner;
}

FeedRequest read_feed_request(const JsonFields& request, const std::optional<std::string>& effort) {
  FeedRequest out;
  out.think = effort && !effort->empty() && *effort != "none" && *effort != "minimal";
  const ordered_json* object = request.find("fathom");
  if (object == nullptr) return out;
  const JsonFields fields(*object, "fathom");
  refuse_unknown(*object);
  out.mode = read_mode(fields);
  out.post = read_post(fields, out.mode);
  out.style = read_style(fields);
  if (const auto rounds = fields.integer("rounds", 1, kMaxRounds)) {
    if (out.mode != Mode::kDeep) fields.refuse("rounds", "is for the mode \"deep\"");
    out.rounds = static_cast<size_t>(*rounds);
  }
  out.think = fields.boolean("think").value_or(out.think);
  out.planner = read_planning(fields);
  return out;
}

void require_search(const JsonFields& request, const FeedRequest& feed,
                    const std::optional<answer::SearchParameters>& search) {
  if (feed.mode == Mode::kAnswer || !search || search->mode != answer::SearchMode::kOff) return;
  request.refuse("fathom", fmt::format("asks for the mode \"{}\", which searches; but searches are off",
                                       mode_name(feed.mode)));
}

void require_post(const FeedRequest& feed, const live::Store& store) {
  if (feed.mode != Mode::kExplain || store.find(feed.post)) return;
  throw ApiError(404, fmt::format("there is no post \"{}\"", sanitize_utf8(feed.post.substr(0, 200))),
                 "post_not_found", "fathom.post");
}

std::string_view mode_name(Mode mode) { return kModes[static_cast<size_t>(mode)]; }

}  // namespace fathom::server
