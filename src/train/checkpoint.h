// Checkpoints of a training job: every rank writes what it owns, at its own pace, while training goes on.
//
// FOLDER/step-00001200/ holds for each rank `rank-00003.fck`: a header (magic, version, JSON of entries, checksum), then
// the numbers; and `manifest.json`, which rank 0 writes last, when every rank's file is on disk (synced, checksummed,
// renamed). A folder without a manifest is no checkpoint and is removed by the next save. An entry is a run of floats of
// one parameter's box (train/parameters.h) of one kind (weight, first moment, second moment, average): so a job of another
// layout finds in the files whatever boxes it has. On the same layout a resumed job goes on with the same bits.
//
// `save` copies what it writes (host memory of the owned state's size) and returns; a thread writes. Only one save is under
// way at a time: the next waits. Nothing in a file is believed: lengths are checked before use, checksums before a number
// reaches the weights.
//
// All ranks call every function together. Not thread-safe. Errors: kIo, kResourceExhausted (disk full: the job may go on,
// older checkpoints stay), kCorrupt (names file and entry), kNotFound.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "train/layout.h"
#include "train/optimiser.h"
#include "train/parameters.h"

namespace fathom::train {

struct CheckpointOptions {
  std::filesystem::path folder;
  size_t keep = 3;  // whole checkpoints; the newest ones
};

/// What is not in the arenas.
struct TrainState {
  uint64_t step = 0;     // steps done
  uint64_t samples = 0;  // of the dataset's order used up
  uint64_t skipped = 0;  // batches left out because their loss was not finite
  std::string run;       // JSON of the run's configuration, for people and for checks
};

class Checkpoints {
 public:
  Checkpoints(CheckpointOptions options, const Groups& groups, Parameters& parameters, Optimiser& optimiser);
  /// Waits for a save that is under way.
  ~Checkpoints();

  /// Begins to save; see above. Errors of the save before are thrown here or by `wait`.
  void save(const TrainState& state);
  /// The same while training stands still, done when it returns: takes no memory for a copy.
  void save_now(const TrainState& state);
  void wait();

  /// The newest checkpoint whose files are whole and verified, on every rank; damaged ones are named in the log and passed
  /// over. Empty: there is none. Frozen weights are not saved: adapters and their moments are.
  std::optional<TrainState> load_newest();
  /// This one. Errors: kCorrupt, kNotFound.
  TrainState load(const std::filesystem::path& checkpoint);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Whole checkpoints of a folder by step, oldest first.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& folder);

/// Whole tensors of a checkpoint of any layout, for export and inspection: name to floats, read one at a time.
class CheckpointReader {
 public:
  explicit CheckpointReader(const std::filesystem::path& checkpoint);
  ~CheckpointReader();
  const TrainState& state() const;
  /// Names and shapes (outermost first).
  const std::map<std::string, std::array<size_t, 3>>& tensors() const;
  /// The weight, or with `average` its average. Errors: kCorrupt where parts are missing or damaged.
  std::vector<float> read(const std::string& name, bool average = false) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::train
