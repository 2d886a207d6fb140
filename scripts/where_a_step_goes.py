"""Where the time of an RWP step on a small network goes, operation by operation.

    OMP_NUM_THREADS=1 python scripts/where_a_step_goes.py

Each operation that writes perturbed weights from a bank of noise is timed twice: within steps of
SGD, and in a loop of its own, where everything that the operation needs is in the cache. The table
shows microseconds of one step, summed over the three arrays of the network: medians of 300 steps.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

import incorruptible as inc
from incorruptible.randomness.bank import bank_for
from incorruptible.randomness.streams import key
from incorruptible.tasks.networks import mlp

STEPS = 300


def operations(
    weight: torch.Tensor, out: torch.Tensor, bank: torch.Tensor
) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """The operations on one array, in order. Each may use the results of those before it."""
    rows = 16 if weight.shape[0] % 16 == 0 else weight.shape[0]
    shape = (weight.shape[0] // rows, rows, weight.shape[1])
    return {
        "amax (a pass)": lambda found: weight.amax(1, True),
        "amin (a pass)": lambda found: weight.amin(1, True),
        "peak": lambda found: (
            torch.maximum(found["amax (a pass)"], found["amin (a pass)"].neg_()).abs_() * 0.05
        ),
        "name": lambda found: key(0, "train", 3, "fc.weight", ""),
        "window": lambda found: bank.as_strided(shape, (7, shape[2], 1), found["name"] % 1000),
        "views": lambda found: (
            weight.view(shape),
            out.view(shape),
            found["peak"].view(*shape[:2], 1),
        ),
        "signs": lambda found: found["views"][2] * bank[: shape[0]].sign().view(-1, 1, 1),
        "addcmul (a pass)": lambda found: torch.addcmul(
            found["views"][0], found["window"], found["signs"], out=found["views"][1]
        ),
    }


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = mlp(784, 512, 512, 10)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=5e-4)
    x, y = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    weights = [array.value for array in inc.select(model)]
    bank = bank_for([tuple(one.shape) for one in weights], 0).on(weights[0].device)[0]
    each = [operations(weight, torch.empty_like(weight), bank) for weight in weights]
    within: dict[str, list[float]] = defaultdict(list)
    alone: dict[str, float] = defaultdict(float)
    steps = []
    for _ in range(STEPS):
        spent: dict[str, float] = defaultdict(float)
        for some in each:
            found: dict[str, Any] = {}
            for name, run in some.items():
                began = time.perf_counter()
                found[name] = run(found)
                spent[name] += time.perf_counter() - began
        for name, seconds in spent.items():
            within[name].append(seconds)
        began = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps.append(time.perf_counter() - began)
    for some in each:
        found = {}
        for name, run in some.items():
            found[name] = run(found)
            alone[name] += timed(partial(run, found), STEPS)
    print(f"{'':34} {'in a step':>10} {'alone':>10}")
    for name in each[0]:
        print(f"{name:34} {1e6 * median(within[name]):10.1f} {alone[name]:10.1f}")
    print(f"{'a plain SGD step':34} {1e6 * median(steps):10.1f}")
    images = torch.randn(700, 1, 28, 28)
    with torch.inference_mode():
        print(
            f"{'a clean pass of 700 images':34} {'':10} "
            f"{timed(lambda: model(images).argmax(1), STEPS // 10):10.1f}"
        )
    drawn = timed(lambda: [torch.randn(weight.shape) for weight in weights], STEPS // 10)
    print(f"{'exact noise for all weights':34} {'':10} {drawn:10.1f}")


def timed(run: Callable[[], Any], often: int) -> float:
    """The median time of an operation in microseconds."""
    times = []
    for _ in range(often):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e6 * median(times)


if __name__ == "__main__":
    main()
