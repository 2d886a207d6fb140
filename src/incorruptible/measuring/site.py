"""One network on its examples: by which chips, looking at how many of them each, the mean over chips is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import Array
from ..batchnorm import Statistics, evaluating
from ..data import Batches
from ..statistics import CHIPS, Design, Gathered, Interval, Plan, Stratum, choose, gather, plan, worth_another
from .averages import Average
from .chips import Chips
from .counting import costs_of
from .parts import read_parts
from .reading import ScoreFunction, keeping, read_chip, scored
from .subsets import drawn
from .whole import KEPT, WholeChips

__all__ = ["BATCH", "Site"]

BATCH = 1024  # images at a time
BYTES = 2**27  # of inputs that are laid out at once
SMALLEST = 8  # images of a chip that are ever chosen: of so few examples chips look at all
LEFT = 16  # chips that few images need in order to take over
PAIRED = 16  # whole chips in pairs before the first interval: begun after 6, with skewed chips, it covered .82 to .89, not .92 to .95

Table = NDArray[np.float64]


class Site:
    """One network on its data: what is common to all strengths, and the clean scores as far as they were needed."""

    def __init__(
        self,
        model: nn.Module,
        score: ScoreFunction,
        data: Iterable[Any],
        rows: Batches | None,
        total: int,
        chips: Chips,
        arrays: Sequence[Array],
        half: float,
        confidence: float,
        images: int | None,
        antithetic: bool | None,
    ) -> None:
        self.model, self.score, self.data, self.rows, self.total = model, score, data, rows, total
        self.chips, self.arrays, self.device = chips, arrays, arrays[0].value.device
        self.half, self.confidence, self.images, self.antithetic = half, confidence, images, antithetic
        self.clean = np.full(total, np.nan)
        self.statistics = Statistics(model)
        self.before = self.statistics.take()  # a recalibrated chip leaves its own

    def average(self, strength: float, why: str, told: Callable[[int], None] | None) -> Average:
        """The mean at one strength."""
        whole = WholeChips(self.model, self.score, self.data, self.chips, self.arrays, strength, told)
        if not self.chips.differ(strength):
            return Average.alike(strength, float(whole.read(0, 1, False)[0]), self.total)
        if self.rows is None or self.images == self.total:
            return self._by_whole_chips(strength, whole, None, why or "asked for")
        if self.images is None and self.total <= SMALLEST:
            return self._by_whole_chips(strength, whole, None, "few images are all there are")
        with evaluating(self.model), keeping(self.statistics):
            order = drawn(self.total, self.chips.seed, self.chips.purpose, "examples", "first look")
            first = self.rows.at(order[:64])
            costs = costs_of(self.model, self.score, first, min(64, self.total), self.chips, self.arrays, strength)
            span = self._span(order)
            asked = self.total, costs, self.half, self.confidence, span
            found = plan(partial(self._look, strength, order, whole), *asked, self.images)
            for checked in (16, 32, 64, KEPT):
                if found.design.images < self.total or self.antithetic or checked + LEFT > self.chips.draws:
                    break
                if not worth_another(found, self.total, costs):
                    break
                if self._gather_whole(whole, checked).interval.half <= self.half:
                    break
                found = choose(whole.examples(checked), self._all_clean(), *asked)
            if found.design.images < self.total:
                return self._by_parts(strength, found, whole, span, told)
        return self._by_whole_chips(strength, whole, found, "whole chips cost least")

    def _span(self, order: Tensor) -> float:
        """How far one answer can change a score: 1 where scores lie in [0, 1]; of others nothing is known beforehand."""
        seen = self._clean_at(order[:64])
        return 1.0 if seen.min() >= 0 and seen.max() <= 1 else 0.0

    def _clean_at(self, places: Tensor) -> Table:
        """The clean scores there, each computed once."""
        assert self.rows is not None
        lacking = places[np.isnan(self.clean[places.numpy()])]
        if len(lacking):
            self.statistics.put(self.before)
            some = (self.rows.at(part) for part in torch.split(lacking, BATCH))
            self.clean[lacking.numpy()] = scored(self.model, {"": self.score}, some, self.device, self.chips)[""]
        return np.asarray(self.clean[places.numpy()])

    def _all_clean(self) -> Table:
        return self._clean_at(torch.arange(self.total))

    def _look(self, strength: float, order: Tensor, whole: WholeChips, start: int, stop: int) -> tuple[Table, Table]:
        """The scores of the first look's chips [chip, image], and the clean ones [image]."""
        assert self.rows is not None
        if (start, stop) == (0, self.total):  # whole chips, which may be needed again
            return whole.examples(CHIPS), self._all_clean()
        clean = self._clean_at(order[start:stop])
        some = [self.rows.at(part) for part in torch.split(order[start:stop], BATCH)]
        seen = [
            read_parts(self.model, self.score, [part] * CHIPS, self.chips, self.arrays, strength, range(CHIPS))
            for part in some
        ]
        return np.concatenate(seen, axis=1).astype(np.float64), clean

    def _by_parts(
        self, strength: float, found: Plan, whole: WholeChips, span: float, told: Callable[[int], None] | None
    ) -> Average:
        design, within = found.design, list[float]()
        everything = self._all_clean() if design.beta else np.zeros(self.total)
        base, started = design.beta * float(everything.mean()), max(CHIPS, whole.seen)
        # those that were read to the end, where whole chips seemed cheaper at first, estimate the same mean
        before = whole.read(0, whole.seen if whole.seen > CHIPS else 0, False)

        def read(start: int, stop: int, pairs: bool) -> Table:
            values = np.empty(stop - start)
            for chip in range(start, stop, self._at_once(design)):
                numbers = range(chip, min(stop, chip + self._at_once(design)))
                each, places = self._parts(strength, design.images, [started + k for k in numbers], pairs)
                each -= design.beta * everything[places]
                values[chip - start : chip - start + len(numbers)] = each.mean(1)
                within.extend(each.var(1, ddof=1) if design.images > 1 else np.zeros(len(each)))
            if told is not None:
                told(len(before) + stop)
            return values

        quarter = max(16, int(design.chips) // 4)
        come = gather(
            read,
            self.half,
            most=self.chips.draws,
            confidence=self.confidence,
            first=quarter,
            step=8,
            grain=span / design.images,
            pilot=0 if self.antithetic is False else min(quarter + quarter % 2, self.chips.draws // 2 * 2),
            always=self.antithetic is True,
            before=[Stratum(before - base, 1, span / self.total)] if len(before) else [],
        )
        low, mean, high = (end + base for end in come.interval)
        lack = float(np.mean(within)) * (1 / design.images - 1 / self.total)
        sd = max(0.0, float(come.values.var(ddof=1)) - lack) ** 0.5 if design.images > 1 else float("nan")
        come = come._replace(values=np.concatenate([before, come.values + base]), interval=Interval(low, mean, high))
        return Average.of(strength, self.half, design, come, sd, found, len(before))

    def _at_once(self, design: Design) -> int:
        """How many chips' inputs are laid out at once."""
        assert self.rows is not None
        one = sum(tensor[0].numel() * tensor.element_size() for tensor in self.rows.at(slice(0, 1)))
        return int(max(2, BYTES // max(1, one * design.images)) // 2 * 2)

    def _parts(
        self, strength: float, images: int, numbers: Sequence[int], pairs: bool
    ) -> tuple[Table, NDArray[np.int64]]:
        """The scores of these chips [chip, image], and which images each of them looked at."""
        assert self.rows is not None
        name = self.chips.seed, self.chips.purpose, "examples"
        places = [drawn(self.total, *name, number)[:images] for number in numbers]
        chips = replace(self.chips, pairs=pairs)
        if images <= BATCH:
            parts = [self.rows.at(place) for place in places]
            each = read_parts(self.model, self.score, parts, chips, self.arrays, strength, numbers)
        else:
            each = np.stack(
                [
                    read_chip(
                        self.model,
                        {"": self.score},
                        (self.rows.at(part) for part in torch.split(place, BATCH)),
                        chips,
                        self.arrays,
                        strength,
                        number,
                    )[""]
                    for number, place in zip(numbers, places, strict=True)
                ]
            )
        return each.astype(np.float64), np.stack([place.numpy() for place in places])

    def _gather_whole(self, whole: WholeChips, most: int) -> Gathered:
        pairs = self.antithetic is True
        known = whole.read(0, max(PAIRED if pairs else 5, whole.seen), pairs)
        first = whole.examples(1)
        span = 1.0 if first.min() >= 0 and first.max() <= 1 else 0.0
        return gather(
            whole.read,
            self.half,
            most=most,
            confidence=self.confidence,
            grain=span / self.total,
            pilot=len(known) if pairs else 0,
            always=pairs,
            known=known,
        )

    def _by_whole_chips(self, strength: float, whole: WholeChips, found: Plan | None, why: str) -> Average:
        come = self._gather_whole(whole, self.chips.draws)
        count = len(come.values)
        design = Design(self.total, 0.0, count, float("nan")) if found is None else found.design
        return Average.of(strength, self.half, design, come, float(come.values.std(ddof=1)), found, count, why)
