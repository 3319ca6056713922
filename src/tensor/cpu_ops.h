// The operations of training on the processor: tensor/device_ops.h on the threads of a pool, by the kernels of
// tensor/gemm.h and tensor/grad.
#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "tensor/device_ops.h"

namespace fathom::tensor {

/// The pool is the caller's and outlives the table.
std::unique_ptr<DeviceOps> make_cpu_ops(ThreadPool& pool);

}  // namespace fathom::tensor
