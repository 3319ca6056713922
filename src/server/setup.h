// The first run: what a server could read and answer with, and getting it there. The work is the program's, which knows where
// sources and models come from; this is the page's side of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fathom::server {

/// Something that one request sets up.
struct SetupOffer {
  enum class State { kAvailable, kFetching, kInstalled, kFailed };

  std::string id;    // "sample_world", "bluesky", "model:smollm2-135m"
  std::string kind;  // "world", "source", "model"
  std::string title, description;
  bool needs_address = false;  // of what is to be read
  std::string example;         // of an address
  State state = State::kAvailable;
  uint64_t done = 0, total = 0;  // bytes, of a model that is being fetched
  std::string problem;           // with kFailed; and what keeps an installed one from being used
};

/// What is asked for.
struct SetupOrder {
  std::string id;
  std::string address;  // of what is to be read, where the offer needs one
  std::string name;     // of the source; empty: its kind
  /// Options of the source by name, the entries of a list joined by '\n'.
  std::vector<std::pair<std::string, std::string>> options;
};

/// When what was asked for takes effect.
enum class SetupEffect {
  kNow,      // a source runs
  kRestart,  // the server starts itself again with it, within seconds
  kFetched,  // a model is being fetched: then as kRestart, where the server chooses its model itself
};

/// Thread-safe.
class Setup {
 public:
  virtual ~Setup() = default;
  virtual std::vector<SetupOffer> offers() const = 0;
  /// Errors: kNotFound (no such offer), kInvalidArgument (an option, or a name that is taken), kResourceExhausted (another
  /// model is being fetched), kIo.
  virtual SetupEffect begin(const SetupOrder& order) = 0;

  /// Names of the sources that `remove` takes.
  virtual std::vector<std::string> removable() const = 0;
  /// Stops a source and forgets it; its posts stay. The sample world goes as a whole, through a restart. Nothing: there is
  /// none of that name. Errors: kIo.
  virtual std::optional<SetupEffect> remove(const std::string& source) = 0;
};

}  // namespace fathom::server
