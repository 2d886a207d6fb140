"""How `measure_mean` works at one strength: what a chip and an image cost, how many images each
chip looks at, and when to stop.

First the cost of making a chip and of reading an image is counted (`costs_of`). A first look at few
chips estimates how much chips and images differ, `statistics.plan` chooses the cheapest design, and
chips are added until the half-width is reached (`MeanEstimator`).

Relies on: `data` can be indexed for subsets of images (`gathered`); chips and subsets are named, so
that the same call looks at the same images on the same chips. Keeps: costs are counted and not
timed, so that the design is the same on every machine; whole chips that were scored for the first
look are not scored again, and are those of `measure`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from torch.utils.flop_counter import FlopCounterMode

from ...randomness.streams import key
from ...statistics import (
    CHIPS,
    Costs,
    Gathered,
    Interval,
    Stratum,
    SubsampleDesign,
    SubsamplePlan,
    choose,
    gather,
    plan,
    worth_another,
)
from ...tasks.data import Batches
from ...tasks.scores import Score, moved
from ...weights.arrays import Array, unwrapped
from ...weights.batchnorm import Statistics, evaluating
from ..chips import ProgrammedModel, cleaned
from ..sampling import Sampling
from ..scoring import (
    NOT_FINITE,
    Examples,
    ScoreFunction,
    count_of,
    keeping,
    score_chip,
    score_one_chip,
    scored,
)
from .batched import Stacks, score_parts
from .results import Average

# ---- What making a chip and reading an image cost

# Nanoseconds on one core of an AMD EPYC with torch 2.13 (medians of 5 to 30 repetitions, batches of
# 64 to 1,024): torch.randn takes 3 for a number; 45 operations on the 25,856 weights of an MLP
# 230,000, 300 on the 268,336 of a ResNet-20 1,860,000; a pass of ResNet-8 runs 20 to 36 operations
# on numbers in a nanosecond, of ResNet-20 36 to 73, of the MLP 79.
RANDOM, NUMBER, OPERATION, FLOP = 3.0, 0.3, 2500.0, 1 / 50


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations, and the numbers and random numbers that they make, while the block
    runs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations, self.numbers, self.random = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.operations += 1
        if not func.is_view:
            one = made if isinstance(made, list | tuple) else [made]
            count = sum(tensor.numel() for tensor in one if isinstance(tensor, Tensor))
            if torch.Tag.nondeterministic_seeded in func.tags:
                self.random += count
            else:
                self.numbers += count
        return made


def costs_of(
    model: nn.Module,
    score: ScoreFunction,
    batch: Any,
    size: int,
    sampling: Sampling,
    arrays: Sequence[Array],
    strength: float,
) -> Costs:
    """Nanoseconds for making a chip and for reading one image, from one clean pass over `batch`,
    which has `size` images, and one chip that is made.

    Operations, numbers made, random numbers and floating-point operations are counted, each at the
    fixed price above, so that the same call gives the same design everywhere. Where BatchNorm is
    recalibrated, a chip also costs its passes over the calibration data. On a GPU passes are
    cheaper than this, and random numbers, which the CPU draws, are not.
    """
    device = arrays[0].value.device
    with torch.inference_mode(), FlopCounterMode(display=False) as flops, _Counted() as reading:
        if isinstance(score, Score):
            score.answer(unwrapped(model), moved(batch, device))
        else:
            score(unwrapped(model), moved(batch, device))
    # Grading counts as three small operations, whatever else a score computes.
    if isinstance(score, Score):
        reading.operations, reading.numbers = reading.operations + 3, reading.numbers + 3 * size
    image = (NUMBER * reading.numbers + FLOP * flops.get_total_flops()) / size
    clean = cleaned(arrays)
    with torch.no_grad(), _Counted() as making:
        for array in clean:
            sampling.values(array, strength, 0, 0)
    chip = (
        OPERATION * (making.operations + reading.operations)
        + NUMBER * making.numbers
        + RANDOM * making.random
    )
    if sampling.calibration is not None:
        chip += count_of(sampling.calibration) * image
    return Costs(chip, image)


# ---- Data that can be indexed, and which examples a chip looks at


def drawn(total: int, *name: str | int) -> Tensor:
    """A random order of `total` examples, the same for the same name. Its first m entries are a
    sample of m examples without replacement, for every m.
    """
    return torch.randperm(total, generator=torch.Generator().manual_seed(key(*name)))


def gathered(data: Iterable[Any]) -> tuple[Batches | None, str]:
    """`data` in a form that can be indexed and an empty text, or None and the reason why not.

    Batches of tensors in a list, or in a DataLoader that goes through its data in order, are put
    together once, so that all inputs lie in memory. `Batches` are returned without a shuffled
    order. Other data are no mistake, because whole chips can look at them.
    """
    if isinstance(data, Batches):
        plain = copy(data)
        plain.order = None
        return plain, ""
    if isinstance(data, DataLoader):
        if (
            not isinstance(data.sampler, SequentialSampler)
            or type(data.batch_sampler) is not BatchSampler
        ):
            return None, "the DataLoader does not go through all its data in order"
    elif not isinstance(data, Sequence):
        return None, f"the data are a {type(data).__name__}, which cannot be indexed"
    parts = [list(batch) if isinstance(batch, list | tuple) else [] for batch in data]
    if not parts or not all(_alike(parts[0], part) for part in parts):
        return None, "batches are no pairs of tensors (inputs, labels)"
    tensors = [torch.cat(list(members)) for members in zip(*parts, strict=True)]
    return Batches(tensors, max(len(part[0]) for part in parts)), ""


def _alike(first: list[Any], part: list[Any]) -> bool:
    tensors = bool(part) and all(isinstance(member, Tensor) and member.dim() for member in part)
    return (
        tensors
        and len(part) == len(first)
        and len({len(member) for member in part}) == 1
        and all(
            member.shape[1:] == other.shape[1:] for member, other in zip(part, first, strict=True)
        )
    )


# ---- Whole chips

KEPT = 128  # the largest number of chips by which a design is chosen


class FullPassChips:
    """The chips of `measure` at one strength, each scored once, when it is first asked for.

    The mean score of each chip is kept, and the scores of single examples for the first `KEPT`
    chips that are not mirrored.
    """

    def __init__(
        self,
        model: nn.Module,
        score: ScoreFunction,
        data: Iterable[Any],
        sampling: Sampling,
        arrays: Sequence[Array],
        strength: float,
        told: Callable[[int], None] | None,
    ) -> None:
        self.model, self.score, self.data, self.arrays, self.told = model, score, data, arrays, told
        self.sampling, self.strength, self.means = (
            sampling,
            strength,
            dict[tuple[int, bool], float](),
        )
        self.kept: dict[int, Examples] = {}
        self.not_finite = 0  # answers so far

    @property
    def seen(self) -> int:
        """How many chips were scored. A chip and its mirrored form count once."""
        return len({chip for chip, _ in self.means})

    def values(self, start: int, stop: int, pairs: bool) -> NDArray[np.float64]:
        """The mean score of each of the chips start to stop - 1 [chip]. With `pairs` every odd chip
        mirrors the chip before.
        """
        wanted = [(chip, pairs and chip % 2 == 1) for chip in range(start, stop)]
        lacking = [one for one in wanted if one not in self.means]
        if lacking:
            self._score(lacking, replace(self.sampling, pairs=pairs))
        return np.array([self.means[one] for one in wanted])

    def _score(self, lacking: Sequence[tuple[int, bool]], sampling: Sampling) -> None:
        with (
            evaluating(self.model),
            keeping(Statistics(self.model)),
            ProgrammedModel(self.model, self.arrays, sampling) as programmed,
        ):
            for chip, mirrored in lacking:
                each = score_chip(programmed, {"": self.score}, self.data, self.strength, chip)
                found = each[""]
                self.not_finite += int(each[NOT_FINITE].sum()) if NOT_FINITE in each else 0
                self.means[chip, mirrored] = float(found.mean(dtype=np.float64))
                if chip < KEPT and not mirrored:
                    self.kept[chip] = found
                if self.told is not None:
                    self.told(self.seen)

    def examples(self, count: int) -> NDArray[np.float64]:
        """The scores of the first `count` chips, at most `KEPT` [chip, example]."""
        self.values(0, count, False)
        return np.stack([self.kept[chip] for chip in range(count)]).astype(np.float64)


# ---- The mean at each strength

BATCH = 1024  # images at a time
BYTES = 2**27  # the memory for inputs that are laid out at once
SMALLEST = 8  # the fewest images of a chip that are chosen; chips look at all of so few examples
LEFT = 16  # the fewest chips that must be left for a change from whole chips to few images
# How many whole chips are taken in pairs before the first interval is made. With skewed chips, an
# interval that began after 6 chips covered .82 to .89 instead of .92 to .95.
PAIRED = 16


class MeanEstimator:
    """One network on its data: what all strengths share, and the clean scores of the examples that
    were needed so far.
    """

    def __init__(
        self,
        model: nn.Module,
        score: ScoreFunction,
        data: Iterable[Any],
        rows: Batches | None,
        total: int,
        sampling: Sampling,
        arrays: Sequence[Array],
        half: float,
        confidence: float,
        images: int | None,
        antithetic: bool | None,
    ) -> None:
        self.model, self.score, self.data, self.rows, self.total = model, score, data, rows, total
        self.sampling, self.arrays, self.device = sampling, arrays, arrays[0].value.device
        self.half, self.confidence, self.images, self.antithetic = (
            half,
            confidence,
            images,
            antithetic,
        )
        self.clean = np.full(total, np.nan)
        self.stacks = Stacks()
        self.statistics = Statistics(model)
        self.before = self.statistics.take()  # a recalibrated chip leaves its statistics in place

    def average(self, strength: float, why: str, told: Callable[[int], None] | None) -> Average:
        """The mean at one strength."""
        whole = FullPassChips(
            self.model, self.score, self.data, self.sampling, self.arrays, strength, told
        )
        self.stacks.not_finite = 0
        found = self._average(strength, why, whole, told)
        return replace(found, not_finite=whole.not_finite + self.stacks.not_finite)

    def _average(
        self, strength: float, why: str, whole: FullPassChips, told: Callable[[int], None] | None
    ) -> Average:
        if not self.sampling.differ(strength):
            return Average.alike(strength, float(whole.values(0, 1, False)[0]), self.total)
        if self.rows is None or self.images == self.total:
            return self._by_whole_chips(strength, whole, None, why or "asked for")
        if self.images is None and self.total <= SMALLEST:
            return self._by_whole_chips(strength, whole, None, "few images are all there are")
        with evaluating(self.model), keeping(self.statistics):
            order = drawn(
                self.total, self.sampling.seed, self.sampling.purpose, "examples", "first look"
            )
            first = self.rows.at(order[:64])
            costs = costs_of(
                self.model,
                self.score,
                first,
                min(64, self.total),
                self.sampling,
                self.arrays,
                strength,
            )
            span = self._span(order)
            asked = self.total, costs, self.half, self.confidence, span
            found = plan(partial(self._look, strength, order, whole), *asked, self.images)
            for checked in (16, 32, 64, KEPT):
                if (
                    found.design.images < self.total
                    or self.antithetic
                    or checked + LEFT > self.sampling.chips
                ):
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
        """How far one answer can change a score: 1 where scores lie in [0, 1], and 0 for other
        scores, for which nothing is known beforehand.
        """
        seen = self._clean_at(order[:64])
        return 1.0 if seen.min() >= 0 and seen.max() <= 1 else 0.0

    def _clean_at(self, places: Tensor) -> NDArray[np.float64]:
        """The clean scores of the examples with these indices. Each is computed once."""
        assert self.rows is not None
        lacking = places[np.isnan(self.clean[places.numpy()])]
        if len(lacking):
            self.statistics.put(self.before)
            some = (self.rows.at(part) for part in torch.split(lacking, BATCH))
            self.clean[lacking.numpy()] = scored(
                self.model, {"": self.score}, some, self.device, self.sampling
            )[""]
        return np.asarray(self.clean[places.numpy()])

    def _all_clean(self) -> NDArray[np.float64]:
        return self._clean_at(torch.arange(self.total))

    def _look(
        self, strength: float, order: Tensor, whole: FullPassChips, start: int, stop: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The scores of the chips of the first look [chip, image], and the clean scores [image]."""
        assert self.rows is not None
        if (start, stop) == (0, self.total):  # whole chips, which may be needed again
            return whole.examples(CHIPS), self._all_clean()
        clean = self._clean_at(order[start:stop])
        some = [self.rows.at(part) for part in torch.split(order[start:stop], BATCH)]
        seen = [
            score_parts(
                self.model,
                self.score,
                [part] * CHIPS,
                self.sampling,
                self.arrays,
                strength,
                range(CHIPS),
                self.stacks,
            )
            for part in some
        ]
        return np.concatenate(seen, axis=1).astype(np.float64), clean

    def _by_parts(
        self,
        strength: float,
        found: SubsamplePlan,
        whole: FullPassChips,
        span: float,
        told: Callable[[int], None] | None,
    ) -> Average:
        design, within = found.design, list[float]()
        everything = self._all_clean() if design.beta else np.zeros(self.total)
        base, started = design.beta * float(everything.mean()), max(CHIPS, whole.seen)
        # Chips that were scored on all images, because whole chips seemed cheaper at first,
        # estimate the same mean.
        before = whole.values(0, whole.seen if whole.seen > CHIPS else 0, False)

        def sampled(start: int, stop: int, pairs: bool) -> NDArray[np.float64]:
            values = np.empty(stop - start)
            for chip in range(start, stop, self._at_once(design)):
                numbers = range(chip, min(stop, chip + self._at_once(design)))
                each, places = self._parts(
                    strength, design.images, [started + k for k in numbers], pairs
                )
                each -= design.beta * everything[places]
                values[chip - start : chip - start + len(numbers)] = each.mean(1)
                within.extend(each.var(1, ddof=1) if design.images > 1 else np.zeros(len(each)))
            if told is not None:
                told(len(before) + stop)
            return values

        quarter = max(16, int(design.chips) // 4)
        come = gather(
            sampled,
            self.half,
            max_chips=self.sampling.chips,
            confidence=self.confidence,
            first=quarter,
            step=8,
            grain=span / design.images,
            pilot=0
            if self.antithetic is False
            else min(quarter + quarter % 2, self.sampling.chips // 2 * 2),
            always=self.antithetic is True,
            before=[Stratum(before - base, 1, span / self.total)] if len(before) else [],
        )
        low, mean, high = (end + base for end in come.interval)
        lack = float(np.mean(within)) * (1 / design.images - 1 / self.total)
        sd = (
            max(0.0, float(come.values.var(ddof=1)) - lack) ** 0.5
            if design.images > 1
            else float("nan")
        )
        come = come._replace(
            values=np.concatenate([before, come.values + base]), interval=Interval(low, mean, high)
        )
        return Average.of(strength, self.half, design, come, sd, found, len(before))

    def _at_once(self, design: SubsampleDesign) -> int:
        """For how many chips the inputs are laid out at once: an even number, at least 2."""
        assert self.rows is not None
        one = sum(tensor[0].numel() * tensor.element_size() for tensor in self.rows.at(slice(0, 1)))
        return int(max(2, BYTES // max(1, one * design.images)) // 2 * 2)

    def _parts(
        self, strength: float, images: int, numbers: Sequence[int], pairs: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The scores of these chips [chip, image], and the indices of the images that each chip
        looked at [chip, image].
        """
        assert self.rows is not None
        name = self.sampling.seed, self.sampling.purpose, "examples"
        places = [drawn(self.total, *name, number)[:images] for number in numbers]
        sampling = replace(self.sampling, pairs=pairs)
        if images <= BATCH:
            parts = [self.rows.at(place) for place in places]
            each = score_parts(
                self.model, self.score, parts, sampling, self.arrays, strength, numbers, self.stacks
            )
        else:
            each = np.stack(
                [
                    score_one_chip(
                        self.model,
                        {"": self.score},
                        (self.rows.at(part) for part in torch.split(place, BATCH)),
                        sampling,
                        self.arrays,
                        strength,
                        number,
                    )[""]
                    for number, place in zip(numbers, places, strict=True)
                ]
            )
        return each.astype(np.float64), np.stack([place.numpy() for place in places])

    def _gather_whole(self, whole: FullPassChips, max_chips: int) -> Gathered:
        pairs = self.antithetic is True
        known = whole.values(0, max(PAIRED if pairs else 5, whole.seen), pairs)
        first = whole.examples(1)
        span = 1.0 if first.min() >= 0 and first.max() <= 1 else 0.0
        return gather(
            whole.values,
            self.half,
            max_chips=max_chips,
            confidence=self.confidence,
            grain=span / self.total,
            pilot=len(known) if pairs else 0,
            always=pairs,
            known=known,
        )

    def _by_whole_chips(
        self, strength: float, whole: FullPassChips, found: SubsamplePlan | None, why: str
    ) -> Average:
        come = self._gather_whole(whole, self.sampling.chips)
        count = len(come.values)
        design = (
            SubsampleDesign(self.total, 0.0, count, float("nan")) if found is None else found.design
        )
        return Average.of(
            strength, self.half, design, come, float(come.values.std(ddof=1)), found, count, why
        )
