// From a compiled network of tasks to the answers of a ScheduleResult; shared by plan_schedule and track.
#pragma once

#include "base/thread_pool.h"
#include "cluster/schedule.h"
#include "cluster/schedule_network.h"

namespace fathom::cluster {

/// All answers for one network. The same for any number of threads.
ScheduleResult study_schedule(const ScheduleSpec& spec, const TaskNetwork& network, ThreadPool& pool);

/// The date from which something is ready that ends `days` after the start.
std::chrono::sys_days day_after(std::chrono::sys_days start, double days);

}  // namespace fathom::cluster
