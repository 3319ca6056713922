#include "live/trends/standing_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
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

fs::path journal_of(const fs::path& file) { return file.string() + ".new"; }

[[noreturn]] void refuse_write(const fs::path& journal, int error) {
  throw Error(error == ENOSPC || error == EDQUOT ? ErrorCode::kResourceExhausted : ErrorCode::kIo,
              fmt::format("'{}' cannot be written: {}", journal.string(), std::strerror(error)));
}

/// On the disk when it returns. Line ends on both sides: what a crash cut off spoils no other line.
void append_line(const fs::path& file, const json& line) {
  const fs::path journal = journal_of(file);
  const bool fresh = !fs::exists(journal);
  const std::string text = "\n" + line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  const int out = ::open(journal.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (out < 0) refuse_write(journal, errno);
  const off_t before = ::lseek(out, 0, SEEK_END);
  const ssize_t written = ::write(out, text.data(), text.size());
  int error = written < 0 ? errno : written < static_cast<ssize_t>(text.size()) ? ENOSPC : 0;
  if (error == 0 && ::fdatasync(out) != 0) error = errno;
  if (error != 0 && ::ftruncate(out, before) != 0)
    log().error("'{}' holds a change that was refused", journal.string());
  ::close(out);
  if (error != 0) refuse_write(journal, error);
  if (!fresh) return;
  const fs::path folder = journal.has_parent_path() ? journal.parent_path() : fs::path(".");
  const int listing = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (listing < 0 || ::fsync(listing) != 0) error = errno;
  if (listing >= 0) ::close(listing);
  if (error != 0) refuse_write(journal, error);
}

/// One line of the journal, again: the file may hold what it says already.
void replay(const json& line, std::vector<KeptQuery>& queries) {
  if (const auto added = line.find("added"); added != line.end()) {
    KeptQuery kept = kept_of(*added);
    const auto same = [&](const KeptQuery& other) { return other.query.id == kept.query.id; };
    if (std::none_of(queries.begin(), queries.end(), same)) queries.push_back(std::move(kept));
  } else {
    const auto id = line.at("removed").get<std::string>();
    std::erase_if(queries, [&](const KeptQuery& kept) { return kept.query.id == id; });
  }
}

void replay_journal(const fs::path& file, std::vector<KeptQuery>& queries) {
  const fs::path journal = journal_of(file);
  if (!fs::exists(journal)) return;
  const std::string bytes = read_file(journal, kMostBytes);
  size_t lost = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    if (end > at) {
      try {
        replay(json::parse(bytes.begin() + static_cast<ptrdiff_t>(at),
                           bytes.begin() + static_cast<ptrdiff_t>(end)),
               queries);
      } catch (const json::exception&) {
        ++lost;
      } catch (const Error&) {
        ++lost;
      }
    }
    at = end + 1;
  }
  if (lost > 0)
    log().warn("'{}' was cut off within a line, {} times; these are left out", journal.string(), lost);
}

std::vector<KeptQuery> read_whole(const fs::path& file) {
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

}  // namespace

std::vector<KeptQuery> read_standing(const fs::path& file) {
  std::vector<KeptQuery> queries = read_whole(file);
  replay_journal(file, queries);
  return queries;
}

void write_standing(const fs::path& file, const std::vector<KeptQuery>& queries) {
  json list = json::array();
  for (const KeptQuery& kept : queries) list.push_back(kept_to_json(kept));
  write_file_atomic(file, json({{"version", 1}, {"queries", std::move(list)}})
                                  .dump(1, ' ', false, json::error_handler_t::replace) +
                              "\n");
  std::error_code ignored;  // the folder is the user's own; this keeps secrets from others on the machine
  fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write, ignored);
  fs::remove(journal_of(file), ignored);  // were it to stay, it would say what the file says
}

void append_added(const fs::path& file, const KeptQuery& kept) {
  append_line(file, {{"added", kept_to_json(kept)}});
}

void append_removed(const fs::path& file, const std::string& id) { append_line(file, {{"removed", id}}); }

}  // namespace fathom::live
