#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "train/checkpoint_file.h"

namespace fathom::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";

/// Part of a parameter that this rank saves, and where its numbers are.
struct SavedPiece {
  CheckpointEntry entry;
  const float* from = nullptr;
};

/// Part of a parameter that this rank needs.
struct WantedPiece {
  const Parameter* parameter = nullptr;
  CheckpointKind kind = CheckpointKind::kWeight;
  size_t begin = 0;  // in the parameter's box
  std::span<float> to;
};

/// What went wrong on a rank, in a form that can be sent to the others.
struct Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string sentence;

  static Failure of(const Error& error) { return {error.code(), error.what()}; }
  std::string pack() const { return static_cast<char>(static_cast<int>(code) + 1) + sentence; }
  static Failure unpack(const std::string& packed) {
    return {static_cast<ErrorCode>(packed[0] - 1), packed.substr(1)};
  }
};

/// Runs `body` on every rank and tells all of them the first rank's failure, if any fails.
template <class Body>
std::optional<Failure> together(Communicator& all, Body&& body) {
  std::string mine;
  try {
    body();
  } catch (const Error& error) {
    mine = Failure::of(error).pack();
  } catch (const std::exception& error) {  // the others wait to hear of it
    mine = Failure{ErrorCode::kInternal, error.what()}.pack();
  }
  for (const std::string& failure : all.gather_bytes(mine))
    if (!failure.empty()) return Failure::unpack(failure);
  return std::nullopt;
}

void throw_failure(const std::optional<Failure>& failure) {
  if (failure) throw Error(failure->code, failure->sentence);
}

/// Calls visit(parameter, begin in its box, count, begin in the arena) for what [begin, end) of the arena has of each.
template <class Visit>
void visit_parameters(const Parameters& parameters, Arena arena, size_t begin, size_t end, Visit&& visit) {
  for (const Parameter& p : parameters.all()) {
    if (p.arena != arena) continue;
    const size_t from = std::max(begin, p.offset);
    const size_t to = std::min(end, p.offset + p.elements());
    if (from < to) visit(p, from - p.offset, to - from, from);
  }
}

constexpr std::array<std::pair<CheckpointKind, OptimiserState>, 3> kStates = {
    {{CheckpointKind::kFirstMoment, OptimiserState::kFirstMoment},
     {CheckpointKind::kSecondMoment, OptimiserState::kSecondMoment},
     {CheckpointKind::kAverage, OptimiserState::kAverage}}};

/// Where all ranks of a data group update all weights, each saves its part of them.
OwnedRange saved_part(const Groups& groups, const OwnedRange& owned) {
  if (groups.layout.zero > 0) return owned;
  const Communicator& group = owned.arena == Arena::kExpert ? *groups.expert_data : *groups.data;
  const size_t size = owned.end - owned.begin;
  OwnedRange part = owned;
  part.begin = owned.begin + size * group.rank() / group.size();
  part.end = owned.begin + size * (group.rank() + 1) / group.size();
  part.state = owned.state + (part.begin - owned.begin);
  return part;
}

std::vector<SavedPiece> pieces_to_save(const Groups& groups, const Parameters& parameters,
                                       Optimiser& optimiser) {
  std::vector<SavedPiece> out;
  for (const OwnedRange& owned : optimiser.owned()) {
    const OwnedRange part = saved_part(groups, owned);
    visit_parameters(parameters, part.arena, part.begin, part.end,
                     [&](const Parameter& p, size_t begin, size_t count, size_t in_arena) {
                       if (p.tied_copy || (p.tensor_shared && groups.place.tensor != 0)) return;
                       CheckpointEntry entry{p.name, CheckpointKind::kWeight, p.shape, p.box, begin, count, 0,
                                             0};
                       out.push_back({entry, parameters.value(p) + begin});
                       for (const auto& [kind, state] : kStates) {
                         const auto values = optimiser.state(state);
                         if (values.empty()) continue;
                         entry.kind = kind;
                         out.push_back({entry, values.data() + part.state + (in_arena - part.begin)});
                       }
                     });
  }
  return out;
}

