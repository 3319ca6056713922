#include "train/pass.h"

namespace fathom::train {

StreamRows::StreamRows(Communicator& group, const Shape& shape)
    : group_(&group), rows_(shape.rows), floats_(shape.rows * shape.d_model) {}

void StreamRows::gather(float* all) const {
  if (group_->size() == 1) return;
  group_->all_gather({own(all), floats_}, {all, floats_ * group_->size()});
}

void StreamRows::gather(float* all, size_t width) const {
  if (group_->size() == 1) return;
  const size_t floats = rows_ * width;
  group_->all_gather({all + group_->rank() * floats, floats}, {all, floats * group_->size()});
}

void StreamRows::scatter_sum(const float* all, float* out) const {
  if (group_->size() == 1) return;
  group_->reduce_scatter({all, floats_ * group_->size()}, {out, floats_});
}

void StreamRows::sum(std::span<float> values) const {
  if (group_->size() > 1) group_->all_reduce_sum(values);
}

SharedGradients::SharedGradients(const Parameters& parameters, const Shape& shape, tensor::DeviceOps& ops)
    : parameters_(parameters), ops_(ops) {
  size_t floats = 0;
  for (const Parameter& p : parameters.all())
    if (shape.split && p.tensor_shared) floats += aligned(p.elements());
  if (floats != 0) memory_ = ops.allocate(floats);
}

float* SharedGradients::target(const Parameter& p, size_t section) {
  float* gradient = parameters_.gradient(p);
  if (gradient == nullptr || memory_.size() == 0 || !p.tensor_shared) return gradient;
  if (sections_.size() <= section) sections_.resize(section + 1);
  Section& s = sections_[section];
  float* part = memory_.floats() + used_;
  used_ += aligned(p.elements());
  FATHOM_CHECK(used_ <= memory_.size());
  if (s.begin == nullptr) s.begin = part;
  FATHOM_CHECK(part == s.begin + s.size);  // a section's are asked for together
  s.size += aligned(p.elements());
  s.entries.push_back({part, gradient, p.elements()});
  return part;
}

void SharedGradients::finish(size_t section, const StreamRows& rows) {
  if (section >= sections_.size() || sections_[section].size == 0) return;
  const Section& s = sections_[section];
  rows.sum({s.begin, s.size});
  for (const Entry& e : s.entries) ops_.add(e.part, e.gradient, e.size);
  ops_.fill(s.begin, 0, s.size);
}

void to_device(tensor::DeviceOps& ops, std::span<const int32_t> host, float* device) {
  ops.to_device({reinterpret_cast<const float*>(host.data()), host.size()}, device);
}

void to_host(tensor::DeviceOps& ops, const float* device, std::span<int32_t> host) {
  ops.to_host(device, {reinterpret_cast<float*>(host.data()), host.size()});
}

}  // namespace fathom::train
