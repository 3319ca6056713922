#!/usr/bin/env python3
"""The figures that schedule_test.cc expects of its small project, computed with numpy alone.

    python3 tests/cluster/record_schedule.py

No part of it is shared with the program: PERT durations are numpy's beta variates, the network is written out by hand.
"""
import numpy as np

N = 8_000_000
rng = np.random.default_rng(20240501)


def pert(low, likely, high, n=N):
    if high == low:
        return np.full(n, float(low))
    mode = (likely - low) / (high - low)
    return low + (high - low) * rng.beta(1 + 4 * mode, 5 - 4 * mode, n)


def show(name, x, target=None):
    q = np.quantile(x, [0.1, 0.5, 0.8, 0.9])
    line = f"{name}: mean {x.mean():.3f} sd {x.std():.3f} p10 {q[0]:.2f} p50 {q[1]:.2f} p80 {q[2]:.2f} p90 {q[3]:.2f}"
    if target is not None:
        line += f" P(<= {target}) {np.mean(x <= target):.5f}"
    print(line)


# One task.
show("one", pert(10, 20, 60), 25)
# Two parallel tasks: the product of their distribution functions.
a, b = pert(10, 20, 60), pert(15, 25, 40)
print("parallel", np.mean(np.maximum(a, b) <= 30), np.mean(a <= 30) * np.mean(b <= 30), "a longest", np.mean(a > b))

# The project of the test.
permit = pert(60, 90, 200)
supplier = (rng.random(N) < 0.3) * pert(14, 28, 90)      # a common cause of delivery and optics
grid = permit + pert(100, 150, 300)
delivery_start = np.zeros(N)
delivery_lead = pert(60, 90, 150) + supplier
delivery_end = delivery_lead + 1000 / pert(40, 60, 80) * 7
optics = pert(120, 150, 200) + supplier
first = delivery_lead
install_start = np.maximum(first, permit)
install_end = np.maximum(install_start + 3 + 1000 / pert(50, 70, 100) * 7, delivery_end + 3)
cabling = np.maximum(install_end, optics) + pert(10, 14, 30)
burn_in = np.maximum(np.maximum(cabling, grid), 260) + pert(10, 15, 40)
show("project", burn_in, 310)
print("later by a day:", "grid", np.mean(np.maximum(np.maximum(cabling, grid + 1), 260) - np.maximum(np.maximum(cabling, grid), 260)))
print("grid holds the burn-in", np.mean((grid >= cabling) & (grid > 260)), "the date does", np.mean((cabling <= 260) & (grid <= 260)))
