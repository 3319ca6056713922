#include "tensor/device_ops.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fathom::tensor {

DeviceBuffer::DeviceBuffer(Device device, void* data, size_t bytes, Release release)
    : device_(device), data_(data), bytes_(bytes), release_(release) {}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) release_(data_, bytes_);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : device_(other.device_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      release_(other.release_) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(release_, other.release_);
  return *this;
}

SoftmaxPart merge(const SoftmaxPart& a, const SoftmaxPart& b) {
  const float max = std::max(a.max, b.max);
  return {.max = max,
          .sum = a.sum * std::exp(a.max - max) + b.sum * std::exp(b.max - max),
          .target = a.target + b.target};
}

}  // namespace fathom::tensor
