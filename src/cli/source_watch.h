// The sources of STATE/sources.toml, kept running as the file says: what is added to it starts, what is taken out stops,
// what is changed starts anew from its cursor, within seconds.
//
// Ownership: runner and context outlive it; it owns a thread, which the destructor joins (the sources go on). Thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "live/source.h"
#include "live/sources/config.h"

namespace fathom::cli {

class SourceWatch {
 public:
  /// Starts what the file holds now. A source that cannot be made is there all the same, as failed, with the reason; a file
  /// that cannot be read is logged, and what runs goes on.
  SourceWatch(live::SourceRunner& runner, const live::SourceContext& context, std::filesystem::path file,
              std::chrono::milliseconds interval = std::chrono::seconds(1));

  /// Reads the file now if it has changed since it was read last; true when it had.
  bool refresh();

 private:
  void apply(const std::vector<live::SourceSpec>& wanted);
  void start(const live::SourceSpec& spec);
  std::string stamp() const;

  live::SourceRunner& runner_;
  const live::SourceContext context_;
  const std::filesystem::path file_;
  std::mutex mutex_;
  std::string read_;  // stamp of the file when it was read last
  std::map<std::string, live::SourceSpec> running_;
  std::jthread thread_;
};

}  // namespace fathom::cli
