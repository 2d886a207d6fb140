"""What was found on many chips: never a mean without its n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..curves import LOSS
from ..statistics import Interval, TwoLevel, t_interval, two_level
from .overall import Overall

__all__ = ["Scores", "arithmetic"]


@dataclass(frozen=True, eq=False)
class Scores:
    """What `measure` found.

    `values` [strength, draw] is the mean score of each chip; `reads` [strength, draw, read] its single reads where there
    were several; `examples` [strength, draw, example], on request, the score of each example. `equivalent` [strength] is the
    strength of gaussian-filter-max that is as large for these weights, `conditions` what a device's result must say (range, mapping,
    time, compensation), and `peaks` the smallest and largest max|W_f|:
    under an absolute or sqrtmax scale a network gains by growing its weights, and these tell.
    """

    values: NDArray[np.float64]
    strengths: tuple[float, ...]
    corruption: str
    corruption_unit: str
    name: str
    unit: str
    higher_is_better: bool | None
    n_examples: int
    seed: int
    purpose: str
    batchnorm: str
    equivalent: tuple[float, ...] = ()
    peaks: tuple[float, float] = (float("nan"), float("nan"))
    conditions: str = ""
    read: str | None = None
    reads: NDArray[np.float64] | None = None
    examples: NDArray[np.float32] | None = None
    autocast: str | None = None
    channels_last: bool = False

    @property
    def draws(self) -> int:
        """How many chips."""
        return int(self.values.shape[1])

    def mean(self) -> NDArray[np.float64]:
        """[strength] Mean over chips."""
        return np.asarray(self.values.mean(1))

    def spread(self) -> NDArray[np.float64]:
        """[strength] Standard deviation over chips (n - 1); nan for one chip."""
        if self.draws < 2:
            return np.full(len(self.values), np.nan)
        # numbers that are all the same may differ from their mean in the last place
        return np.where(np.ptp(self.values, axis=1) == 0, 0.0, self.values.std(1, ddof=1))

    def interval(self, level: float = 0.95) -> list[Interval]:
        """For each strength, Student's interval of the mean over all chips, on these examples; nan for one chip."""
        if self.draws < 2 or not np.isfinite(self.values).all():
            return [Interval(float("nan"), float(mean), float("nan")) for mean in self.mean()]
        return [t_interval(row, level) for row in self.values]

    def levels(self, level: float = 0.95) -> list[TwoLevel] | None:
        """For each strength, the mean for new chips *and* new examples, with its components of variance.

        None where the scores of examples were not kept, or there is one chip or one example; `level` as in `interval`.
        """
        if self.examples is None or min(self.examples.shape[1:]) < 2 or not np.isfinite(self.examples).all():
            return None
        return [two_level(table, level) for table in self.examples]

    def quantile(self, share: float) -> NDArray[np.float64]:
        """[strength] The score that a `share` of these chips does not exceed."""
        return np.asarray(np.quantile(self.values, share, axis=1))

    def worst(self) -> NDArray[np.float64]:
        """[strength] The worst chip, in the score's own direction; nan where a function of one's own does not say which."""
        if self.higher_is_better is None:
            return np.full(len(self.values), np.nan)
        return np.asarray(self.values.min(1) if self.higher_is_better else self.values.max(1))

    def overall(self, loss: float = LOSS) -> Overall | None:
        """Area, worst case and tolerance of each chip over the whole range; None where a single strength was measured.

        `loss` is what may be lost for the tolerance, in the unit of the score.
        """
        return Overall.of(self.values, self.strengths, self.higher_is_better, loss)

    def rows(self, level: float = 0.95) -> list[dict[str, float]]:
        """One plain row for each strength: what the table prints and `--json` gives."""
        columns = zip(
            self.strengths,
            self.equivalent or [float("nan")] * len(self.strengths),
            self.interval(level),
            self.spread(),
            self.quantile(0.05),
            self.quantile(0.5),
            self.worst(),
            strict=True,
        )
        return [
            {
                "strength": strength,
                "equivalent": equal,
                "mean": float(interval.estimate),
                "low": float(interval.low),
                "high": float(interval.high),
                "sd": float(spread),
                "q05": float(q05),
                "median": float(median),
                "worst": float(worst),
            }
            for strength, equal, interval, spread, q05, median, worst in columns
        ]

    def plain(self) -> dict[str, Any]:
        """Everything that is printed, and the score of every chip, as plain data."""
        overall = self.overall()
        return {
            "corruption": self.corruption,
            "unit": self.corruption_unit,
            "conditions": self.conditions,
            "score": self.name,
            "score_unit": self.unit,
            "higher_is_better": self.higher_is_better,
            "draws": self.draws,
            "reads": 1 if self.reads is None else self.reads.shape[2],
            "read": self.read,
            "examples": self.n_examples,
            "seed": self.seed,
            "purpose": self.purpose,
            "batchnorm": self.batchnorm,
            "autocast": self.autocast,
            "channels_last": self.channels_last,
            "max_abs_weight_of_filters": list(self.peaks),
            "rows": self.rows(),
            "over_range": None if overall is None else overall.plain(),
            "values": self.values,
            **self._plain_levels(),
        }

    def _plain_levels(self) -> dict[str, Any]:
        levels = self.levels()
        if levels is None:
            return {}
        return {
            "new_chips_and_examples": [
                {
                    "strength": strength,
                    "low": one.interval.low,
                    "high": one.interval.high,
                    "freedom": one.freedom,
                    "variances": one.components._asdict(),
                }
                for strength, one in zip(self.strengths, levels, strict=True)
            ]
        }

    def header(self) -> str:
        """What was measured, in one line, and under which conditions, in another."""
        reads = f" x {self.reads.shape[2]} reads ({self.read or 'its own noise'})" if self.reads is not None else ""
        direction = {True: "higher is better", False: "lower is better", None: "no direction: give a Score"}[
            self.higher_is_better
        ]
        first = (
            f"{self.name} ({self.unit}; {direction}) under {self.corruption} [{self.corruption_unit}]; {self.draws} chips{reads}, "
            f"{self.n_examples} examples, seed {self.seed} ({self.purpose}), BatchNorm {self.batchnorm}"
            f"{arithmetic(self.autocast, self.channels_last)}"
        )
        return f"{first}\n{self.conditions}" if self.conditions else first

    def __str__(self) -> str:
        titles = ("strength", "filter-max", "mean", "95% interval", "sd", "5%", "median", "worst")
        lines = [self.header(), "  ".join(f"{t:>{w}}" for t, w in zip(titles, _WIDTHS, strict=True)), *self.lines()]
        lines.append(
            "interval: Student's, of the mean over chips, on these examples; 5%, median, worst: of these chips"
        )
        low, high = self.peaks
        lines.append(
            f"filter-max: the gaussian-filter-max strength of equal size; max|W_f| from {low:.3g} to {high:.3g}"
        )
        lines += self._level_lines()
        overall = self.overall()
        return "\n".join(lines if overall is None else [*lines, "", str(overall)])

    def lines(self) -> list[str]:
        """One line of the table for each strength."""
        missing, lines = "not finite" if self.draws > 1 else "needs 2 chips", []
        for row in self.rows():
            cells = (
                f"{row['strength']:g}",
                f"{row['equivalent']:.4g}",
                f"{row['mean']:.4f}",
                _interval(row, missing),
                f"{row['sd']:.4f}" if row["sd"] == row["sd"] else "-",
                *(f"{row[key]:.4f}" if row[key] == row[key] else "-" for key in ("q05", "median", "worst")),
            )
            lines.append("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)))
        return lines

    def _level_lines(self) -> list[str]:
        levels = self.levels()
        if levels is None:
            return []
        titles = ("strength", "between chips", "between examples", "interaction", "new chips and examples")
        widths = (8, 13, 16, 11, 22)
        lines = ["  ".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))]
        for strength, one in zip(self.strengths, levels, strict=True):
            low, _, high = one.interval
            cells = (
                f"{strength:g}",
                *(f"{max(0.0, part) ** 0.5:.4f}" for part in one.components),
                f"{low:.4f} to {high:.4f}",
            )
            lines.append("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
        return [
            *lines,
            "standard deviations of one answer's three parts; 95% interval of the mean, also for other examples",
        ]

    __repr__ = __str__


def arithmetic(autocast: str | None, channels_last: bool) -> str:
    """What a header says of forward passes that were not the plain ones."""
    return "".join(
        [f", autocast {autocast}" if autocast is not None else "", ", channels last" if channels_last else ""]
    )


def _interval(row: dict[str, float], missing: str) -> str:
    if row["sd"] == 0:
        return "all the same"
    return f"{row['low']:.4f} to {row['high']:.4f}" if row["low"] == row["low"] else missing


_WIDTHS = (8, 10, 7, 17, 7, 7, 7, 7)
