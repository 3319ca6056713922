#include "train/trainer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "tensor/cpu_ops.h"
#include "tensor/limits.h"
#include "train/checkpoint.h"
#include "train/dataset.h"
#include "train/decoder.h"
#include "train/monitor.h"
#include "train/optimiser.h"
#include "train/sample_source.h"
#include "train/step.h"
#include "train/tokenizer_file.h"

namespace fathom::train {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

constexpr size_t kSkipsBeforeReturn = 3;
constexpr size_t kMostReturns = 3;
constexpr double kPeakSeconds = 0.1;  // of measuring what the processor can do
constexpr auto kLockPatience = std::chrono::seconds(10);
constexpr auto kLockPause = std::chrono::milliseconds(100);

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

/// One job at a time in a folder. The system lets go of the lock when the process ends, however it ends.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) {
    std::error_code failed;
    fs::create_directories(folder, failed);
    const fs::path path = folder / "lock";
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0)
      throw Error(ErrorCode::kIo, fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)));
    const auto start = steady_clock::now();
    while (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        const int why = errno;
        ::close(file_);
        throw Error(ErrorCode::kIo, fmt::format("cannot lock '{}': {}", path.string(), std::strerror(why)));
      }
      if (steady_clock::now() - start > kLockPatience) {
        ::close(file_);
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("another training job is at work in '{}'; end it, or name another folder",
                                folder.string()));
      }
      std::this_thread::sleep_for(kLockPause);
    }
  }
  ~FolderLock() { ::close(file_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_;
};

Dataset open_data(const fs::path& folder, const RunConfig& run) {
  Dataset data = Dataset::open(folder);
  if (data.info().vocab > run.model.vocab)
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("the tokens of '{}' are of a vocabulary of {}, but the model has {}; describe a model "
                    "with at least as many, or prepare the data with another tokenizer",
                    folder.string(), data.info().vocab, run.model.vocab));
  if (data.rows(run.length) == 0)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' has too little text for one sequence of {} tokens; shorten [data] length",
                            folder.string(), run.length));
  return data;
}

/// Told, not refused: a vocabulary filled up to the rows of a matrix has another digest and the same ids.
void compare_tokenizers(const RunConfig& run, const Dataset& data) {
  if (run.tokenizer.empty() || data.info().tokenizer.empty()) return;
  const auto tokenizer = model::Tokenizer::from_gguf(open_tokenizer(run.tokenizer).file);
  if (tokenizer_digest(tokenizer) != data.info().tokenizer)
    log().warn("'{}' was prepared with another tokenizer than '{}'", run.train.string(),
               run.tokenizer.string());
}

/// Of one token, forward and backward: twice as much backward as forward; under an adapter only the gradients of
/// activations, so as much as forward. A causal token attends to half of the sequence on average.
double model_flops_per_token(const RunConfig& run) {
  const double forward = static_cast<double>(run.model.flops_per_token((run.length + 1) / 2));
  return forward * (run.lora.rank == 0 ? 3 : 2);
}

/// What the ranks tell each other after every step.
struct Notice {
  float stop = 0;
  float save = 0;     // rank 0's wish
  float seconds = 0;  // of this rank's own work
};

class Trainer {
 public:
  Trainer(const TrainOptions& options, std::unique_ptr<Communicator> world, ThreadPool& pool)
      : options_(options),
        run_(options.run),
        groups_(make_groups(run_.layout, std::move(world))),
        lock_(first() ? std::make_unique<FolderLock>(run_.folder) : nullptr),
        peak_(measure_peak(pool)),
        data_(open_data(run_.train, run_)),
        ops_(tensor::make_cpu_ops(pool)),
        parameters_(run_.model, run_.layout, groups_.place, run_.lora, *ops_),
        slots_(Step::slots(run_.layout, run_.micro_batches())),
        samples_(data_, run_.seed, run_.micro, run_.length, slots_),
        watch_(groups_.world->size()) {
    if (!run_.held_out.empty()) {
      held_out_data_ = open_data(run_.held_out, run_);
      held_out_samples_.emplace(*held_out_data_, run_.seed, run_.micro, run_.length, slots_);
    }
    initialise();
    optimiser_ = std::make_unique<Optimiser>(parameters_, groups_, *ops_, run_.optimiser);
    decoder_ = std::make_unique<Decoder>(run_.model, groups_, parameters_, *ops_, decoder_options(run_));
    step_ = std::make_unique<Step>(*decoder_, *optimiser_, groups_);
    checkpoints_ = std::make_unique<Checkpoints>(
        CheckpointOptions{run_.folder / kCheckpointsFolder, run_.checkpoints_kept}, groups_, parameters_,
        *optimiser_);
    if (first()) {
      compare_tokenizers(run_, data_);
      monitor_.emplace(run_.folder, run_.steps(), options.progress);
    }
  }

