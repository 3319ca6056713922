#include "train/mpi_comm.h"

#include <cstdlib>

#include "base/error.h"

#ifdef FATHOM_MPI

#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <exception>
#include <list>
#include <thread>

namespace fathom::train {
namespace {

constexpr int kCollectiveTag = 0;  // messages have their own tags from 1 on
/// MPI counts in int: longer transfers are cut up.
constexpr size_t kMaxCount = size_t{1} << 28;
/// Floats of a part that are summed at once: what others sent is kept in as many of each rank.
constexpr size_t kPiece = size_t{1} << 15;

template <class T>
MPI_Datatype type_of();
template <>
MPI_Datatype type_of<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype type_of<double>() {
  return MPI_DOUBLE;
}
template <>
MPI_Datatype type_of<std::byte>() {
  return MPI_BYTE;
}

/// Transfers under way.
class Requests {
 public:
  explicit Requests(MPI_Comm comm) : comm_(comm) {}

  template <class T>
  void send(const T* data, size_t n, size_t to, int tag) {
    for (size_t at = 0; at < n; at += kMaxCount)
      MPI_Isend(data + at, count(n - at), type_of<T>(), static_cast<int>(to), tag, comm_, add());
  }
  template <class T>
  void receive(T* data, size_t n, size_t from, int tag) {
    for (size_t at = 0; at < n; at += kMaxCount)
      MPI_Irecv(data + at, count(n - at), type_of<T>(), static_cast<int>(from), tag, comm_, add());
  }
  MPI_Request* add() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

  bool done() {
    int all = 0;
    MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &all, MPI_STATUSES_IGNORE);
    if (all != 0) requests_.clear();
    return all != 0;
  }
  /// Errors: kCancelled.
  void wait(const std::atomic<bool>& cancelled) {
    using namespace std::chrono_literals;
    constexpr size_t kPolls = 64;
    for (size_t polls = 0; !done(); ++polls) {
      if (cancelled) give_up();
      if (polls < kPolls)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(20us);
    }
  }

 private:
  static int count(size_t left) { return static_cast<int>(std::min(left, kMaxCount)); }

  [[noreturn]] void give_up() {
    for (MPI_Request& request : requests_)
      if (request != MPI_REQUEST_NULL) {
        MPI_Cancel(&request);
        MPI_Request_free(&request);
      }
    requests_.clear();
    throw Error(ErrorCode::kCancelled, "this rank gave up waiting for the others");
  }

  MPI_Comm comm_;
  std::vector<MPI_Request> requests_;
};

class MpiComm final : public Communicator {
 public:
  explicit MpiComm(MPI_Comm comm) : comm_(comm), requests_(comm) {
    int value = 0;
    MPI_Comm_rank(comm, &value);
    rank_ = static_cast<size_t>(value);
    MPI_Comm_size(comm, &value);
    size_ = static_cast<size_t>(value);
  }
  ~MpiComm() override {
    if (cancelled_ || std::uncaught_exceptions() > 0) return;  // nobody may be there to receive or to free
    for (Sent& sent : sent_) sent.requests.wait(cancelled_);
    MPI_Comm_free(&comm_);
  }

  size_t rank() const override { return rank_; }
  size_t size() const override { return size_; }

  void barrier() override {
    MPI_Ibarrier(comm_, requests_.add());
    wait();
  }
  void all_reduce_sum(std::span<float> values) override {
    all_reduce(values, [](float a, float b) { return a + b; });
  }
  void all_reduce_sum(std::span<double> values) override {
    all_reduce(values, [](double a, double b) { return a + b; });
  }
  void all_reduce_max(std::span<float> values) override {
    all_reduce(values, [](float a, float b) { return std::max(a, b); });
  }

  void reduce_scatter(std::span<const float> in, std::span<float> out) override {
    FATHOM_CHECK(in.size() == out.size() * size_);
    combine(in.data(), in.size(), out.data(), [](float a, float b) { return a + b; });
  }

  void all_gather(std::span<const float> in, std::span<float> out) override {
    FATHOM_CHECK(out.size() == in.size() * size_);
    float* mine = out.data() + rank_ * in.size();
    if (mine != in.data()) std::copy(in.begin(), in.end(), mine);
    exchange(out.data(), out.size());
  }

  void all_to_all(std::span<const float> send, std::span<const size_t> send_counts, std::span<float> recv,
                  std::span<const size_t> recv_counts) override {
    FATHOM_CHECK(send_counts.size() == size_ && recv_counts.size() == size_);
    const float* from = send.data();
    float* to = recv.data();
    for (size_t r = 0; r < size_; ++r) {
      if (r == rank_)
        std::copy_n(own_part(send, send_counts), recv_counts[r], to);
      else
        requests_.receive(to, recv_counts[r], r, kCollectiveTag);
      to += recv_counts[r];
    }
    for (size_t r = 0; r < size_; ++r) {
      if (r != rank_) requests_.send(from, send_counts[r], r, kCollectiveTag);
      from += send_counts[r];
    }
    wait();
  }

  void broadcast(std::span<std::byte> bytes, size_t root) override {
    for (size_t at = 0; at < bytes.size(); at += kMaxCount)
      MPI_Ibcast(bytes.data() + at, static_cast<int>(std::min(bytes.size() - at, kMaxCount)), MPI_BYTE,
                 static_cast<int>(root), comm_, requests_.add());
    wait();
  }

