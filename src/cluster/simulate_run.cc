#include "cluster/simulate_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "cluster/event_queue.h"

namespace fathom::cluster {
namespace {

constexpr double kHour = 3600;
constexpr double kReferenceHours = 54 * 24;  // over which the catalogue's rates were counted
constexpr double kMostSlower = 50;     // times as long as without any trouble: the run does not get ahead
constexpr uint64_t kLookEvery = 1024;  // events between two looks at the stop token
constexpr uint64_t kMaxEvents = 30'000'000;
constexpr double kForever = std::numeric_limits<double>::infinity();

enum Kind : uint32_t {
  kMilestone,
  kFailure,
  kSlow,
  kFound,
  kRepaired,
  kWritten,
  kPhaseEnd,
  kMaintenanceDue,
  kEnd
};
constexpr size_t kKinds = 9;

double exponential(Random& random, double mean) { return -mean * std::log1p(-random.uniform()); }

/// Streams of random numbers that do not touch each other.
uint64_t stream(uint64_t seed, uint64_t purpose) {
  return Random(seed * 0x9E3779B97F4A7C15ULL + purpose * 0xD1B54A32D192ED03ULL + 1).next();
}

class Run {
 public:
  Run(const RunInput& input, uint64_t seed, const std::stop_token& stop,
      const std::function<void(double)>& progress, RunObserver* observer)
      : in_(input),
        spec_(input.spec),
        stop_(stop),
        tell_progress_(progress),
        observer_(observer),
        times_(input.shape, {spec_.straggler_slowdown, spec_.degraded_links, input.checkpoint.network_share}),
        failures_(stream(seed, 1)),
        slow_(stream(seed, 2)),
        nodes_(input.shape.nodes()),
        spares_(static_cast<uint64_t>(std::max(0.0, spec_.spare_nodes))) {
    out_.failures.assign(input.failures.size(), 0);
    for (const FailureKind& kind : input.failures)
      failures_per_hour_ +=
          kind.per_chip_hour * spec_.failure_scale * static_cast<double>(input.shape.chips());
    target_ = input.steps > 0 ? input.steps : kForever;
    limit_s_ = input.steps > 0 ? kMostSlower * input.steps * times_.healthy() + 30 * 24 * kHour
                               : spec_.days * 24 * kHour;
  }

  RunOutcome run() {
    queue_.add(limit_s_, kEnd);
    if (spec_.planned_hours_between > 0 && spec_.planned_s > 0)
      queue_.add(spec_.planned_hours_between * kHour, kMaintenanceDue);
    next_failure();
    next_slow(Slowness::kComputes);
    next_slow(Slowness::kSends);
    start_training();
    Event event;
    while (!over_ && queue_.next(event)) {
      if (stop_.stop_requested()) look_up();
      if (++out_.events % kLookEvery == 0) look_up();
      pass_to(event.time);
      handle(event);
    }
    finish();
    return out_;
  }

 private:
  enum class State : uint8_t { kTraining, kCopying, kStopping, kRecovering };

  void look_up() {
    if (stop_.stop_requested()) throw Error(ErrorCode::kCancelled, "the simulation was stopped");
    if (out_.events > kMaxEvents)
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format(
              "the run has more than {} events by day {:.1f}: failures come every {:.3g} s; simulate fewer "
              "days, or lower run.failure_scale or run.straggler_share",
              kMaxEvents, now_ / (24 * kHour),
              failures_per_hour_ > 0 ? kHour / failures_per_hour_ : kForever));
    if (tell_progress_) tell_progress_(in_.steps > 0 ? progress_ / in_.steps : now_ / limit_s_);
  }

  // --- time

