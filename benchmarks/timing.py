"""Times variants of one piece of work in turns, so that other load on the machine strikes all variants alike."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .rows import PROCESSOR, WALL, Row, median

__all__ = ["CLOCKS", "Times", "Variant", "Work", "interleaved", "rows_of"]

CLOCKS: dict[str, Callable[[], float]] = {PROCESSOR: time.process_time, WALL: time.perf_counter}


@dataclass(frozen=True)
class Variant:
    """One way to do the work. A call of `run` does `each` steps, passes or chips.

    One of them takes about `cost` times as long as one of the baseline; this is for the estimate of the duration only. A `slow`
    variant takes part in few rounds. A `parallel` variant leaves its work to other processes, whose time only the wall clock sees.
    """

    name: str
    what: str
    run: Callable[[], Any]
    each: int = 1
    cost: float = 1.0
    slow: bool = False
    parallel: bool = False


@dataclass(frozen=True)
class Work:
    """Variants, compared with the first of them. `unit` says what a ratio counts; `absent` says which cannot run, and why."""

    group: str
    unit: str
    variants: Sequence[Variant]
    absent: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def seconds(self, pairs: int, few: int, clock: str = PROCESSOR) -> float:
        """About how many seconds that many rounds take, from one run of the baseline after a run to warm up."""
        first = self.variants[0]
        first.run()
        began = CLOCKS[clock]()
        first.run()
        one = (CLOCKS[clock]() - began) / first.each
        return one * sum(v.cost * v.each * ((min(few, pairs) if v.slow else pairs) + 1) for v in self.variants)


@dataclass(frozen=True)
class Times:
    """The seconds of one step, pass or chip, by the round in which it was timed. A round without the baseline has none."""

    variant: Variant
    seconds: dict[int, float] = field(default_factory=dict)


def interleaved(
    variants: Sequence[Variant],
    pairs: int,
    few: int,
    *,
    seed: int = 0,
    clock: str = PROCESSOR,
    progress: Callable[[int, int], None] | None = None,
) -> list[Times]:
    """Time each of `variants` once in each of `pairs` rounds, and slow ones in `few` rounds. `seed` shuffles the order in each round.

    Each variant runs once before the first round. Garbage is collected before each run, and not during a run. Objects that exist
    before the first run are left out of the collection, because to look through all of torch takes .1 s.
    """
    read, order, few = CLOCKS[clock], random.Random(seed), min(few, pairs)
    times = [Times(variant) for variant in variants]
    for one in times:
        one.variant.run()
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        for number in range(pairs):
            slow = (number + 1) * few // pairs > number * few // pairs  # spread evenly over the rounds
            taking_part = [one for one in times if slow or not one.variant.slow]
            order.shuffle(taking_part)
            for one in taking_part:
                gc.collect()
                began = read()
                one.variant.run()
                one.seconds[number] = (read() - began) / one.variant.each
            if progress is not None:
                progress(number + 1, pairs)
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
    return times


def rows_of(work: Work, times: Sequence[Times], clock: str = PROCESSOR, threads: int = 1) -> list[Row]:
    """The row of each variant: the median over rounds of its time over that of the baseline, which is the first variant."""
    base, *others = times
    rows = []
    for one in others:
        ratios = [seconds / base.seconds[number] for number, seconds in one.seconds.items()]
        own = float(np.median(list(one.seconds.values())))
        low, middle, high = median(ratios)
        rows.append(
            Row(
                work.group,
                one.variant.name,
                one.variant.what,
                work.unit,
                low,
                middle,
                high,
                len(ratios),
                clock,
                threads,
                own,
                {"baseline_seconds": float(np.median(list(base.seconds.values()))), "each": one.variant.each},
            )
        )
    return rows