std::vector<WantedPiece> pieces_to_load(Parameters& parameters, Optimiser& optimiser) {
  std::vector<WantedPiece> out;
  for (const Parameter& p : parameters.all())
    if (p.arena != Arena::kFrozen)
      out.push_back({&p, CheckpointKind::kWeight, 0, {parameters.value(p), p.elements()}});
  for (const OwnedRange& owned : optimiser.owned())
    visit_parameters(
        parameters, owned.arena, owned.begin, owned.end,
        [&](const Parameter& p, size_t begin, size_t count, size_t in_arena) {
          for (const auto& [kind, state] : kStates) {
            const auto values = optimiser.state(state);
            if (!values.empty())
              out.push_back({&p, kind, begin, values.subspan(owned.state + in_arena - owned.begin, count)});
          }
        });
  return out;
}

/// Copies and links that people make beside them are none of ours.
bool is_checkpoint_name(const fs::path& path) {
  const std::string name = path.filename().string(), prefix(kPrefix);
  return name.size() >= prefix.size() + 8 && name.starts_with(prefix) &&
         name.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
}

/// Folders of checkpoints, whole or not.
std::vector<fs::path> checkpoint_folders(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed))
    if (is_checkpoint_name(entry->path())) out.push_back(entry->path());
  std::sort(out.begin(), out.end(), [](const fs::path& a, const fs::path& b) {  // steps have leading zeros
    const std::string x = a.filename().string(), y = b.filename().string();
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  });
  return out;
}

/// The manifest goes first: what is left behind by a crash is no checkpoint.
void remove_checkpoint(const fs::path& checkpoint) {
  std::error_code ignored;
  fs::remove(checkpoint / kManifestName, ignored);
  fs::remove_all(checkpoint, ignored);
}

/// The entries of all files by tensor and kind.
class EntryIndex {
 public:
  explicit EntryIndex(const OpenedCheckpoint& opened) {
    for (const RankFile& file : opened.files)
      for (const CheckpointEntry& entry : file.entries())
        places_[{entry.name, entry.kind}].push_back({&file, &entry});
  }

  struct Place {
    const RankFile* file;
    const CheckpointEntry* entry;
  };
  const std::vector<Place>& find(const std::string& name, CheckpointKind kind) const {
    static const std::vector<Place> kNone;
    const auto found = places_.find({name, kind});
    return found == places_.end() ? kNone : found->second;
  }

 private:
  std::map<std::pair<std::string, CheckpointKind>, std::vector<Place>> places_;
};

/// Whether two boxes have an element in common.
bool overlap(const Box& a, const Box& b) {
  for (size_t i = 0; i < a.begin.size(); ++i)
    if (a.begin[i] >= b.begin[i] + b.size[i] || b.begin[i] >= a.begin[i] + a.size[i]) return false;
  return true;
}

[[noreturn]] void another_model(const std::string& checkpoint, const std::string& tensor) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is of another model: the tensor '{}' is missing or of another shape there; "
                          "train this one in another folder",
                          checkpoint, tensor));
}

/// Fills a box, or a run of one, from whatever parts the files hold. What no file has stays NaN, which no sound number is.
void fill(const EntryIndex& index, const std::string& checkpoint, const Parameter& p, CheckpointKind kind,
          size_t begin, std::span<float> to) {
  const auto& places = index.find(p.name, kind);
  if (places.empty() || places.front().entry->shape != p.shape) another_model(checkpoint, p.name);
  std::fill(to.begin(), to.end(), std::numeric_limits<float>::quiet_NaN());
  for (const auto& [file, entry] : places)
    if (entry->shape == p.shape && overlap(entry->box, p.box))
      copy_overlap(entry->box, entry->begin, file->values(*entry), p.box, begin, to);
  if (!std::all_of(to.begin(), to.end(), [](float v) { return std::isfinite(v); }))
    throw Error(ErrorCode::kCorrupt,
                fmt::format("in '{}', a part of the {} of '{}' is missing or not finite; an older checkpoint "
                            "may be whole",
                            checkpoint, to_string(kind), p.name));
}

}  // namespace

