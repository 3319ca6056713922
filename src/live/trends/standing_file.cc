#include "live/trends/standing_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "live/query_json.h"

namespace fathom::live {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMostBytes = size_t{64} << 20;

Time time_of(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return {};
  return parse_time(found->get<std::string>()).value_or(Time{});
}

json kept_to_json(const KeptQuery& kept) {
  const StandingQuery& query = kept.query;
  return {{"id", query.id},
          {"name", query.name},
          {"query", query_to_json(query.query)},
          {"webhook", query.webhook},
          {"webhook_secret", query.webhook_secret},
          {"created", format_time(query.created)},
          {"matched", query.matched},
          {"delivered", query.delivered},
          {"failed", query.failed},
          {"last_error", query.last_error},
          {"since", kept.since},
          {"place", kept.place},
          {"through", kept.through},
          {"attempts", kept.attempts},
          {"first_attempt", format_time(kept.first_attempt)},
          {"next_attempt", format_time(kept.next_attempt)}};
}

KeptQuery kept_of(const json& object) {
  KeptQuery kept;
  StandingQuery& query = kept.query;
  query.id = object.at("id").get<std::string>();
  query.name = object.value("name", "");
  query.query = query_from_json(object.at("query"));
  query.webhook = object.value("webhook", "");
  query.webhook_secret = object.value("webhook_secret", "");
  query.created = time_of(object, "created");
  query.matched = object.value("matched", uint64_t{0});
  query.delivered = object.value("delivered", uint64_t{0});
  query.failed = object.value("failed", uint64_t{0});
  query.last_error = object.value("last_error", "");
  kept.since = object.value("since", uint64_t{0});
  kept.place = object.value("place", uint64_t{0});
  kept.through = object.value("through", uint64_t{0});
  kept.attempts = object.value("attempts", size_t{0});
  kept.first_attempt = time_of(object, "first_attempt");
  kept.next_attempt = time_of(object, "next_attempt");
  return kept;
}

}  // namespace

std::vector<KeptQuery> read_standing(const fs::path& file) {
  if (!fs::exists(file)) return {};
  std::vector<KeptQuery> out;
  const auto refuse = [&file] {
    throw Error(
        ErrorCode::kCorrupt,
        fmt::format("'{}' does not hold standing queries as Fathom writes them: mend it or move it away",
                    file.string()));
  };
  const std::string bytes = read_file(file, kMostBytes);
  try {
    const json content = json::parse(bytes);
    for (const json& entry : content.at("queries")) out.push_back(kept_of(entry));
  } catch (const json::exception&) {
    refuse();
  } catch (const Error&) {
    refuse();
  }
  return out;
}

void write_standing(const fs::path& file, const std::vector<KeptQuery>& queries) {
  json list = json::array();
  for (const KeptQuery& kept : queries) list.push_back(kept_to_json(kept));
  write_file_atomic(file, json({{"version", 1}, {"queries", std::move(list)}})
                                  .dump(1, ' ', false, json::error_handler_t::replace) +
                              "\n");
  std::error_code ignored;  // the folder is the user's own; this keeps secrets from others on the machine
  fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write, ignored);
}

}  // namespace fathom::live