  /// Everything up to `time` goes on as it is.
  void pass_to(double time) {
    const double passed = time - now_;
    if (passed <= 0) return;
    if (state_ == State::kTraining) {
      const double steps = passed / parts_.all;
      progress_ += steps;
      const double healthy = times_.healthy();
      spend(Spent::kUseful, steps * healthy);
      spend(Spent::kFewerReplicas, steps * (parts_.fewer - healthy));
      spend(Spent::kStragglers, steps * (parts_.slow - parts_.fewer));
      spend(Spent::kCheckpointTraffic, steps * (parts_.all - parts_.slow));
    } else {
      spend(phase_, passed);
    }
    now_ = time;
  }
  void spend(Spent what, double seconds) { out_.spent[static_cast<size_t>(what)] += seconds; }

  void tell_phase(Spent what) {
    if (observer_ != nullptr && now_ > told_until_) observer_->phase(what, told_until_, now_);
    told_until_ = now_;
    if (observer_ != nullptr) observer_->progress(now_, progress_ * times_.healthy(), parts_.all);
  }

  // --- training

  void start_training() {
    if (stopped_since_ >= 0) out_.longest_outage_s = std::max(out_.longest_outage_s, now_ - stopped_since_);
    stopped_since_ = -1;
    state_ = State::kTraining;
    checkpoint_at_ = next_checkpoint();
    condition_changed();
  }

  double next_checkpoint() const {
    if (service_due()) return std::ceil(progress_ - 1e-9);
    if (in_.steps_between_checkpoints == 0) return kForever;
    return copied_ + static_cast<double>(in_.steps_between_checkpoints);
  }

  /// The step time, and with it when the next milestone of progress is reached.
  void condition_changed() {
    parts_ = times_.at(condition_);
    set_milestone();
  }
  void set_milestone() {
    queue_.withdraw(kMilestone);
    if (state_ != State::kTraining) return;
    // While one is written the next waits.
    milestone_ = std::min(target_, condition_.writing ? kForever : checkpoint_at_);
    if (milestone_ < kForever)
      queue_.add(now_ + std::max(0.0, milestone_ - progress_) * parts_.all, kMilestone);
  }

  void reached_milestone() {
    progress_ = milestone_;  // but for rounding it is there
    if (progress_ >= target_) {
      over_ = true;
      return;
    }
    tell_phase(Spent::kUseful);
    queue_.withdraw(kMilestone);
    if (service_due() && progress_ == copied_ && copied_ == durable_) {
      begin_service();
      return;
    }
    state_ = State::kCopying;
    phase_ = Spent::kCheckpoint;
    copying_ = progress_;
    phase_for(in_.checkpoint.blocks_s);
  }

  // --- checkpoints

  void copied() {
    tell_phase(Spent::kCheckpoint);
    copied_ = copying_;
    written_from_ = now_;
    const bool service = service_due();
    if (!spec_.checkpoint_async) {
      written();
      if (!service) start_training();
      return;
    }
    condition_.writing = true;
    queue_.add(now_ + in_.checkpoint.write_s, kWritten);
    if (!service) {
      start_training();
      return;
    }
    state_ = State::kStopping;  // until it is durable
    phase_ = Spent::kCheckpoint;
  }

  /// The copy is durable.
  void written() {
    condition_.writing = false;
    durable_ = copied_;
    ++out_.checkpoints;
    if (observer_ != nullptr) {
      const double begin = spec_.checkpoint_async ? written_from_ : now_ - in_.checkpoint.write_s;
      observer_->written(begin, now_, true);
    }
    if (state_ == State::kTraining) {
      checkpoint_at_ = std::max(next_checkpoint(), std::ceil(progress_ - 1e-9));
      condition_changed();
    } else if (service_due()) {
      if (state_ == State::kStopping) tell_phase(Spent::kCheckpoint);
      begin_service();
    }
  }

  // --- failures

  void next_failure() {
    if (failures_per_hour_ <= 0) return;
    const double age = spec_.age_hours + now_ / kHour;
    double hours = exponential(failures_, 1) / failures_per_hour_;
    if (spec_.infant_shape != 1) {  // the cumulative rate, turned round
      const double k = spec_.infant_shape;
      hours =
          kReferenceHours * std::pow(std::pow(age / kReferenceHours, k) + hours / kReferenceHours, 1 / k) -
          age;
    }
    queue_.add(now_ + hours * kHour, kFailure);
  }

