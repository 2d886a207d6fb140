"""Two sets of weights of one network on the same chips: what changed from before to after.

Chip k draws the same noise for both networks, because noise is named by seed, purpose, chip and
array and not by the weights. So the difference between the two scores of one chip holds only what
the weights change, and its spread over chips is mostly far smaller than that of the scores:

    found = compare(before, after, accuracy, data, "gaussian-filter-max:0,.1", chips=25)
    print(found)           # after - before at every strength, with an interval over chips
    found.differences()    # [strength, chip]

Relies on: both networks have arrays of the same names and shapes. Keeps: `found.before` and
`found.after` are what `measure` gives for each network with the same `Sampling`, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..corruptions import Corruption
from ..errors import UserError
from ..statistics import Interval, paired
from ..tasks.scores import score_of
from ..weights.arrays import Array, select, unwrapped
from . import Scores, measure
from .base import Charted, counted
from .sampling import Sampling, SamplingOptions, sampling_of
from .scoring import ScoreFunction, shifted


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Charted):
    """What `compare` found: the scores of both networks on the same chips."""

    before: Scores
    after: Scores

    def differences(self) -> NDArray[np.float64]:
        """[strength, chip] The score after less the score before, in the unit of the score."""
        return np.asarray(self.after.values - self.before.values)

    def interval(self, level: float = 0.95) -> list[Interval]:
        """For each strength, the mean difference over all chips with the interval of
        `statistics.paired`: Student's, on chips - 1 degrees of freedom.

        The interval holds for each strength by itself, for new chips, for these two networks and
        for these examples. It says nothing of other examples, nor of another training. It assumes
        that chips are independent, as they are here, and is exact where the differences are normal.
        Of 200,000 simulated sets of 25 chips, the interval at level .95 missed .050 where
        differences were normal, .075 where they were exponential, and .074 where one chip in ten
        differed (.350 of sets of 10 chips: so many hold no chip that differs).
        `tests/test_comparison.py` repeats them.
        """
        pairs = zip(self.after.values, self.before.values, strict=True)
        return [paired(after, before, level).interval for after, before in pairs]

    def better(self) -> list[int | None]:
        """[strength] On how many chips the score after is strictly better; None where the score
        does not say whether higher is better.
        """
        higher = self.after.higher_is_better
        signed = self.differences() * (1 if higher else -1)
        return [None if higher is None else int((row > 0).sum()) for row in signed]

    def rows(self, level: float = 0.95) -> list[dict[str, Any]]:
        """One plain row for each strength: what the table prints and `--json` gives. "mean", "low",
        "high" and "sd" are of the differences.
        """
        return [
            {
                "strength": strength,
                "before": float(before),
                "after": float(after),
                "mean": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "sd": float(apart.std(ddof=1)) if np.ptp(apart) else 0.0,
                "better": better,
            }
            for strength, before, after, interval, apart, better in zip(
                self.after.strengths,
                self.before.mean(),
                self.after.mean(),
                self.interval(level),
                self.differences(),
                self.better(),
                strict=True,
            )
        ]

    def plain(self) -> dict[str, Any]:
        """Everything that is printed, and the scores of every chip, as plain data."""
        return {
            "difference": "after - before",
            "interval": "95%, Student's, paired over chips",
            "rows": self.rows(),
            "differences": self.differences(),
            "before": self.before.plain(),
            "after": self.after.plain(),
        }

    def chart(self) -> Any:
        """Difference against strength: the mean over chips with its 95% interval, and a line at
        0.
        """
        from ..plots import Line, Lines

        rows, one = self.rows(), self.after
        band = [row["low"] for row in rows], [row["high"] for row in rows]
        mean = Line(one.strengths, [row["mean"] for row in rows], "after - before", band)
        note = (
            f"{counted(one.chips)}, the same before and after; {one.n_examples} examples, BatchNorm "
            f"{one.batchnorm}; band: 95%, Student's, paired over chips"
        )
        return Lines(
            "",
            "",
            {"": [mean]},
            f"{one.corruption}: {one.corruption_unit}",
            f"change of {one.name} ({one.unit})",
            "; ".join(filter(None, (one.conditions, note))),
            levels={"no change": 0.0},
        )

    def table(self) -> str:
        """The text that the command line prints."""
        lines = [self.after.header(), "  ".join(f"{title:>{w}}" for title, w in _COLUMNS.items())]
        for row in self.rows():
            same = f"{'all the same':>{_COLUMNS[_INTERVAL]}}"
            cells = (
                f"{row['strength']:g}",
                *(f"{row[name]:.4f}" for name in ("before", "after")),
                f"{row['mean']:+.4f}",
                same if row["sd"] == 0 else f"{row['low']:+.4f} to {row['high']:+.4f}",
                f"{row['sd']:.4f}",
                "-" if row["better"] is None else f"{row['better']} of {self.after.chips}",
            )
            widths = _COLUMNS.values()
            lines.append("  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)))
        lines += self.after.unseen([row["sd"] for row in self.rows()])
        (low, high), (least, most) = self.before.peaks, self.after.peaks
        lines += [
            "95% interval: Student's, of the mean difference, paired over chips, on these examples, "
            "each strength by itself; sd: of the differences; better: chips whose score is better "
            "after",
            f"max|W_f| from {low:.3g} to {high:.3g} before, from {least:.3g} to {most:.3g} after",
        ]
        for name, scores in (("before", self.before), ("after", self.after)):
            if scores.not_finite is not None:
                wrong = int(scores.not_finite.sum())
                lines.append(f"not finite: {wrong} answers {name}; such an answer is wrong")
        return "\n".join(lines)


_INTERVAL = "95% interval"
_COLUMNS = {
    "strength": 8,
    "before": 7,
    "after": 7,
    "change": 8,
    _INTERVAL: 18,
    "sd": 7,
    "better": 9,
}


def compare(
    before: nn.Module,
    after: nn.Module,
    score: ScoreFunction | str,
    data: Iterable[Any],
    sampling: Sampling | Corruption | str,
    strengths: Sequence[float] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 0,
    **options: Unpack[SamplingOptions],
) -> Comparison:
    """The score of `after` less that of `before`, on the same chips, at each strength.

    Choose `compare` for two trained networks, such as one before and after fine-tuning. It costs
    two calls of `measure`. To compare two ways of training, train each with several seeds: a study
    does, and its intervals speak of new trainings.

    `sampling`, `strengths`, `options`, `data`, `progress` and `workers` are as in `measure`, and 25
    chips are taken unless given. `arrays` are those of one of the networks, and the arrays of the
    same names are taken in both.

    Raises `UserError` as `measure` does, and for networks whose arrays differ in name or shape or
    share memory, for fewer than 2 chips, and for a mean score that is not finite on some chip.
    """
    score = score_of(score)
    sampling = sampling_of(sampling, strengths, options, chips=25, purpose="test")
    if sampling.chips < 2:
        raise UserError(
            f"chips={sampling.chips}: at least 2 chips are needed to tell a change from chance."
        )
    found = []
    for place, (model, arrays) in enumerate(_both(before, after, sampling)):
        one = measure(
            model,
            score,
            data,
            replace(sampling, arrays=arrays),
            progress=shifted(progress, place * sampling.total, 2 * sampling.total),
            workers=workers,
        )
        if not np.isfinite(one.values).all():
            raise UserError(
                f"{one.name} {('before', 'after')[place]} is not finite on some chips, so that the "
                "change has no mean: take weaker strengths, or a score that is bounded, such as "
                "accuracy."
            )
        found.append(one)
    return Comparison(*found)


def _both(
    before: nn.Module, after: nn.Module, sampling: Sampling
) -> list[tuple[nn.Module, Sequence[Array]]]:
    """Both networks with their arrays. Raises `UserError` for arrays that do not correspond."""
    own, others = _arrays(before, sampling), _arrays(after, sampling)
    if {id(array.parameter) for array in own} & {id(array.parameter) for array in others}:
        raise UserError(
            "before and after are the same weights in memory: keep the weights before in a network "
            "of their own, such as copy.deepcopy(model)."
        )
    first, second = ({one.name: tuple(one.value.shape) for one in each} for each in (own, others))
    for name in {**first, **second}:
        if first.get(name) != second.get(name):
            was, is_ = (each.get(name, "no such array") for each in (first, second))
            raise UserError(
                f"chips are the same only where arrays are, and the array {name} differs: {was} "
                f"before, {is_} after."
            )
    return [(before, own), (after, others)]


def _arrays(model: nn.Module, sampling: Sampling) -> list[Array]:
    """The arrays of a network that have the names of the given arrays; without any, all arrays."""
    if sampling.arrays is None:
        return select(model)
    names = {name for name, _ in unwrapped(model).named_parameters()}
    asked = {array.name: array.pattern for array in sampling.arrays if array.name in names}
    return [array for array in select(model, also=asked.values()) if array.name in asked]
