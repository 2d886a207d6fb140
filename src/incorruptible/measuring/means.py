"""The mean over chips to a half-width, by as few passes as will do: many chips that look at few images each."""

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
from ..corruptions import Corruption, traits
from ..data import Batches, batches
from ..errors import Mistake
from ..statistics import CHIPS, Design, Interval, Plan, gather, plan
from .averages import Average, Means
from .chips import Chips
from .counting import costs_of
from .parts import read_parts
from .reading import ScoreFunction, count_of, keeping, read_chip, refuse_iterators, scored
from .subsets import drawn, gathered
from .whole import WholeChips

__all__ = ["measure_mean"]

BATCH = 1024  # images at a time
BYTES = 2**27  # of inputs that are laid out at once

Table = NDArray[np.float64]


def measure_mean(
    model: nn.Module,
    score: ScoreFunction,
    data: Iterable[Any],
    corruption: Corruption,
    strengths: Sequence[float],
    *,
    half_width: float,
    confidence: float = 0.95,
    most: int = 20_000,
    seed: int,
    purpose: str = "test",
    read: tuple[Corruption, float] | None = None,
    arrays: Sequence[Array] | None = None,
    batchnorm: str = "as-is",
    calibration: Iterable[Any] | None = None,
    images: int | None = None,
    antithetic: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Means:
    """The mean score over chips on these n examples, at each strength until its interval is at most 2 `half_width` long.

    What is estimated is mu = (1/n) sum_i E[Y(chip, i)]. Chip c looks at a random subset S_c of m examples, and

        mu_hat = beta mean(C) + mean_c D_c,    D_c = mean over S_c of (Y(c, i) - beta C_i),

    with the clean scores C of all examples. Subsets are drawn without replacement and independently of the chips, and m and
    beta are fixed before the chips that are averaged: mu_hat is unbiased but for stopping, and D_c are independent and equally
    distributed. m and beta come from a first look (`statistics.plan`) or, m, from `images`; m = n are whole chips, those of
    `measure`, which need no clean pass. The interval is Student's, made longer for having been watched (`statistics.gather`);
    it covers 95% approximately, where that of `measure_until` holds without exception and takes many more chips.

    `antithetic` makes chip 2k + 1 the mirror image of chip 2k: True always, False never, None (not for whole chips) for a
    first quarter, and on where that helps. `most` bounds the chips that are averaged; the result says whether they did. Subsets need
    data that can be indexed: a tuple of tensors, `Images`, or batches (inputs, labels) in a list or an unshuffled DataLoader,
    which are laid out in memory once; otherwise chips are whole. Everything else is as in `measure`. Raises `Mistake`, besides,
    for a half-width that is not positive, a confidence outside (0, 1), fewer than 16 `most`, and more `images` than there are.
    """
    if not 0 < half_width < float("inf"):
        raise Mistake(f"half_width is {half_width:g}; it is positive, in the unit of the score, for example 0.0025.")
    if not 0 < confidence < 1:
        raise Mistake(f"confidence is {confidence:g}; it lies between 0 and 1, for example 0.95.")
    if most < 16:
        raise Mistake(f"most is {most}; at least 16 chips are needed to tell how much they differ.")
    chips = Chips(corruption, strengths, most, seed, purpose, 1, read, batchnorm, calibration)
    refuse_iterators(data, chips)
    data = batches(data, BATCH)
    rows, why = gathered(data)
    total = count_of(data) if rows is None else rows.examples
    if images is not None and not (1 <= images < total and rows is not None) and images != total:
        raise Mistake(f"images={images}: " + (why or f"1 to {total} are there") + f"; images={total} are whole chips.")
    model, arrays = chips.fitted(model, arrays)
    chips = replace(chips, batchnorm="as-is" if batchnorm == "folded" else batchnorm)
    site = _Site(model, score, data, rows, total, chips, arrays, half_width, confidence, images, antithetic)
    found = []
    for place, strength in enumerate(chips.strengths):
        told = None if progress is None else partial(_tell, progress, place * most, len(chips.strengths) * most)
        found.append(site.average(strength, why, told))
    return Means(
        averages=tuple(found),
        corruption=str(corruption),
        corruption_unit=corruption.unit,
        conditions=traits(corruption).conditions,
        name=str(getattr(score, "name", None) or getattr(score, "__name__", "score")),
        unit=getattr(score, "unit", "mean over examples"),
        n_examples=total,
        seed=seed,
        purpose=purpose,
        batchnorm=batchnorm,
        read=None if read is None else f"{read[0]}:{read[1]:g}",
        half_width=half_width,
        confidence=confidence,
        most=most,
    )


def _tell(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


class _Site:
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
        if not self.chips.differ(strength):
            value = float(self._whole(strength, told).read(0, 1, False)[0])
            return Average.alike(strength, value, self.total)
        if self.rows is None or self.images == self.total:
            return self._by_whole_chips(strength, None, why or "asked for", told)
        with evaluating(self.model), keeping(Statistics(self.model)):
            order = drawn(self.total, self.chips.seed, self.chips.purpose, "examples", "first look")
            first = self.rows.at(order[:64])
            costs = costs_of(self.model, self.score, first, min(64, self.total), self.chips, self.arrays, strength)
            whole = self._whole(strength, told)
            look = partial(self._look, strength, order, whole)
            span = self._span(order)
            found = plan(look, self.total, costs, self.half, self.confidence, span, self.images)
            if found.design.images < self.total:
                return self._by_parts(strength, found, span, told)
        return self._by_whole_chips(strength, found, "whole chips cost least", told, whole)

    def _whole(self, strength: float, told: Callable[[int], None] | None) -> WholeChips:
        return WholeChips(self.model, self.score, self.data, self.chips, self.arrays, strength, told)

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
            self.clean[lacking.numpy()] = scored(self.model, {"": self.score}, some, self.device)[""]
        return np.asarray(self.clean[places.numpy()])

    def _look(self, strength: float, order: Tensor, whole: WholeChips, start: int, stop: int) -> tuple[Table, Table]:
        """The scores of the first look's chips [chip, image], and the clean ones [image]."""
        assert self.rows is not None
        if (start, stop) == (0, self.total):  # whole chips, which may be needed again
            return whole.examples(CHIPS), self._clean_at(drawn(self.total).sort().values)
        clean = self._clean_at(order[start:stop])
        some = [self.rows.at(part) for part in torch.split(order[start:stop], BATCH)]
        seen = [
            read_parts(self.model, self.score, [part] * CHIPS, self.chips, self.arrays, strength, range(CHIPS))
            for part in some
        ]
        return np.concatenate(seen, axis=1).astype(np.float64), clean

    def _by_parts(self, strength: float, found: Plan, span: float, told: Callable[[int], None] | None) -> Average:
        design, within = found.design, list[float]()
        everything = self._clean_at(drawn(self.total).sort().values) if design.beta else np.zeros(self.total)

        def read(start: int, stop: int, pairs: bool) -> Table:
            values = np.empty(stop - start)
            for chip in range(start, stop, self._at_once(design)):
                numbers = range(chip, min(stop, chip + self._at_once(design)))
                each, places = self._parts(strength, design.images, [CHIPS + k for k in numbers], pairs)
                each -= design.beta * everything[places]
                values[chip - start : chip - start + len(numbers)] = each.mean(1)
                within.extend(each.var(1, ddof=1) if design.images > 1 else np.zeros(len(each)))
            if told is not None:
                told(stop)
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
        )
        base = design.beta * float(everything.mean())
        low, mean, high = (end + base for end in come.interval)
        lack = float(np.mean(within)) * (1 / design.images - 1 / self.total)
        sd = max(0.0, float(come.values.var(ddof=1)) - lack) ** 0.5 if design.images > 1 else float("nan")
        return Average.of(strength, Interval(low, mean, high), self.half, design, come, sd, found, "")

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

    def _by_whole_chips(
        self,
        strength: float,
        found: Plan | None,
        why: str,
        told: Callable[[int], None] | None,
        whole: WholeChips | None = None,
    ) -> Average:
        whole = whole or self._whole(strength, told)
        pairs = self.antithetic is True
        known = whole.read(0, max(6 if pairs else 5, whole.seen), pairs)
        first = whole.examples(1)
        span = 1.0 if first.min() >= 0 and first.max() <= 1 else 0.0
        come = gather(
            whole.read,
            self.half,
            most=self.chips.draws,
            confidence=self.confidence,
            grain=span / self.total,
            pilot=len(known) if pairs else 0,
            always=pairs,
            known=known,
        )
        design = Design(self.total, 0.0, float(len(come.values)), float("nan")) if found is None else found.design
        sd = float(come.values.std(ddof=1))
        return Average.of(strength, come.interval, self.half, design, come, sd, found, why)