std::vector<fs::path> list_checkpoints(const fs::path& folder) {
  std::vector<fs::path> out = checkpoint_folders(folder);
  std::erase_if(out, [](const fs::path& path) {
    std::error_code unreadable;
    return !fs::exists(path / kManifestName, unreadable);
  });
  return out;
}

struct Checkpoints::Impl {
  Impl(CheckpointOptions o, const Groups& g, Parameters& p, Optimiser& optimiser)
      : options(std::move(o)),
        groups(g),
        parameters(p),
        all(g.world->duplicate()),
        saved(pieces_to_save(g, p, optimiser)),
        wanted(pieces_to_load(p, optimiser)),
        has_average(!optimiser.state(OptimiserState::kAverage).empty()) {}

  ~Impl() {
    if (std::uncaught_exceptions() > 0)
      all->cancel();  // the other ranks may not come to what this one waits in
    if (writer.joinable()) writer.join();
  }

  bool first() const { return all->rank() == 0; }

  /// Beside training: numbers that training goes on to change.
  void take_snapshot() {
    size_t total = 0;
    for (const SavedPiece& piece : saved) total += piece.entry.count;
    snapshot.resize(total);
    float* to = snapshot.data();
    for (const SavedPiece& piece : saved) {
      std::memcpy(to, piece.from, piece.entry.count * sizeof(float));
      to += piece.entry.count;
    }
  }

  /// Only whole checkpoints are left, and an empty folder for this one.
  void prepare(const fs::path& checkpoint) const {
    std::error_code refused;
    fs::create_directories(options.folder, refused);
    const auto whole = list_checkpoints(options.folder);
    for (const fs::path& path : checkpoint_folders(options.folder))
      if (path == checkpoint || std::find(whole.begin(), whole.end(), path) == whole.end())
        remove_checkpoint(path);
    if (!refused) fs::create_directory(checkpoint, refused);
    if (refused)
      throw Error(ErrorCode::kIo,
                  fmt::format("cannot make the folder '{}': {}", checkpoint.string(), refused.message()));
  }

  /// Out of the snapshot, where there is one.
  CheckpointFileRecord write_mine(const fs::path& checkpoint) const {
    std::vector<CheckpointEntry> entries;
    std::vector<const float*> values;
    const float* copy = snapshot.data();
    for (const SavedPiece& piece : saved) {
      entries.push_back(piece.entry);
      values.push_back(snapshot.empty() ? piece.from : copy);
      copy += snapshot.empty() ? 0 : piece.entry.count;
    }
    return write_rank_file(checkpoint / fmt::format("rank-{:05}.fck", all->rank()), std::move(entries),
                           values);
  }

  void finish(const fs::path& checkpoint, const TrainState& state,
              const std::vector<std::string>& records) const {
    CheckpointManifest manifest{state, groups.layout.line(), {}};
    for (const std::string& text : records) {
      const auto record = nlohmann::json::parse(text);
      manifest.files.push_back({record[0], record[1], record[2]});
    }
    write_file_atomic(checkpoint / kManifestName, format_manifest(manifest));
    auto whole = list_checkpoints(options.folder);
    const size_t keep = std::max<size_t>(options.keep, 1);
    for (size_t i = 0; i + keep < whole.size(); ++i) remove_checkpoint(whole[i]);
  }

  /// The writer's work: what all ranks do between the snapshot and the manifest.
  std::optional<Failure> write(const TrainState& state) {
    const fs::path checkpoint = options.folder / fmt::format("{}{:08}", kPrefix, state.step);
    CheckpointFileRecord record;
    auto failure = together(*all, [&] {
      if (first()) prepare(checkpoint);
    });
    if (!failure) failure = together(*all, [&] { record = write_mine(checkpoint); });
    if (!failure) {
      const auto records = all->gather_bytes(
          nlohmann::json::array({record.name, record.bytes, record.header_checksum}).dump());
      failure = together(*all, [&] {
        if (first()) finish(checkpoint, state, records);
      });
    }
    if (failure && first()) remove_checkpoint(checkpoint);
    return failure;
  }

