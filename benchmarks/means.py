"""The processor time to know the mean over chips to a half-width: by `measure_mean`, and by whole chips."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special, stats
from torch import nn

import incorruptible as inc
from incorruptible import tasks
from incorruptible.errors import UserError, unknown
from incorruptible.statistics import components
from incorruptible.tasks.data import batches

__all__ = ["check_names", "each_row", "rows", "twins"]

HALF, DRAWS = 0.0025, 40
CIFAR = Path(os.environ.get("CIFAR10") or Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10")


class Workload(NamedTuple):
    """A network, its test data, and strengths of gaussian-filter-max. At each strength `seeds` calls are timed."""

    model: nn.Module
    test: Any
    strengths: Sequence[float]
    seeds: int


def digits(strengths: Sequence[float] = (0.1, 0.2, 0.3, 0.5), seeds: int = 5) -> Workload:
    """The MLP of 25,856 weights on 997 images, trained for 40 epochs without noise."""
    task = tasks.load("digits")
    return Workload(_trained(task, lr=0.1, batch=50, steps=400), task.test, strengths, seeds)


def cifar(strengths: Sequence[float] = (0.02, 0.05), seeds: int = 3) -> Workload:
    """ResNet-8 of 74,800 weights on the 10,000 test images of CIFAR-10, trained for 200 steps of 128 images without noise."""
    task = tasks.load(f"images(parquet:{CIFAR}):network=resnet8")
    return Workload(_trained(task, lr=0.1, batch=128, steps=200), task.test, strengths, seeds)


WORKLOADS: dict[str, Callable[..., Workload]] = {"digits MLP": digits, "CIFAR-10 ResNet-8": cifar}


def _trained(task: tasks.Task, lr: float, batch: int, steps: int, noise: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    robust = inc.Hardener(model, inc.RWP(inc.Gaussian("filter-max")), inc.Constant(noise), steps=steps, seed=0)
    done = 0
    while done < steps:
        for x, y in batches(task.train, batch, order=(0, "epoch", done)):
            optimizer.param_groups[0]["lr"] = lr * (1 - done / steps)
            optimizer.zero_grad()
            robust.backward(lambda x=x, y=y: F.cross_entropy(model(x), y))  # type: ignore[misc]
            optimizer.step()
            done += 1
            if done == steps:
                break
    return model.eval()


def fixed(sd: float, half: float = HALF) -> int:
    """The fixed number of whole chips that suffices: the smallest N with t_{N - 1} sd / sqrt(N) <= half."""
    chips = np.arange(2, 100_000)
    return int(chips[np.argmax(special.stdtrit(chips - 1, 0.975) * sd / np.sqrt(chips) <= half)])


def check_names(only: Sequence[str]) -> None:
    """Raises `UserError` for an unknown workload, or one whose data are not on this machine."""
    for name in only:
        if name not in WORKLOADS:
            raise unknown("workload", name, WORKLOADS)
        if WORKLOADS[name] is cifar and not (CIFAR / "train.parquet").is_file():
            raise UserError(
                f"{name} needs train.parquet and test.parquet in {CIFAR}; set CIFAR10 to the folder that holds them."
            )


def each_row(only: Sequence[str] = (), **options: Any) -> Iterator[dict[str, Any]]:
    """One row for each workload and strength, as soon as it is measured. CIFAR-10 is left out if its data are not there.

    `ratio` is the processor time of `measure_mean`, with its clean pass and first look, over `fixed_chips` times the time of a
    whole chip. `fixed_chips` comes from a variance that 40 whole chips give; `low` and `high` are the ratios at the ends of the
    95% interval (chi-square) of this variance. All are means of `seeds` calls.
    """
    for name, make in WORKLOADS.items():
        if (only and name not in only) or (make is cifar and not (CIFAR / "train.parquet").is_file()):
            continue
        work = make(**options)
        for strength in work.strengths:
            yield {"workload": name, "strength": strength, **_row(work, strength)}


def _row(work: Workload, strength: float) -> dict[str, Any]:
    asked = work.model, inc.accuracy, work.test, inc.Gaussian("filter-max"), [strength]
    inc.measure(*asked, chips=1, seed=0)
    start = time.process_time()
    whole = inc.measure(*asked, chips=DRAWS, seed=12345, keep_examples=True)
    draw = (time.process_time() - start) / DRAWS
    assert whole.examples is not None
    parts, n = components(whole.examples[0]), whole.n_examples
    sd = float(whole.spread()[0])
    spent, found = [], []
    for seed in range(work.seeds):
        start = time.process_time()
        found.append(inc.measure_mean(*asked, half_width=HALF, seed=seed).averages[0])
        spent.append(time.process_time() - start)
    ends = np.sqrt((DRAWS - 1) / stats.chi2.ppf([0.025, 0.975], DRAWS - 1))
    least, chips, most = (fixed(sd * end) for end in (ends[1], 1.0, ends[0]))
    taken = float(np.mean(spent)) / draw
    return {
        "n": n,
        "v_chip": parts.chip,
        "v_interaction": parts.interaction,
        "condition": n * parts.chip / parts.interaction,
        "design": [one.images for one in found],
        "beta": [round(one.beta, 3) for one in found],
        "chips": [one.chips for one in found],
        "whole": [one.whole for one in found],
        "paired": [one.paired for one in found],
        "means": [one.interval.estimate for one in found],
        "whole_mean": float(whole.mean()[0]),
        "sd": sd,
        "fixed_chips": chips,
        "draw_s": draw,
        "spent_s": spent,
        "ratio": taken / chips,
        "low": taken / most,
        "high": taken / least,
    }


def twins(strengths: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5), pairs: int = 100) -> Iterator[dict[str, Any]]:
    """The correlation of the accuracies of mirrored whole chips, for the MLP on digits, trained without and with noise.

    The variance of the mean of a pair is 1 + `correlation` times that of two independent chips. Its standard error is about .1.
    """
    task = tasks.load("digits")
    for noise in (0.0, 0.2):
        model = _trained(task, lr=0.1, batch=50, steps=400, noise=noise)
        chips = inc.Sampling(inc.Gaussian("filter-max"), strengths, 2 * pairs, 0, pairs=True)
        found = inc.measure_all(model, {"": inc.accuracy}, task.test, chips)[""]
        for strength, values in zip(strengths, found.values, strict=True):
            together = float(np.corrcoef(values[::2], values[1::2])[0, 1])
            yield {"trained_at": noise, "strength": strength, "pairs": pairs, "correlation": together}


def rows(only: Sequence[str] = (), **options: Any) -> list[dict[str, Any]]:
    """Every row of `each_row`."""
    return list(each_row(only, **options))