  void failed() {
    // All numbers are drawn whatever becomes of them, so that the stream does not depend on the state.
    double which = failures_.uniform() * failures_per_hour_;
    const uint64_t node = failures_.below(nodes_);
    const bool hangs = failures_.uniform() < spec_.hang_share;
    const bool by_hand = failures_.uniform() < spec_.manual_share;
    const double hands = exponential(failures_, spec_.manual_hours * kHour);
    const double repair = exponential(failures_, 1);
    next_failure();
    if (idle(node)) return;
    size_t kind = 0;
    const auto rate = [&](size_t k) {
      return in_.failures[k].per_chip_hour * spec_.failure_scale * static_cast<double>(in_.shape.chips());
    };
    while (kind + 1 < in_.failures.size() && which >= rate(kind)) which -= rate(kind++);
    ++out_.failures[kind];
    ++out_.interruptions;
    if (observer_ != nullptr) observer_->failure(kind, node, now_);
    interrupt();
    detection_until_ = now_ + (hangs ? spec_.hang_detection_s : spec_.detection_s);
    if (by_hand) hands_until_ = std::max(hands_until_, detection_until_ + hands);
    if (in_.failures[kind].needs_spare) leave(node, repair * in_.failures[kind].repair_hours * kHour);
    recover();
  }

  /// Whether all replicas of the node sit out already: what does not run does not interrupt.
  bool idle(uint64_t node) const {
    if (condition_.missing.empty()) return false;
    if (condition_.missing.contains(node)) return true;
    std::set<uint64_t> with = condition_.missing;
    with.insert(node);
    return times_.replicas(with) == times_.replicas(condition_.missing);
  }

  /// Steps that no durable checkpoint has are lost.
  void interrupt() {
    tell_phase(state_ == State::kTraining ? Spent::kUseful : phase_);
    if (stopped_since_ < 0) stopped_since_ = now_;
    const double lost = (progress_ - durable_) * times_.healthy();
    spend(Spent::kUseful, -lost);
    spend(Spent::kRecomputed, lost);
    progress_ = copied_ = durable_;
    if (condition_.writing) {
      condition_.writing = false;
      queue_.withdraw(kWritten);
      if (observer_ != nullptr) observer_->written(written_from_, now_, false);
    }
    queue_.withdraw(kMilestone);
    queue_.withdraw(kPhaseEnd);
    restarted_ = loaded_ = false;
    loads_ = true;
    state_ = State::kRecovering;
    replace_found();  // while all stand still anyway
  }

  /// A node goes to be repaired; a spare takes its place, now or once there is one.
  void leave(uint64_t node, double repair_s) {
    forget_slow(node);
    to_repair(repair_s);
    condition_.missing.insert(node);
  }
  void to_repair(double seconds) {
    if (spec_.repair_slots != 0 && in_repair_ >= spec_.repair_slots) {
      repair_queue_.push_back(seconds);
      return;
    }
    ++in_repair_;
    queue_.add(now_ + seconds, kRepaired);
  }
  void repaired() {
    --in_repair_;
    ++spares_;
    if (!repair_queue_.empty()) {
      const double next = repair_queue_.front();
      repair_queue_.pop_front();
      to_repair(next);
    }
    if (state_ == State::kRecovering && phase_ == Spent::kRepair) {
      tell_phase(Spent::kRepair);
      recover();
    } else if (state_ == State::kTraining) {
      ask_service();  // replicas that were missing come back
    }
  }