  /// What the writer leaves behind is told where `wait` can throw it.
  void work(const TrainState& state) noexcept {
    try {
      failed = write(state);
    } catch (const Error& error) {  // a rank has gone
      failed = Failure::of(error);
    } catch (const std::exception& error) {
      failed = Failure{ErrorCode::kInternal, error.what()};
    }
    snapshot = {};  // training has this memory again
  }

  /// This rank's part of `checkpoint`.
  TrainState load_mine(const fs::path& checkpoint) {
    const OpenedCheckpoint opened = open_checkpoint(checkpoint);
    const EntryIndex index(opened);
    for (const WantedPiece& piece : wanted) {
      const Parameter& p = *piece.parameter;
      const bool averaged = has_average && !index.find(p.name, CheckpointKind::kAverage).empty();
      // An average that begins now begins with the weights.
      const CheckpointKind kind =
          piece.kind == CheckpointKind::kAverage && !averaged ? CheckpointKind::kWeight : piece.kind;
      fill(index, checkpoint.string(), p, kind, piece.begin, piece.to);
    }
    return opened.manifest.state;
  }

  std::optional<Failure> load_all(const fs::path& checkpoint, TrainState& state) {
    return together(*all, [&] { state = load_mine(checkpoint); });
  }

  /// The first rank's list: on a shared disk others may see it later.
  std::vector<fs::path> agreed_list() const {
    nlohmann::json names = nlohmann::json::array();
    if (first())
      for (const fs::path& path : list_checkpoints(options.folder)) names.push_back(path.filename().string());
    std::vector<fs::path> out;
    for (const auto& name : nlohmann::json::parse(all->gather_bytes(names.dump()).front()))
      out.push_back(options.folder / name.get<std::string>());
    return out;
  }

  CheckpointOptions options;
  const Groups& groups;
  Parameters& parameters;
  std::unique_ptr<Communicator> all;  // the writer's own
  std::vector<SavedPiece> saved;
  std::vector<WantedPiece> wanted;
  bool has_average;
  std::vector<float> snapshot;
  std::thread writer;
  std::optional<Failure> failed;  // written by the writer, read when it has been joined
};

Checkpoints::Checkpoints(CheckpointOptions options, const Groups& groups, Parameters& parameters,
                         Optimiser& optimiser)
    : impl_(std::make_unique<Impl>(std::move(options), groups, parameters, optimiser)) {}

Checkpoints::~Checkpoints() = default;

void Checkpoints::save(const TrainState& state) {
  wait();
  impl_->take_snapshot();
  impl_->writer = std::thread([this, state] { impl_->work(state); });
}

void Checkpoints::save_now(const TrainState& state) {
  wait();
  throw_failure(impl_->write(state));
}

void Checkpoints::wait() {
  if (!impl_->writer.joinable()) return;
  impl_->writer.join();
  throw_failure(std::exchange(impl_->failed, std::nullopt));
}

std::optional<TrainState> Checkpoints::load_newest() {
  wait();
  const auto found = impl_->agreed_list();
  for (auto checkpoint = found.rbegin(); checkpoint != found.rend(); ++checkpoint) {
    TrainState state;
    const auto failure = impl_->load_all(*checkpoint, state);
    if (!failure) return state;
    if (failure->code == ErrorCode::kInvalidArgument) throw_failure(failure);
    if (impl_->first()) log().warn("a checkpoint is passed over: {}", failure->sentence);
  }
  if (found.empty()) return std::nullopt;
  throw Error(
      ErrorCode::kCorrupt,
      fmt::format("none of the {} checkpoints in '{}' can be read; move the folder away to begin anew",
                  found.size(), impl_->options.folder.string()));
}

TrainState Checkpoints::load(const fs::path& checkpoint) {
  wait();
  TrainState state;
  throw_failure(impl_->load_all(checkpoint, state));
  return state;
}

}  // namespace fathom::train
