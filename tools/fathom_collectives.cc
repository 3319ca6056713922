// fathom_collectives: how long collectives between processes take, for `fathom calibrate`, which starts it under mpirun.
//
// Prints "KIND RANKS BYTES SECONDS" lines (cluster/calibrate.h reads them), from rank 0: of each size the median over passes
// of the slowest rank. Built only where MPI is there.
#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <vector>

namespace {

constexpr size_t kSmallest = size_t{1} << 10;
constexpr size_t kLargest = size_t{16} << 20;
constexpr double kSecondsEach = 0.08;
constexpr int kFewest = 5, kMost = 200;

/// Median over passes of the slowest rank's seconds.
template <class Collective>
double measure(Collective collective) {
  collective();  // connections, pages
  std::vector<double> passes;
  double spent = 0;
  for (int pass = 0; pass < kMost; ++pass) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    collective();
    const double own = MPI_Wtime() - start;
    double slowest = 0;
    MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    passes.push_back(slowest);
    spent += slowest;
    if (pass + 1 >= kFewest && spent > kSecondsEach) break;  // the same on all ranks
  }
  std::nth_element(passes.begin(), passes.begin() + static_cast<std::ptrdiff_t>(passes.size() / 2),
                   passes.end());
  return passes[passes.size() / 2];
}

void tell(const char* kind, int rank, int ranks, size_t bytes, double seconds) {
  if (rank == 0) std::printf("%s %d %zu %.9g\n", kind, ranks, bytes, seconds);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const auto count = static_cast<size_t>(ranks);
  std::vector<float> from(kLargest / sizeof(float) + count, 1.0f), to(from.size());
  for (size_t bytes = kSmallest; bytes <= kLargest; bytes *= 4) {
    const size_t each = std::max<size_t>(1, bytes / sizeof(float) / count);  // of a rank
    const size_t all = each * count;
    const size_t total = all * sizeof(float);
    tell("all_reduce", rank, ranks, total, measure([&] {
           MPI_Allreduce(from.data(), to.data(), static_cast<int>(all), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
         }));
    tell("all_gather", rank, ranks, total, measure([&] {
           MPI_Allgather(from.data(), static_cast<int>(each), MPI_FLOAT, to.data(), static_cast<int>(each),
                         MPI_FLOAT, MPI_COMM_WORLD);
         }));
    tell("all_to_all", rank, ranks, total, measure([&] {
           MPI_Alltoall(from.data(), static_cast<int>(each), MPI_FLOAT, to.data(), static_cast<int>(each),
                        MPI_FLOAT, MPI_COMM_WORLD);
         }));
  }
  MPI_Finalize();
  return 0;
}