  /// Begins what recovery needs next; called at each end of a phase until steps go on.
  void recover() {
    if (now_ < detection_until_) return enter(Spent::kDetection, detection_until_ - now_);
    if (now_ < maintenance_until_) return enter(Spent::kMaintenance, maintenance_until_ - now_);
    if (now_ < hands_until_) return enter(Spent::kHands, hands_until_ - now_);
    if (take_spares()) return enter(Spent::kSwap, spec_.swap_s);
    const bool enough = spec_.elastic && times_.replicas(condition_.missing) > 0;
    if (!condition_.missing.empty() && !enough) return enter(Spent::kRepair, kForever);
    if (!restarted_) {
      restarted_ = true;
      return enter(Spent::kRestart, spec_.restart_s);
    }
    if (loads_ && !loaded_) {
      loaded_ = true;
      return enter(Spent::kLoading, in_.checkpoint.read_s);
    }
    start_training();
  }
  void enter(Spent what, double seconds) {
    phase_ = what;
    phase_for(seconds);
  }
  void phase_for(double seconds) {
    queue_.withdraw(kPhaseEnd);
    if (seconds < kForever) queue_.add(now_ + seconds, kPhaseEnd);
  }
  bool take_spares() {
    const uint64_t taken = std::min<uint64_t>(spares_, condition_.missing.size());
    spares_ -= taken;
    for (uint64_t i = 0; i < taken; ++i) condition_.missing.erase(condition_.missing.begin());
    if (taken > 0) restarted_ = loaded_ = false;
    return taken > 0;
  }

  void phase_ended() {
    if (state_ == State::kCopying) return copied();
    tell_phase(phase_);
    recover();
  }

  // --- slow nodes, maintenance and replicas that return: all without losing a step

  bool service_due() const {
    return maintenance_due_ || !found_.empty() || (!condition_.missing.empty() && spares_ > 0);
  }
  void ask_service() {
    if (state_ != State::kTraining || !service_due()) return;
    checkpoint_at_ = std::ceil(progress_ - 1e-9);
    set_milestone();
  }

  void begin_service() {
    state_ = State::kRecovering;
    if (stopped_since_ < 0) stopped_since_ = now_;
    replace_found();
    if (maintenance_due_) {
      maintenance_due_ = false;
      maintenance_until_ = now_ + spec_.planned_s;
      queue_.add(maintenance_until_ + spec_.planned_hours_between * kHour, kMaintenanceDue);
    }
    restarted_ = false;
    loads_ = false;  // all still have it
    recover();
  }

  void replace_found() {
    for (const uint64_t node : found_) replace_slow(node);
    found_.clear();
  }
  /// By a spare; where there is none left for it, it is reset and goes on.
  void replace_slow(uint64_t node) {
    if (!condition_.slow.contains(node)) return;
    forget_slow(node);
    if (spares_ <= condition_.missing.size()) return;
    to_repair(exponential(slow_, in_.repair_hours * kHour));
    condition_.missing.insert(node);
  }

  double slow_share(Slowness how) const {
    return how == Slowness::kComputes ? spec_.straggler_share : spec_.degraded_share;
  }
  double slow_hours(Slowness how) const {
    return how == Slowness::kComputes ? spec_.straggler_hours : spec_.degraded_hours;
  }
  void next_slow(Slowness how) {
    const double share = slow_share(how);
    if (share <= 0) return;
    const double hours = slow_hours(how) / (share * static_cast<double>(nodes_));
    queue_.add(now_ + exponential(slow_, hours * kHour), kSlow, static_cast<uint64_t>(how));
  }
  void became_slow(Slowness how) {
    const uint64_t node = slow_.below(nodes_);
    const double lasts = exponential(slow_, slow_hours(how) * kHour);
    next_slow(how);
    if (condition_.missing.contains(node) || condition_.slow.contains(node)) return;
    condition_.slow.emplace(node, how);
    slow_since_[node] = now_;
    queue_.add(now_ + lasts, kFound, node);
    if (state_ == State::kTraining) condition_changed();
  }
  void found(uint64_t node) {
    if (!condition_.slow.contains(node)) return;  // a failure has taken it
    ++out_.stragglers;
    if (state_ == State::kRecovering) return replace_slow(node);
    found_.push_back(node);
    ask_service();
  }
  void forget_slow(uint64_t node) {
    const auto it = condition_.slow.find(node);
    if (it == condition_.slow.end()) return;
    if (observer_ != nullptr) observer_->slow(node, it->second, slow_since_[node], now_);
    slow_since_.erase(node);
    condition_.slow.erase(it);
  }

