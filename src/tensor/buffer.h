// Large zeroed memory, aligned to 64 bytes, of which only the pages that are touched count.
// Owned by value; not thread-safe beyond what its bytes are used for.
#pragma once

#include <cstddef>
#include <utility>

namespace fathom::tensor {

class Buffer {
 public:
  Buffer() = default;
  /// Errors: kResourceExhausted, with the size, when the system has no such address space left.
  /// `huge` asks for huge pages: for what is read from end to end, not for what is filled bit by bit.
  explicit Buffer(size_t bytes, bool huge = false);
  ~Buffer();
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// Gives the memory up to an owner of another kind, who ends it with `free`.
  void* release() {
    bytes_ = 0;
    return std::exchange(data_, nullptr);
  }
  static void free(void* data, size_t bytes);
  /// Zeroes part of such memory; its whole pages go back to the system until they are touched again.
  static void empty(void* data, size_t bytes);

  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace fathom::tensor
