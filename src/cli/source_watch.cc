#include "cli/source_watch.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace fathom::cli {
namespace {

/// Stands in for a source that could not be made, so that people see why.
class FailedSource final : public live::Source {
 public:
  FailedSource(std::string name, std::string why) : name_(std::move(name)), why_(std::move(why)) {}
  std::string_view name() const override { return name_; }
  void run(live::Sink&, const std::stop_token&) override { throw Error(ErrorCode::kInvalidArgument, why_); }

 private:
  const std::string name_, why_;
};

}  // namespace

SourceWatch::SourceWatch(live::SourceRunner& runner, const live::SourceContext& context,
                         std::filesystem::path file, std::chrono::milliseconds interval)
    : runner_(runner), context_(context), file_(std::move(file)) {
  refresh();
  thread_ = std::jthread([this, interval](const std::stop_token& stop) {
    while (context_.clock.sleep(interval, stop)) refresh();
  });
}

bool SourceWatch::refresh() {
  const std::lock_guard lock(mutex_);
  const std::string now = stamp();
  if (now == read_) return false;
  read_ = now;
  try {
    apply(live::read_sources(file_));
  } catch (const Error& error) {
    log().error("the sources go on as they are: {}", error.what());
  }
  return true;
}

void SourceWatch::apply(const std::vector<live::SourceSpec>& wanted) {
  std::map<std::string, live::SourceSpec> next;
  for (const live::SourceSpec& spec : wanted)
    if (spec.enabled) next.emplace(spec.name, spec);
  for (auto at = running_.begin(); at != running_.end();) {
    const auto kept = next.find(at->first);
    if (kept != next.end() && kept->second == at->second) {
      ++at;
      continue;
    }
    runner_.remove(at->first);
    log().info("source {}: stopped, as {} says", at->first, file_.filename().string());
    at = running_.erase(at);
  }
  for (const auto& [name, spec] : next)
    if (!running_.contains(name)) start(spec);
}

void SourceWatch::start(const live::SourceSpec& spec) {
  try {
    std::unique_ptr<live::Source> source;
    try {
      source = live::make_source(spec, context_);
    } catch (const Error& error) {
      source = std::make_unique<FailedSource>(spec.name, error.what());
    }
    runner_.add(std::move(source), live::limits_of(spec));
    running_.emplace(spec.name, spec);
    log().info("source {}: started, as {} says", spec.name, file_.filename().string());
  } catch (const Error& error) {  // a name that --source took
    log().error("source {} of {} is left out: {}", spec.name, file_.string(), error.what());
  }
}

/// Changes whenever the file does: replaced, written or removed.
std::string SourceWatch::stamp() const {
  struct stat about {};
  if (::stat(file_.c_str(), &about) != 0) return "none";
  return fmt::format("{}:{}:{}.{:09}", about.st_ino, about.st_size, about.st_mtim.tv_sec,
                     about.st_mtim.tv_nsec);
}

}  // namespace fathom::cli
