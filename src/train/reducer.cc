#include "train/reducer.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/buffer.h"

namespace fathom::train {
namespace {

/// Parts of buckets begin at multiples of it: of a cache line's floats.
constexpr size_t kAlignment = 16;

}  // namespace

SharedArena::SharedArena(Parameters& parameters, Arena which, std::unique_ptr<Communicator> ranks,
                         size_t zero_stage, size_t bucket_floats)
    : arena(which),
      values(parameters.values(which), parameters.arena_size(which)),
      gradients(parameters.gradients(which), parameters.arena_size(which)),
      group(std::move(ranks)),
      zero(group->size() == 1 ? 0 : zero_stage) {
  FATHOM_CHECK(values.size() % group->size() == 0, "an arena must be a multiple of the ranks that share it");
  const size_t step = group->size() * kAlignment;
  bucket_size = std::max(step, bucket_floats / step * step);
}

SharedArena::Range SharedArena::bucket(size_t index) const {
  return {index * bucket_size, std::min(values.size(), (index + 1) * bucket_size)};
}

SharedArena::Range SharedArena::part(size_t index) const {
  const Range whole = bucket(index);
  const size_t length = whole.size() / group->size();
  return {whole.begin + length * group->rank(), whole.begin + length * (group->rank() + 1)};
}

Reducer::Reducer(std::span<SharedArena> arenas) : arenas_(arenas) {
  size_t buckets = 0, part = 0;
  for (const SharedArena& a : arenas) {
    if (a.group->size() == 1 || a.values.empty()) continue;
    buckets += a.buckets();
    if (a.zero > 0) part = std::max(part, a.bucket(0).size() / a.group->size());
  }
  scratch_.resize(part);
  jobs_.reserve(2 * buckets);
  if (buckets > 0) thread_ = std::thread([this] { work(); });
}

Reducer::~Reducer() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    if (done_ < jobs_.size())
      for (SharedArena& a : arenas_) a.group->cancel();
  }
  thread_.join();
}

void Reducer::post(const Job& job) {
  if (job.arena->group->size() == 1) {
    if (job.reduce) ++reduced_;
    return;
  }
  const std::lock_guard lock(mutex_);
  jobs_.push_back(job);
  changed_.notify_all();
}

void Reducer::wait() {
  if (!thread_.joinable()) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ == jobs_.size() || error_; });
  if (error_) std::rethrow_exception(error_);
  jobs_.clear();
  done_ = 0;
}

void Reducer::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || done_ < jobs_.size(); });
    if (stopping_) return;
    const Job job = jobs_[done_];
    lock.unlock();
    std::exception_ptr error;
    try {
      job.reduce ? reduce_now(job) : gather_now(job);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error) {
      error_ = error;
      changed_.notify_all();
      return;
    }
    ++done_;
    changed_.notify_all();
  }
}

void Reducer::reduce_now(const Job& job) {
  SharedArena& a = *job.arena;
  const SharedArena::Range whole = a.bucket(job.bucket), part = a.part(job.bucket);
  const std::span<float> gradients = a.gradients.subspan(whole.begin, whole.size());
  if (a.zero == 0) {
    a.group->all_reduce_sum(gradients);
  } else {
    const std::span<float> sum = std::span(scratch_).first(part.size());
    a.group->reduce_scatter(gradients, sum);
    float* out = a.reduced(job.bucket);
    if (a.zero == 1) {
      std::copy(sum.begin(), sum.end(), out);
    } else {
      for (size_t i = 0; i < sum.size(); ++i) out[i] += sum[i];
      tensor::Buffer::empty(gradients.data(), gradients.size_bytes());
    }
  }
  ++reduced_;
}

void Reducer::gather_now(const Job& job) {
  SharedArena& a = *job.arena;
  const SharedArena::Range whole = a.bucket(job.bucket), part = a.part(job.bucket);
  a.group->all_gather(a.values.subspan(part.begin, part.size()), a.values.subspan(whole.begin, whole.size()));
}

}  // namespace fathom::train