  void handle(const Event& event) {
    switch (event.kind) {
      case kMilestone: return reached_milestone();
      case kFailure: return failed();
      case kSlow: return became_slow(static_cast<Slowness>(event.subject));
      case kFound: return found(event.subject);
      case kRepaired: return repaired();
      case kWritten: return written();
      case kPhaseEnd: return phase_ended();
      case kMaintenanceDue: maintenance_due_ = true; return ask_service();
      default: return ended();
    }
  }

  void ended() {
    over_ = true;
    if (in_.steps <= 0) return;
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "the run does not get ahead: after {:.0f} days {:.1f} % of the steps are done; failures come "
            "every {:.0f} s and recovery takes {:.0f} s: more spares (run.spare_nodes), faster storage or a "
            "shorter run.restart_s would help",
            now_ / (24 * kHour), 100 * progress_ / in_.steps,
            failures_per_hour_ > 0 ? kHour / failures_per_hour_ : 0.0,
            spec_.detection_s + spec_.restart_s + in_.checkpoint.read_s));
  }

  void finish() {
    tell_phase(state_ == State::kTraining ? Spent::kUseful : phase_);
    if (stopped_since_ >= 0) out_.longest_outage_s = std::max(out_.longest_outage_s, now_ - stopped_since_);
    if (observer_ != nullptr)
      for (const auto& [node, how] : condition_.slow) observer_->slow(node, how, slow_since_[node], now_);
    out_.wall_s = now_;
    out_.steps = progress_;
  }

  const RunInput& in_;
  const RunSpec& spec_;
  const std::stop_token& stop_;
  const std::function<void(double)>& tell_progress_;
  RunObserver* observer_;
  StepTimes times_;
  Random failures_, slow_;
  const uint64_t nodes_;
  RunOutcome out_;
  EventQueue<kKinds> queue_;

  double failures_per_hour_ = 0, limit_s_ = 0, target_ = 0;
  double now_ = 0, told_until_ = 0;
  bool over_ = false;
  State state_ = State::kTraining;
  Spent phase_ = Spent::kUseful;  // while not training
  StepCondition condition_;
  StepTimes::Parts parts_;

  // In steps since the start: done, when the next milestone and checkpoint are due, being copied, copied, durable.
  double progress_ = 0, milestone_ = 0, checkpoint_at_ = 0, copying_ = 0, copied_ = 0, durable_ = 0;
  double written_from_ = 0;
  double stopped_since_ = -1;

  double detection_until_ = 0, hands_until_ = 0, maintenance_until_ = 0;
  bool restarted_ = false, loaded_ = false, loads_ = false, maintenance_due_ = false;
  uint64_t spares_ = 0, in_repair_ = 0;
  std::deque<double> repair_queue_;
  std::vector<uint64_t> found_;  // slow nodes to be replaced
  std::map<uint64_t, double> slow_since_;
};

}  // namespace

std::string_view to_string(Spent spent) {
  switch (spent) {
    case Spent::kUseful: return "useful steps";
    case Spent::kRecomputed: return "recomputed steps";
    case Spent::kCheckpoint: return "checkpoint";
    case Spent::kCheckpointTraffic: return "checkpoint traffic";
    case Spent::kDetection: return "detection";
    case Spent::kHands: return "waiting for hands";
    case Spent::kRepair: return "waiting for repair";
    case Spent::kSwap: return "bringing in spares";
    case Spent::kRestart: return "restart";
    case Spent::kLoading: return "loading a checkpoint";
    case Spent::kStragglers: return "stragglers";
    case Spent::kFewerReplicas: return "fewer replicas";
    case Spent::kMaintenance: return "planned maintenance";
  }
  return "";
}

RunOutcome simulate_run(const RunInput& input, uint64_t seed, const std::stop_token& stop,
                        const std::function<void(double)>& progress, RunObserver* observer) {
  return Run(input, seed, stop, progress, observer).run();
}

}  // namespace fathom::cluster
