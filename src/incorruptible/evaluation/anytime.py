"""As many chips as a half-width needs, and no more.

The half-width of an interval is half its length. `measure_until` scores one chip after another and
looks at the interval after each of them, until its half-width is small enough. An ordinary interval
that is looked at so often misses more often than it says. The intervals here are betting confidence
sequences (`statistics.Betting`), which hold whenever one stops.

Relies on: scores of examples lie in [0, 1], which is refused otherwise; chips are independent.
Keeps: chip k is the chip k of `measure`; weights and running statistics are as before after the
call, also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..corruptions import Corruption
from ..errors import UserError, renamed_arguments
from ..statistics import Betting, Interval
from ..statistics.betting import METHOD
from ..tasks.data import batches
from ..tasks.scores import score_of
from ..weights.batchnorm import Statistics, evaluating
from .base import ScoredResult, against_strength, stated
from .checks import check_network
from .chips import ProgrammedModel
from .sampling import Sampling, SamplingOptions, sampling_of
from .scoring import (
    NOT_FINITE,
    ScoreFunction,
    counted,
    keeping,
    refuse_iterators,
    refuse_unbounded,
    score_chip,
)


@dataclass(frozen=True, eq=False, repr=False)
class AnytimeMeans(ScoredResult):
    """What `measure_until` found: for each strength as many chips as the half-width took.

    For each strength, `values` holds the mean score of each chip [chip], `intervals` the
    anytime-valid interval of the mean over all chips, on these examples, and `not_finite` the
    number of answers that were not finite, which count as wrong.
    """

    values: tuple[NDArray[np.float64], ...]
    intervals: tuple[Interval, ...]
    strengths: tuple[float, ...]
    half_width: float
    confidence: float
    max_chips: int
    not_finite: tuple[int, ...] = ()
    reads: int = 1  # of each chip

    def chart(self) -> Any:
        """Score against strength: the mean over chips with its interval, and the lowest chip."""
        level = f"confidence {self.confidence:g}, anytime-valid"
        return against_strength(self, self.rows(), "lowest", level)

    @property
    def reached(self) -> tuple[bool, ...]:
        """[strength] Whether the interval became as short as was asked."""
        return tuple(interval.half <= self.half_width for interval in self.intervals)

    def rows(self) -> list[dict[str, float]]:
        """One plain row for each strength: what the table prints and `--json` gives."""
        return [
            {
                "strength": strength,
                "mean": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "half": interval.half,
                "chips": len(values),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
                "lowest": float(values.min()),
                "reached": reached,
                **({"not_finite": count} if any(self.not_finite) else {}),
            }
            for strength, interval, values, reached, count in zip(
                self.strengths,
                self.intervals,
                self.values,
                self.reached,
                self.not_finite or [0] * len(self.strengths),
                strict=True,
            )
        ]

    def plain(self) -> dict[str, Any]:
        """Everything that is printed, and the score of every chip, as plain data."""
        return {
            "corruption": self.corruption,
            "unit": self.corruption_unit,
            "conditions": self.conditions,
            "score": self.name,
            "score_unit": self.unit,
            "precision": self.half_width,
            "confidence": self.confidence,
            "interval": "anytime-valid",
            "method": METHOD,
            "most": self.max_chips,
            "examples": self.n_examples,
            "seed": self.seed,
            "purpose": self.purpose,
            **({"reads": self.reads, "read": self.read} if self.reads > 1 or self.read else {}),
            "batchnorm": self.batchnorm,
            "autocast": self.autocast,
            "channels_last": self.channels_last,
            "rows": self.rows(),
            "values": [values.tolist() for values in self.values],
        }

    def table(self) -> str:
        """The text that the command line prints."""
        titles = ("strength", "chips", "mean", "interval", "half", "sd", "lowest", "not finite")
        shown = zip(titles if any(self.not_finite) else titles[:-1], _WIDTHS, strict=False)
        once = f" (read with {self.read})" if self.read else ""
        several = f" x {self.reads} reads ({self.read or 'its own noise'})"
        lines = [
            f"{self.name} ({self.unit}) under {self.corruption} [{self.corruption_unit}]; "
            f"chips{several if self.reads > 1 else once} until the half-width is "
            f"{self.half_width:g}, at most {self.max_chips}; {self._on_examples()}",
            *([self.conditions] if self.conditions else []),
            "  ".join(f"{title:>{width}}" for title, width in shown),
        ]
        for row in self.rows():
            alike = row["chips"] == 1 and row["half"] == 0
            cells = (
                f"{row['strength']:g}",
                f"{row['chips']}",
                f"{row['mean']:.4f}",
                "all the same" if alike else f"{row['low']:.4f} to {row['high']:.4f}",
                f"{row['half']:.4f}",
                f"{row['sd']:.4f}" if row["sd"] == row["sd"] else "-",
                f"{row['lowest']:.4f}",
                *([f"{row['not_finite']}"] if "not_finite" in row else []),
            )
            line = "  ".join(
                f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)
            )
            lines.append(line if row["reached"] else f"{line}  not reached")
        lines.append(
            "interval: of the mean over chips, on these examples, at confidence "
            f"{self.confidence:g} for each strength; valid whenever one stops (confidence "
            f"sequence, {METHOD})"
        )
        if any(self.not_finite):
            lines.append(
                "not finite: answers, of all chips and examples, that were not finite, and are "
                "wrong"
            )
        return "\n".join(lines)


_WIDTHS = (8, 6, 7, 17, 7, 7, 7, 10)


@renamed_arguments(precision="half_width", most="max_chips", corruption="sampling")
def measure_until(
    model: nn.Module,
    score: ScoreFunction | str,
    data: Iterable[Any],
    sampling: Sampling | Corruption | str,
    strengths: Sequence[float] | None = None,
    *,
    half_width: float,
    max_chips: int | None = None,
    confidence: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[SamplingOptions],
) -> AnytimeMeans:
    """Score one chip after another, at each strength, until the interval of the mean over chips is
    at most 2 `half_width` long.

    Choose this where the interval must hold without assumptions on how chips differ; `measure_mean`
    gets to the same half-width with fewer passes, approximately. The interval is a betting
    confidence sequence, which holds whenever one stops; Student's interval would miss more often
    than it says. The interval is not symmetric: the estimate may lie nearer to one end, and now and
    then just outside. Each strength has a confidence of its own.

    Chip k is the chip k of `measure`. At most `max_chips` chips are scored (unless given, the
    number of the `Sampling`, or 10,000), and the result says at which strengths they were too few.
    A half-width of .0025 takes some 1,100 chips, and hardly fewer where the chips agree: nothing
    rules out a rare chip that fails altogether. `sampling`, `strengths`, `options` and `progress`
    are as in `measure`.

    Raises `UserError` as `measure` does, and for a half-width outside (0, .5) and a score that does
    not lie in [0, 1] by its nature.
    """
    score = score_of(score)
    if not 0 < half_width < 0.5:
        raise UserError(
            f"half_width is {half_width:g}; it is a half-width between 0 and 0.5, as a fraction, "
            "for example 0.0025."
        )
    refuse_unbounded(score, "a half-width")
    sampling = sampling_of(
        sampling, strengths, options, chips=10_000, purpose="test", max_chips=max_chips
    )
    refuse_iterators(data, sampling)
    data = batches(data, 1024)
    model, arrays = sampling.fitted(model)
    # A DataLoader draws from torch's global generator whenever it is iterated.
    aside, found = torch.random.fork_rng(devices=[]), []
    with (
        aside,
        evaluating(model),
        keeping(Statistics(model)),
        ProgrammedModel(model, arrays, sampling) as programmed,
    ):
        check_network(model, {"": score}, data, sampling, arrays)
        for place, strength in enumerate(sampling.strengths):
            told = counted(progress, sampling, place)
            found.append(_until(programmed, score, data, strength, half_width, confidence, told))
    return AnytimeMeans(
        **stated(sampling, score),
        values=tuple(values for values, _, _, _ in found),
        intervals=tuple(interval for _, interval, _, _ in found),
        not_finite=tuple(count for _, _, _, count in found),
        strengths=tuple(sampling.strengths),
        n_examples=found[0][2],
        half_width=half_width,
        confidence=confidence,
        max_chips=sampling.chips,
        reads=sampling.reads,
    )


def _until(
    programmed: ProgrammedModel,
    score: ScoreFunction,
    data: Iterable[Any],
    strength: float,
    half_width: float,
    confidence: float,
    told: Callable[[int], None] | None,
) -> tuple[NDArray[np.float64], Interval, int, int]:
    """For one strength: the mean score of each chip [chip] that was needed, the interval of their
    mean, the number of examples, and how many answers were not finite.
    """
    betting, values, sampling, wrong = Betting(confidence), list[float](), programmed.sampling, 0
    while True:
        reads = [
            score_chip(programmed, {"": score}, data, strength, len(values), again)
            for again in range(sampling.reads)
        ]
        each = np.array([one[""] for one in reads])
        wrong += sum(int(one[NOT_FINITE].sum()) for one in reads if NOT_FINITE in one)
        if not (each.min() >= 0 and each.max() <= 1):
            raise UserError(
                f"half_width needs a score between 0 and 1 for each example; this score gave "
                f"{each.min():g} to {each.max():g}."
            )
        values.append(float(each.mean(1, dtype=np.float64).mean()))
        interval = betting.add(values[-1])
        if told is not None:
            told(len(values))
        if not sampling.differ(strength):  # all chips are equal to the first
            interval = Interval(values[0], values[0], values[0])
        if interval.half <= half_width or len(values) == sampling.chips:
            return np.array(values), interval, each.shape[1], wrong
