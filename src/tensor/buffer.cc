#include "tensor/buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "base/error.h"

namespace fathom::tensor {

Buffer::Buffer(size_t bytes, bool huge) : bytes_(bytes) {
  if (bytes == 0) return;
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("cannot reserve {} MiB of memory; use a smaller context or model", bytes >> 20));
  data_ = static_cast<std::byte*>(memory);
  if (huge) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint; small pages do as well
}

Buffer::~Buffer() {
  if (data_ != nullptr) free(data_, bytes_);
}

void Buffer::free(void* data, size_t bytes) { munmap(data, bytes); }

void Buffer::empty(void* data, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first >= last || madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED) != 0) {
    std::memset(data, 0, bytes);
    return;
  }
  std::memset(data, 0, first - begin);
  std::memset(reinterpret_cast<void*>(last), 0, end - last);
}

}  // namespace fathom::tensor
