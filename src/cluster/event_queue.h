// The queue of a discrete-event simulation: what happens next, in the order of time and, at the same time, of arrival.
//
// Owned by one simulation; not thread-safe. An event is withdrawn by its kind's generation: those of an older one are
// passed over when they come up, so that nothing is searched for in the heap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <queue>
#include <vector>

namespace fathom::cluster {

struct Event {
  double time = 0;
  uint64_t order = 0;  // of arrival
  uint32_t kind = 0;
  uint32_t generation = 0;
  uint64_t subject = 0;  // what it is about: a node, a kind of failure
};

template <size_t kKinds>
class EventQueue {
 public:
  void add(double time, uint32_t kind, uint64_t subject = 0) {
    heap_.push({time, order_++, kind, generation_[kind], subject});
  }
  /// Withdraws all events of the kind.
  void withdraw(uint32_t kind) { ++generation_[kind]; }

  /// The next event, in `event`; false where there is none.
  bool next(Event& event) {
    while (!heap_.empty()) {
      event = heap_.top();
      heap_.pop();
      if (event.generation == generation_[event.kind]) return true;
    }
    return false;
  }

 private:
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.time > b.time || (a.time == b.time && a.order > b.order);
    }
  };
  std::priority_queue<Event, std::vector<Event>, Later> heap_;
  std::array<uint32_t, kKinds> generation_{};
  uint64_t order_ = 0;
};

}  // namespace fathom::cluster
