#include "live/sources/bluesky_authors.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kMostKnown = 200'000, kMostWanted = 10'000;
constexpr size_t kProfilesPerCall = 25;
constexpr auto kBetweenCalls = std::chrono::milliseconds(200),
               kAfterRefusal = std::chrono::milliseconds(60'000);
constexpr auto kWatch = std::chrono::milliseconds(500);
constexpr size_t kMaxHandle = 253, kMaxName = 640;

}  // namespace

bool is_bluesky_handle(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  return text.size() <= kMaxHandle && text.find('.') != std::string_view::npos && text.front() != '.' &&
         text.back() != '.' && std::all_of(text.begin(), text.end(), fits) && text != "handle.invalid";
}

std::vector<Author> parse_bluesky_profiles(std::string_view text) {
  const json answer = json::parse(text, nullptr, false);
  const json& profiles = member(answer, "profiles");
  if (!profiles.is_array())
    throw Error(ErrorCode::kCorrupt, "Bluesky's AppView sent something that is no list of profiles");
  std::vector<Author> authors;
  for (const json& profile : profiles) {
    Author author;
    author.id = text_of(profile, "did");
    author.handle = text_of(profile, "handle");
    author.name = text_of(profile, "displayName");
    author.followers = number_of(member(profile, "followersCount"));
    if (!author.id.starts_with("did:") || !is_bluesky_handle(author.handle)) continue;
    if (author.name.size() > kMaxName) author.name.clear();
    authors.push_back(std::move(author));
  }
  return authors;
}

BlueskyAuthors::BlueskyAuthors(std::string app_view, Transport* transport, const Clock& clock)
    : app_view_(std::move(app_view)), transport_(transport), clock_(clock), known_(kMostKnown) {
  FATHOM_CHECK(app_view_.empty() || transport != nullptr);
  if (!app_view_.empty()) thread_ = std::jthread([this](const std::stop_token& stop) { ask_all(stop); });
}

BlueskyAuthors::~BlueskyAuthors() = default;

void BlueskyAuthors::set_handle(const std::string& did, std::string_view handle) {
  if (!is_bluesky_handle(handle)) return;
  const std::lock_guard lock(mutex_);
  const Author* before = known_.find(did);
  Author author = before != nullptr ? *before : Author();
  author.id = did;
  author.handle = handle;
  known_.set(did, std::move(author));
}

Author BlueskyAuthors::find(const std::string& did) {
  const std::lock_guard lock(mutex_);
  const Author* known = known_.find(did);
  if (known != nullptr && !known->handle.empty()) return *known;
  if (known == nullptr && !app_view_.empty() && queue_.size() < kMostWanted) {
    known_.set(did, {});
    queue_.push_back(did);
    wanted_.notify_one();
  }
  return {.handle = did, .id = {}, .name = {}, .followers = {}};
}

std::vector<std::string> BlueskyAuthors::next_batch(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  wanted_.wait_for(lock, stop, kWatch, [this] { return !queue_.empty(); });
  const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(std::min(queue_.size(), kProfilesPerCall));
  std::vector<std::string> batch(queue_.begin(), end);
  queue_.erase(queue_.begin(), end);
  return batch;
}

void BlueskyAuthors::ask_all(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const std::vector<std::string> batch = next_batch(stop);
    if (batch.empty()) continue;
    try {
      ask(batch, stop);
      clock_.sleep(kBetweenCalls, stop);
    } catch (const std::exception& error) {
      if (stop.stop_requested()) return;
      log().warn("authors of Bluesky keep their DIDs for now: {}", error.what());
      clock_.sleep(kAfterRefusal, stop);
    }
  }
}

void BlueskyAuthors::ask(const std::vector<std::string>& dids, const std::stop_token& stop) {
  HttpRequest request;
  request.url = app_view_ + "/xrpc/app.bsky.actor.getProfiles";
  for (const auto& did : dids)
    request.url += fmt::format("{}actors={}", did == dids.front() ? "?" : "&", percent_encode(did));
  request.max_bytes = size_t{1} << 20;
  const HttpResponse response = transport_->fetch(request, stop);
  if (response.status != 200)
    throw Error(ErrorCode::kNetwork, fmt::format("'{}' answered with status {}", app_view_, response.status));
  std::vector<Author> authors = parse_bluesky_profiles(response.body);
  const std::lock_guard lock(mutex_);
  for (Author& author : authors) {
    std::string did = author.id;
    known_.set(std::move(did), std::move(author));
  }
}

}  // namespace fathom::live
