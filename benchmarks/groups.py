"""The groups of the benchmark by name: how to measure each, and about how long this takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch

from incorruptible.statistics import Interval

from . import means
from .memory import memory
from .passes import MEASURED, measuring, simulated
from .rows import PROCESSOR, WALL, Row
from .starting import start_up
from .timing import Times, Work, interleaved, rows_of
from .training import TRAINED, training

__all__ = ["GROUPS", "Found", "Group", "Settings"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """`pairs` is the number of rounds for each ratio; `few` is the number for slow variants, and for all with two threads."""

    pairs: int = 100
    few: int = 100
    walls: bool = True
    quick: bool = False


@dataclass(frozen=True)
class Found:
    """The rows, the variants that could not run, and the times behind the rows: seconds by round, for each variant and clock."""

    rows: list[Row]
    absent: list[str] = field(default_factory=list)
    times: dict[str, dict[str, str]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class Group(Protocol):
    """A group to measure. A group that stands `aside` is measured only if the command line names it."""

    @property
    def what(self) -> str: ...
    @property
    def aside(self) -> bool: ...

    def seconds(self, settings: Settings) -> float:
        """About how long the group takes."""
        ...

    def run(self, settings: Settings, progress: Progress) -> Found:
        """Measure the group."""
        ...


@dataclass(frozen=True)
class Ratios:
    """Variants of one piece of work, in turns: processor time on one thread, then, if asked for, wall time on two."""

    what: str
    make: Callable[[], Work]
    aside: bool = False

    def seconds(self, settings: Settings) -> float:
        with threads(1):
            one = self.make().seconds(settings.pairs, settings.few)
        walls = settings.few / settings.pairs * 0.6 if settings.walls else 0.0
        return one * (1 + walls)

    def run(self, settings: Settings, progress: Progress) -> Found:
        work, pairs = self.make(), settings.pairs
        alone = [one for one in work.variants if not one.parallel]
        with threads(1):
            times = interleaved(alone, pairs, settings.few, progress=progress)
        rows, raw = rows_of(work, times), {f"{PROCESSOR}, 1 thread": told(times, pairs)}
        if settings.walls:
            pairs = min(pairs, settings.few)
            chosen = [one for one in work.variants if one.parallel or not one.slow or one.name == "control"]
            with threads(2):
                times = interleaved(chosen, pairs, pairs, clock=WALL, progress=progress)
            rows += rows_of(work, times, WALL, 2)
            raw[f"{WALL}, 2 threads"] = told(times, pairs)
        return Found(rows, list(work.absent), raw, {**work.facts, "unit": work.unit})


class threads:
    """torch uses `count` threads in this block."""

    def __init__(self, count: int) -> None:
        self.count, self.before = count, torch.get_num_threads()

    def __enter__(self) -> None:
        torch.set_num_threads(self.count)

    def __exit__(self, *rest: object) -> None:
        torch.set_num_threads(self.before)


def told(times: Sequence[Times], pairs: int) -> dict[str, str]:
    """The seconds of each variant as one text, with a number for each round, or - if the variant took no part in the round."""
    return {
        one.variant.name: " ".join(f"{one.seconds[r]:.6g}" if r in one.seconds else "-" for r in range(pairs))
        for one in times
    }


@dataclass(frozen=True)
class Memory:
    """Peak memory of a step, counted."""

    what: str = "peak memory of a step above plain SGD's, counted"
    aside: bool = False

    def seconds(self, settings: Settings) -> float:
        return 8 * 6.0 * (1 if settings.quick else 2)

    def run(self, settings: Settings, progress: Progress) -> Found:
        return Found(*memory(("mlp",) if settings.quick else ("mlp", "resnet20")))


@dataclass(frozen=True)
class StartUp:
    """The start of the command line, timed by commands that do next to nothing."""

    what: str = "how long the command line takes to answer"
    aside: bool = False

    def seconds(self, settings: Settings) -> float:
        return 0.6 * (settings.few + 1)

    def run(self, settings: Settings, progress: Progress) -> Found:
        return Found(start_up(settings.few))


@dataclass(frozen=True)
class Means:
    """The time to know the mean over chips to a half-width, with few images on each chip and with whole test sets."""

    what: str
    workload: str
    minutes: float
    aside: bool = False

    def seconds(self, settings: Settings) -> float:
        return 60 * self.minutes

    def run(self, settings: Settings, progress: Progress) -> Found:
        with threads(1):
            rows = [mean_row(one) for one in means.rows(only=(self.workload,))]
        return Found(rows, [] if rows else [f"{self.workload}: its data are not there; CIFAR10=FOLDER names one"])


def mean_row(one: dict[str, Any]) -> Row:
    """The row for one network at one strength, from a row of benchmarks/means.py."""
    ratio = Interval(*(math.nan if one[name] is None else float(one[name]) for name in ("low", "ratio", "high")))
    what = (
        f"n v_chip / v_interaction {one['condition']:.3g}: {_span(one['design'])} images on each of {_span(one['chips'])} chips, "
        f"against {one['fixed_chips']} whole ones"
    )
    name = f"{one['workload']} at {one['strength']:g}"
    unit = "times the fixed design's processor time"
    return Row("means", name, what, unit, *ratio, len(one.get("spent_s", "1")), facts=one)


def _span(values: int | Sequence[int]) -> str:
    """One number as text, or the smallest and the largest of several."""
    found = [values] if isinstance(values, int) else list(values)
    return f"{found[0]}" if len(set(found)) == 1 else f"{min(found)} to {max(found)}"


HALF_WIDTH = "time to a half-width of the mean over chips, against whole test sets"
GROUPS: dict[str, Group] = {
    **{f"training-{name}": Ratios(f"training steps, {name}", partial(training, name)) for name in TRAINED},
    **{f"measuring-{name}": Ratios(f"noisy passes, {name}", partial(measuring, name)) for name in MEASURED},
    "measuring-peers": Ratios("noisy passes in the layers of others", simulated),
    "memory": Memory(),
    "means": Means(f"{HALF_WIDTH}, digits", "digits MLP", 2),
    "means-cifar10": Means(f"{HALF_WIDTH}, CIFAR-10 on ResNet-8", "CIFAR-10 ResNet-8", 12, aside=True),
    "start-up": StartUp(),
}
