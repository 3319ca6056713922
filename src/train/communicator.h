// How ranks of one training job exchange numbers: collectives and messages among a group of ranks.
//
// `SelfComm` is a group of one; `MpiComm` (train/mpi_comm.h) speaks MPI; `ThreadComm` (train/thread_comm.h) joins threads of one process.
// All ranks of a group call the same collectives in the same order. Sums go by rank, so that they are the same bits on
// every rank and with every kind of communicator. A rank that dies ends the job: no call hangs on it for ever under MPI
// (mpirun ends the others), and under ThreadComm the others get kCancelled.
//
// Thread safety: one thread at a time for each communicator, `cancel` apart; different communicators of one rank, made by `split` or
// `duplicate`, may be used by different threads at once. Memory is host memory and the caller's.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::train {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual size_t rank() const = 0;
  virtual size_t size() const = 0;

  virtual void barrier() = 0;
  virtual void all_reduce_sum(std::span<float> values) = 0;
  virtual void all_reduce_sum(std::span<double> values) = 0;
  virtual void all_reduce_max(std::span<float> values) = 0;
  /// out = this rank's part of the sum of all `in`. REQUIRES: in.size() == size() * out.size(); they do not overlap.
  virtual void reduce_scatter(std::span<const float> in, std::span<float> out) = 0;
  /// out = every rank's `in`, by rank. REQUIRES: out.size() == size() * in.size(); `in` may be this rank's place in `out`.
  virtual void all_gather(std::span<const float> in, std::span<float> out) = 0;
  /// send_counts[r] floats go to rank r, recv_counts[r] come from it; both lie by rank without gaps.
  virtual void all_to_all(std::span<const float> send, std::span<const size_t> send_counts,
                          std::span<float> recv, std::span<const size_t> recv_counts) = 0;
  virtual void broadcast(std::span<std::byte> bytes, size_t root) = 0;
  /// Every rank's bytes, by rank, on all ranks; sizes may differ.
  virtual std::vector<std::string> gather_bytes(std::string_view bytes) = 0;

  /// Returns once `values` has been copied: never waits for the receiver.
  virtual void send(std::span<const float> values, size_t to, int tag) = 0;
  /// Messages between two ranks with one tag arrive in the order in which they were sent.
  virtual void receive(std::span<float> values, size_t from, int tag) = 0;

  /// Ranks of one colour form a group, ordered by `key`; all ranks of this group call it. The new group is independent.
  virtual std::unique_ptr<Communicator> split(size_t colour, size_t key) = 0;
  std::unique_ptr<Communicator> duplicate() { return split(0, rank()); }

  /// Gives up: a call that another thread of this rank waits in, and all later ones, throw kCancelled; under ThreadComm so
  /// do those of the other ranks, on all communicators of the job. From any thread.
  virtual void cancel() = 0;
};

/// A group of one.
std::unique_ptr<Communicator> make_self_comm();

}  // namespace fathom::train