  std::vector<std::string> gather_bytes(std::string_view bytes) override {
    std::vector<uint64_t> sizes(size_);
    const uint64_t mine = bytes.size();
    sizes[rank_] = mine;  // by messages: MPI cannot cancel a collective, and `cancel` must end this
    for (size_t r = 0; r < size_; ++r)
      if (r != rank_)
        requests_.receive(reinterpret_cast<std::byte*>(&sizes[r]), sizeof(mine), r, kCollectiveTag);
    for (size_t r = 0; r < size_; ++r)
      if (r != rank_)
        requests_.send(reinterpret_cast<const std::byte*>(&mine), sizeof(mine), r, kCollectiveTag);
    wait();
    std::vector<std::string> all(size_);
    for (size_t r = 0; r < size_; ++r) {
      all[r].resize(sizes[r]);
      if (r == rank_)
        all[r] = bytes;
      else
        requests_.receive(reinterpret_cast<std::byte*>(all[r].data()), sizes[r], r, kCollectiveTag);
    }
    for (size_t r = 0; r < size_; ++r)
      if (r != rank_)
        requests_.send(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size(), r, kCollectiveTag);
    wait();
    return all;
  }

  void send(std::span<const float> values, size_t to, int tag) override {
    std::erase_if(sent_, [](Sent& sent) { return sent.requests.done(); });
    Sent& sent = sent_.emplace_back(Sent{{values.begin(), values.end()}, Requests(comm_)});
    sent.requests.send(sent.values.data(), sent.values.size(), to, tag + 1);
  }
  void receive(std::span<float> values, size_t from, int tag) override {
    requests_.receive(values.data(), values.size(), from, tag + 1);
    wait();
  }

  std::unique_ptr<Communicator> split(size_t colour, size_t key) override {
    FATHOM_CHECK(colour <= INT_MAX && key <= INT_MAX);
    MPI_Comm group = MPI_COMM_NULL;
    MPI_Comm_split(comm_, static_cast<int>(colour), static_cast<int>(key), &group);
    return std::make_unique<MpiComm>(group);
  }

  void cancel() override { cancelled_ = true; }

 private:
  struct Sent {
    std::vector<float> values;
    Requests requests;
  };

  void wait() { requests_.wait(cancelled_); }

  /// Where the part of n numbers that rank r answers for begins; they differ by one at most.
  size_t begin_of(size_t n, size_t r) const { return n * r / size_; }
  size_t length_of(size_t n, size_t r) const { return begin_of(n, r + 1) - begin_of(n, r); }

  const float* own_part(std::span<const float> send, std::span<const size_t> counts) const {
    size_t before = 0;
    for (size_t r = 0; r < rank_; ++r) before += counts[r];
    return send.data() + before;
  }

  /// out = this rank's part of all ranks' `in`, combined by rank. `out` may be that part of `in`.
  template <class T, class Combine>
  void combine(const T* in, size_t n, T* out, Combine&& add) {
    const size_t mine = length_of(n, rank_), longest = n / size_ + (n % size_ != 0 ? 1 : 0);
    received_.resize(std::max(received_.size(), size_ * kPiece * sizeof(T)));
    const auto buffer = [&](size_t r) { return reinterpret_cast<T*>(received_.data()) + r * kPiece; };
    for (size_t at = 0; at < longest; at += kPiece) {
      const auto piece = [&](size_t r) {
        const size_t length = length_of(n, r);
        return length <= at ? 0 : std::min(kPiece, length - at);
      };
      for (size_t r = 0; r < size_; ++r)
        if (r != rank_) requests_.receive(buffer(r), piece(rank_), r, kCollectiveTag);
      for (size_t r = 0; r < size_; ++r)
        if (r != rank_) requests_.send(in + begin_of(n, r) + at, piece(r), r, kCollectiveTag);
      if (at < mine) std::copy_n(in + begin_of(n, rank_) + at, piece(rank_), buffer(rank_));
      wait();
      for (size_t i = 0; i < piece(rank_); ++i) {
        T total = buffer(0)[i];
        for (size_t r = 1; r < size_; ++r) total = add(total, buffer(r)[i]);
        out[at + i] = total;
      }
    }
  }

  /// Every rank has its part of `values`; then all have all.
  template <class T>
  void exchange(T* values, size_t n) {
    for (size_t r = 0; r < size_; ++r)
      if (r != rank_) requests_.receive(values + begin_of(n, r), length_of(n, r), r, kCollectiveTag);
    for (size_t r = 0; r < size_; ++r)
      if (r != rank_) requests_.send(values + begin_of(n, rank_), length_of(n, rank_), r, kCollectiveTag);
    wait();
  }

  template <class T, class Combine>
  void all_reduce(std::span<T> values, Combine&& add) {
    combine(values.data(), values.size(), values.data() + begin_of(values.size(), rank_), add);
    exchange(values.data(), values.size());
  }

  MPI_Comm comm_;
  size_t rank_ = 0, size_ = 1;
  Requests requests_;
  std::vector<std::byte> received_;  // a piece of each rank
  std::list<Sent> sent_;             // messages that may not have arrived
  std::atomic<bool> cancelled_{false};
};

}  // namespace

MpiSession::MpiSession() {
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);  // Open MPI: more ranks than cores get on
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided);
  if (provided < MPI_THREAD_MULTIPLE)
    throw Error(ErrorCode::kUnsupported,
                "this MPI library does not allow calls from several threads at once");
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() == 0) MPI_Finalize();
}

std::unique_ptr<Communicator> MpiSession::world() {
  MPI_Comm copy = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &copy);
  return std::make_unique<MpiComm>(copy);
}

}  // namespace fathom::train

#else

namespace fathom::train {

MpiSession::MpiSession() {
  throw Error(ErrorCode::kUnsupported,
              "this build has no MPI; use --ranks for ranks on this machine, or build with MPI");
}
MpiSession::~MpiSession() = default;
std::unique_ptr<Communicator> MpiSession::world() { return nullptr; }

}  // namespace fathom::train

#endif

namespace fathom::train {

bool MpiSession::launched() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

}  // namespace fathom::train