  TrainResult train() {
    resume();
    bool stop = false;
    while (!stop && state_.step < run_.steps()) stop = one_step();
    finish();
    return {state_.step < run_.steps(), state_.step, state_.skipped, loss_, held_out_loss_};
  }

 private:
  bool first() const { return groups_.world->rank() == 0; }

  void event(std::string_view name, const nlohmann::json& fields) {
    if (monitor_) monitor_->event(name, state_.step, fields);
  }

  /// Of all ranks at once, as they will compute.
  double measure_peak(ThreadPool& pool) {
    groups_.world->barrier();
    double peak = tensor::float_peak(pool, kPeakSeconds);
    groups_.world->all_reduce_sum(std::span(&peak, 1));
    return peak;
  }

  void initialise() {
    parameters_.initialise(run_.seed, run_.deviation);
    if (!run_.model_file.empty()) parameters_.load(model::GgufFile::open(run_.model_file));
  }

  void resume() {
    const auto restored = checkpoints_->load_newest();
    if (restored) state_ = *restored;
    saved_step_ = state_.step;
    furthest_ = state_.step;
    if (!monitor_) return;
    // Only now: checkpoints of another model were refused above.
    write_file_atomic(run_.folder / kRunRecord, run_.as_json() + "\n");
    monitor_->resume(state_.step);
    event(restored ? "resumed" : "started",
          {{"ranks", groups_.world->size()}, {"layout", run_.layout.line()}});
    if (restored) log().info("training goes on behind step {} of {}", state_.step, run_.steps());
  }

  /// Whether to stop.
  bool one_step() {
    if (options_.before_step) options_.before_step(state_.step + 1, parameters_);
    const uint64_t begin = state_.samples;
    const uint64_t end = begin + run_.sequences;
    const auto loss_tokens = data_.loss_tokens(run_.seed, begin, end, run_.length);
    const LossScale scale{1.0f / static_cast<float>(std::max<uint64_t>(loss_tokens, 1)),
                          1.0f / static_cast<float>(run_.sequences)};
    const float rate = run_.schedule.at(state_.step + 1);
    const auto batch = [&](size_t index) {
      return samples_.read(begin, index, groups_.place.data, run_.layout.data);
    };
    const StepResult result = step_->run(state_.step + 1, run_.micro_batches(), batch, scale, rate);
    state_.samples = end;
    return result.finite ? take(result, rate) : pass_over(result);
  }

  /// A step that counts.
  bool take(const StepResult& result, float rate) {
    ++state_.step;
    skipped_in_a_row_ = 0;
    useful_seconds_ += result.seconds;
    loss_ = result.loss;
    if (state_.step > furthest_) {
      furthest_ = state_.step;
      returns_ = 0;
    }
    StepMetrics metrics = metrics_of(result, rate);
    const bool regular = run_.evaluate_every != 0 && state_.step % run_.evaluate_every == 0;
    if (regular || state_.step == run_.steps()) evaluate(metrics);
    const Notice notice = exchange(result);
    if (notice.save != 0 && notice.stop == 0) metrics.checkpoint_s = save();
    if (monitor_) monitor_->step(metrics);
    return notice.stop != 0;
  }

