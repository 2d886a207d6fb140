"""Peak memory of a training step, counted: every allocation and release of torch's allocator, and what numpy holds.

    python -m benchmarks.peak NETWORK STEP [FILE]

This prints as JSON, or writes into FILE, the largest number of bytes alive at once in one step, among the bytes that were allocated
after the model was made. Each step is counted in a process of its own, so that memory that one step keeps does not
count for the next.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function

import incorruptible as inc

from .peers import look_around
from .steps import KINDS
from .workloads import NETWORKS

__all__ = ["peak_bytes", "step_peak"]

WARM_UP = 3
MARK = "what is measured"


def peak_bytes(prepare: Callable[[], Any], run: Callable[[], Any]) -> int:
    """The largest number of bytes alive at once while `run` runs, of those that `prepare` and `run` allocate on the CPU.

    Memory that was allocated earlier does not count, neither while it is alive nor when it is released. Memory that `prepare`
    leaves alive counts. Arrays of numpy, which tensors may share, count as far as they are alive at the end.
    """
    tracemalloc.start()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
            prepare()
            with record_function(MARK):
                run()
        numpys = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        held = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([numpys]).traces)
    finally:
        tracemalloc.stop()
    events = profiler.profiler.kineto_results.events()
    began = next(event.start_ns() for event in events if event.name() == MARK)
    alive = peak = 0
    for event in sorted((one for one in events if one.name() == "[memory]"), key=lambda one: one.start_ns()):
        alive += event.nbytes()
        # The events before the mark say how much memory is alive at the mark.
        peak = alive if event.start_ns() < began else max(peak, alive)
    return int(peak) + held


def step_peak(network: str, kind: str) -> dict[str, int]:
    """The bytes at the peak of a step, after a warm-up, and the bytes of the selected weights."""
    torch.set_num_threads(1)
    one = NETWORKS[network]
    model, ((x, y),) = one().train(), one.batches(1)
    step = []

    def prepare() -> None:
        step.append(KINDS[kind].make(model))
        for _ in range(WARM_UP):
            step[0](x, y)

    peak = peak_bytes(prepare, lambda: step[0](x, y))
    return {"peak": peak, "weights": sum(array.value.numel() for array in inc.select(model)) * 4}


if __name__ == "__main__":
    look_around()
    found = json.dumps(step_peak(*sys.argv[1:3])) + "\n"
    if sys.argv[3:]:
        Path(sys.argv[3]).write_text(found, encoding="utf-8")
    else:
        sys.stdout.write(found)