  /// A batch that updated nothing.
  bool pass_over(const StepResult& result) {
    ++state_.skipped;
    ++skipped_in_a_row_;
    event("skipped", {{"loss", std::isfinite(result.loss) ? nlohmann::json(result.loss) : nlohmann::json()},
                      {"in_a_row", skipped_in_a_row_}});
    if (first()) log().warn("step {}: the loss is not finite; the batch is passed over", state_.step + 1);
    if (skipped_in_a_row_ >= kSkipsBeforeReturn) go_back();
    return exchange(result).stop != 0;
  }

  /// To the newest checkpoint, and on behind the batches that were bad.
  void go_back() {
    wait_for_checkpoint();
    const uint64_t samples = state_.samples, skipped = state_.skipped, from = state_.step;
    const auto give_up = [&](std::string_view why) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("the loss at step {} is not finite again and again, {}; lower the learning rate or "
                      "look at the data behind sample {}",
                      from + 1, why, samples - kSkipsBeforeReturn * run_.sequences));
    };
    if (++returns_ > kMostReturns) give_up(fmt::format("after {} returns to a checkpoint", kMostReturns));
    const auto restored = checkpoints_->load_newest();
    if (!restored) give_up("and there is no checkpoint yet");
    state_ = *restored;
    state_.samples = samples;
    state_.skipped = skipped;
    skipped_in_a_row_ = 0;
    saved_step_ = state_.step;
    if (monitor_) monitor_->resume(state_.step);
    event("rolled_back", {{"from", from}});
    if (first()) log().warn("training goes back from step {} to {}", from, state_.step);
  }

  /// All ranks hear what one wants; a slow one is named.
  Notice exchange(const StepResult& result) {
    const bool due = first() && checkpoint_due();
    const Notice mine{options_.stop.stop_requested() ? 1.0f : 0.0f, due ? 1.0f : 0.0f,
                      static_cast<float>(result.seconds - result.exposed_seconds)};
    const size_t ranks = groups_.world->size();
    std::vector<float> all(3 * ranks);
    groups_.world->all_gather(std::array{mine.stop, mine.save, mine.seconds}, all);
    Notice any;
    std::vector<float> seconds(ranks);
    for (size_t rank = 0; rank < ranks; ++rank) {
      any.stop = std::max(any.stop, all[3 * rank]);
      any.save = std::max(any.save, all[3 * rank + 1]);
      seconds[rank] = all[3 * rank + 2];
    }
    if (const auto slow = watch_.see(seconds); slow && first()) {
      event("slow_rank", {{"rank", *slow}, {"seconds", seconds[*slow]}});
      log().warn("rank {} is slow: {:.3g} s of work a step, over {} times the others'", *slow, seconds[*slow],
                 SlowRankWatch::kFactor);
    }
    return any;
  }

  bool checkpoint_due() const {
    const bool by_steps = run_.checkpoint_steps != 0 && state_.step >= saved_step_ + run_.checkpoint_steps;
    const bool by_time =
        run_.checkpoint_minutes > 0 && seconds_since(saved_at_) >= 60 * run_.checkpoint_minutes;
    return by_steps || by_time;
  }

  StepMetrics metrics_of(const StepResult& result, float rate) const {
    StepMetrics m;
    m.step = state_.step;
    m.loss = result.loss;
    m.balance = result.balance;
    m.dropped = result.dropped;
    m.learning_rate = static_cast<double>(rate);
    m.grad_norm = result.norm;
    m.tokens = state_.step * run_.tokens_per_step();
    m.step_time = result.seconds;
    m.exposed_comm = result.exposed_seconds;
    m.tokens_per_s = static_cast<double>(run_.tokens_per_step()) / std::max(result.seconds, 1e-9);
    m.flops = m.tokens_per_s * model_flops_per_token(run_);
    m.share_of_peak = peak_ > 0 ? m.flops / peak_ : 0;
    m.goodput = std::min(1.0, useful_seconds_ / std::max(seconds_since(start_), 1e-9));
    m.skipped = state_.skipped;
    return m;
  }

  /// On the first rows of the held-out data; with the average of the weights where one is kept.
  void evaluate(StepMetrics& metrics) {
    if (!held_out_data_) return;
    const bool averaged = run_.optimiser.ema_decay > 0;
    if (averaged) optimiser_->swap_average();
    const uint64_t whole = held_out_data_->rows(run_.length) / run_.sequences;
    const uint64_t batches = std::clamp<uint64_t>(run_.evaluate_batches, 1, std::max<uint64_t>(whole, 1));
    double loss = 0, tokens = 0;
    for (uint64_t b = 0; b < batches; ++b) {
      const auto batch = [&](size_t index) {
        return held_out_samples_->read(b * run_.sequences, index, groups_.place.data, run_.layout.data);
      };
      const StepResult result = step_->evaluate(run_.micro_batches(), batch);
      loss += result.loss * result.loss_tokens;
      tokens += result.loss_tokens;
    }
    if (averaged) optimiser_->swap_average();
    held_out_loss_ = loss / std::max(tokens, 1.0);
    metrics.held_out_loss = *held_out_loss_;
    metrics.held_out_perplexity = std::exp(*held_out_loss_);
  }

  /// What became of the save before; a failure is told, not thrown.
  void wait_for_checkpoint() {
    try {
      checkpoints_->wait();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) throw;  // another rank failed
      save_failed_ = true;
      event("checkpoint_failed", {{"error", error.what()}});
      if (first()) log().warn("a checkpoint was not written, training goes on: {}", error.what());
    }
  }

  /// Seconds for which training stood still.
  double save() {
    const auto start = steady_clock::now();
    wait_for_checkpoint();
    state_.run = run_.as_json();
    checkpoints_->save(state_);
    save_failed_ = false;
    saved_step_ = state_.step;
    saved_at_ = steady_clock::now();
    return seconds_since(start);
  }

  void finish() {
    wait_for_checkpoint();
    if (saved_step_ != state_.step || save_failed_) {
      state_.run = run_.as_json();
      checkpoints_->save_now(state_);
    }
    event(state_.step < run_.steps() ? "stopped" : "finished", nlohmann::json::object());
  }

  const TrainOptions& options_;
  const RunConfig& run_;
  Groups groups_;
  std::unique_ptr<FolderLock> lock_;  // rank 0's
  double peak_;                       // operations a second, of all ranks
  Dataset data_;
  std::optional<Dataset> held_out_data_;
  std::unique_ptr<tensor::DeviceOps> ops_;
  Parameters parameters_;
  size_t slots_;
  SampleSource samples_;
  std::optional<SampleSource> held_out_samples_;
  std::unique_ptr<Optimiser> optimiser_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Step> step_;
  std::unique_ptr<Checkpoints> checkpoints_;
  std::optional<Monitor> monitor_;  // rank 0's
  SlowRankWatch watch_;

  TrainState state_;
  size_t skipped_in_a_row_ = 0;
  size_t returns_ = 0;  // to a checkpoint, since training got further than ever
  uint64_t furthest_ = 0;
  uint64_t saved_step_ = 0;
  bool save_failed_ = false;  // the newest save
  std::optional<double> loss_;
  std::optional<double> held_out_loss_;
  double useful_seconds_ = 0;
  steady_clock::time_point start_ = steady_clock::now();
  steady_clock::time_point saved_at_ = steady_clock::now();
};

}  // namespace

DecoderOptions decoder_options(const RunConfig& run) {
  DecoderOptions out;
  out.sequences = run.micro;
  out.length = run.length;
  out.slots = Step::slots(run.layout, run.micro_batches());
  out.recompute = run.recompute;
  out.precision = run.precision;
  out.z_loss = run.z_loss;
  out.balance_weight = run.balance_weight;
  out.capacity_factor = run.capacity_factor;
  out.lora = run.lora;
  return out;
}

TrainResult train(const TrainOptions& options, std::unique_ptr<Communicator> world, ThreadPool& pool) {
  if (options.run.layout.ranks() != world->size())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the layout '{}' is for {} ranks, but {} were started; change it with --layout",
                            options.run.layout.line(), options.run.layout.ranks(), world->size()));
  return Trainer(options, std::move(world), pool).train();
}

}  // namespace fathom::train
