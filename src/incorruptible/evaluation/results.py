"""Scores of many chips: strength by strength (`Scores`), over the whole range of strengths
(`Overall`), and at several times since programming (`OverTime`).

Relies on: chip k is the same chip at every strength and time, so that each chip has a curve of its
own. Keeps: a mean never stands without its number of chips and examples; a number that cannot be
known (an interval from one chip, the worst chip of a score without a direction) is nan and is
printed as "-" or as a reason, never as a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..specs.durations import Seconds
from ..statistics import Interval, TwoLevel, curves, t_interval, two_level
from ..statistics.curves import LOSS
from ..statistics.two_level import ENOUGH
from .base import Charted, ScoredResult, against_strength, counted

# ---- Many chips over a whole range of strengths: area, worst case, tolerance


_MEANINGS = {
    "area": "mean score where every strength is equally likely",
    "worst": "a chip's worst score at any strength",
    "tolerance": "the strength up to which a chip loses at most {loss:g}",
}


@dataclass(frozen=True, eq=False)
class Overall:
    """Each chip's score over the whole range of strengths from `low` to `high`, as three numbers.

    `chips` maps "area", "worst" and "tolerance" to one number for each chip [chip], as
    `incorruptible.statistics.curves` defines them. Chip k is the same at every strength, so that
    its curve belongs to one chip. `beyond` [chip] marks chips that never lose `loss`; their
    tolerance is counted as `high`, so that the mean tolerance is a bound from below. `lacking` maps
    each of the three names that is missing from `chips` to the reason.
    """

    low: float
    high: float
    loss: float
    chips: dict[str, NDArray[np.float64]]
    beyond: NDArray[np.bool_]
    lacking: dict[str, str]

    @classmethod
    def of(
        cls,
        values: NDArray[np.float64],
        strengths: tuple[float, ...],
        higher_is_better: bool | None,
        loss: float = curves.LOSS,
    ) -> Overall | None:
        """The three numbers from values [strength, chip], with strengths in any order; None for a
        single strength, which is no range.

        Raises `UserError` for a loss that is not positive.
        """
        if len(strengths) < 2:
            return None
        order = np.argsort(strengths)
        at, curve = np.asarray(strengths, dtype=np.float64)[order], values[order].T
        lacking: dict[str, str] = {}
        if not np.isfinite(curve).all():
            lacking = dict.fromkeys(_MEANINGS, "scores are not finite")
        elif higher_is_better is None:
            lacking = dict.fromkeys(("worst", "tolerance"), "no direction: give a Score")
        elif at[0] != 0:
            lacking["tolerance"] = "strength 0 was not measured"
        chips: dict[str, NDArray[np.float64]] = {}
        beyond = np.zeros(len(curve), dtype=np.bool_)
        if "area" not in lacking:
            chips["area"] = curves.area(curve, at)
        if "worst" not in lacking:
            chips["worst"] = curves.worst(curve, at, higher_is_better is not False)
        if "tolerance" not in lacking:
            chips["tolerance"], beyond = curves.tolerance(
                curve, at, loss, higher_is_better is not False
            )
        return cls(float(at[0]), float(at[-1]), loss, chips, beyond, lacking)

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Student's interval of the mean over chips, on these examples. Its ends are nan for one
        chip; all three numbers are nan for a name in `lacking`.
        """
        found = self.chips.get(name)
        if found is None or len(found) < 2:
            return Interval(
                float("nan"), float("nan") if found is None else float(found[0]), float("nan")
            )
        return t_interval(found, level)

    def plain(self, level: float = 0.95) -> dict[str, Any]:
        """The means with their intervals as plain data; a missing number is nan, and "lacking" has
        the reason.
        """
        found: dict[str, Any] = {"from": self.low, "to": self.high, "loss": self.loss}
        for name in _MEANINGS:
            low, mean, high = self.interval(name, level)
            found[name] = {"mean": mean, "low": low, "high": high, "sd": self._spread(name)}
        return {**found, "chips_beyond": int(self.beyond.sum()), "lacking": self.lacking}

    def _spread(self, name: str) -> float:
        found = self.chips.get(name)
        return float("nan") if found is None or len(found) < 2 else float(found.std(ddof=1))

    def __str__(self) -> str:
        lines = [
            f"{f'from {self.low:g} to {self.high:g}':>19}  {'mean':>7}  {'95% interval':>17}  "
            f"{'sd':>7}"
        ]
        for name, meaning in _MEANINGS.items():
            if name in self.lacking:
                lines.append(f"{name:>19}  {'-':>7}  {self.lacking[name]}")
                continue
            (low, mean, high), spread = self.interval(name), self._spread(name)
            between = (
                "needs 2 chips"
                if low != low
                else "all the same"
                if low == high
                else f"{low:.4f} to {high:.4f}"
            )
            sd = "-" if spread != spread else f"{spread:.4f}"
            cells = (
                f"{name:>19}  {mean:7.4f}  {between:>17}  {sd:>7}  {meaning.format(loss=self.loss)}"
            )
            if name == "tolerance" and self.beyond.any():
                cells += (
                    f"; {self.beyond.sum()} of {len(self.beyond)} chips never lose it, and count "
                    f"as {self.high:g}"
                )
            lines.append(cells)
        return "\n".join(lines)

    __repr__ = __str__


# ---- Strength by strength


@dataclass(frozen=True, eq=False, repr=False)
class Scores(ScoredResult):
    """What `measure` found.

    `values` [strength, chip] is the mean score of each chip. `reads` [strength, chip, read] has the
    scores of single reads where there were several, and `examples` [strength, chip, example], on
    request, the score of each example. `equivalent` [strength] is the strength of
    gaussian-filter-max whose error is as large for these weights. `peaks` are the smallest and the
    largest max|W_f| over all filters f. Under an absolute or sqrtmax scale a network gains by
    growing its weights, which these two show. `not_finite` [strength, chip] counts the answers,
    over all reads and examples, that were not finite; it is None where all were finite. In a score
    that judges answers they are wrong answers; the mean of a loss over them is not finite either.
    """

    values: NDArray[np.float64]
    strengths: tuple[float, ...]
    higher_is_better: bool | None
    equivalent: tuple[float, ...] = ()
    peaks: tuple[float, float] = (float("nan"), float("nan"))
    reads: NDArray[np.float64] | None = None
    examples: NDArray[np.float32] | None = None
    not_finite: NDArray[np.int64] | None = None

    def chart(self) -> Any:
        """Score against strength: the mean over chips with its 95% interval, and the worst chip."""
        level = "95%, Student's" if self.chips > 1 else None
        return against_strength(self, self.rows(), "worst", level)

    @property
    def chips(self) -> int:
        """How many chips."""
        return int(self.values.shape[1])

    def mean(self) -> NDArray[np.float64]:
        """[strength] Mean over chips."""
        return np.asarray(self.values.mean(1))

    def spread(self) -> NDArray[np.float64]:
        """[strength] Standard deviation over chips (n - 1); nan for one chip."""
        if self.chips < 2:
            return np.full(len(self.values), np.nan)
        # Equal numbers may differ from their computed mean in the last place.
        return np.where(np.ptp(self.values, axis=1) == 0, 0.0, self.values.std(1, ddof=1))

    def interval(self, level: float = 0.95) -> list[Interval]:
        """For each strength, Student's interval of the mean over all chips, on these examples. Its
        ends are nan for one chip and for scores that are not finite.
        """
        if self.chips < 2 or not np.isfinite(self.values).all():
            return [Interval(float("nan"), float(mean), float("nan")) for mean in self.mean()]
        return [self._possible(t_interval(row, level)) for row in self.values]

    def _possible(self, interval: Interval) -> Interval:
        """The interval, cut to where the mean can lie: the mean of a fraction is at least 0 and at
        most 1.
        """
        if self.unit != "fraction" or not 0 <= interval.estimate <= 1:
            return interval
        return Interval(max(0.0, interval.low), interval.estimate, min(1.0, interval.high))

    def levels(self, level: float = 0.95) -> list[TwoLevel] | None:
        """For each strength, the mean for new chips *and* new examples, with its components of
        variance.

        For scores that are fractions this is the interval of a share, for others Student's:
        `incorruptible.statistics.two_level` has both. None where the scores of examples were not
        kept or are not finite, and where there is one chip or one example.
        """
        if (
            self.examples is None
            or min(self.examples.shape[1:]) < 2
            or not np.isfinite(self.examples).all()
        ):
            return None
        share = self.unit == "fraction" and self.examples.min() >= 0 and self.examples.max() <= 1
        return [two_level(table, level, share=bool(share)) for table in self.examples]

    def quantile(self, share: float) -> NDArray[np.float64]:
        """[strength] The score that a `share` of these chips does not exceed."""
        return np.asarray(np.quantile(self.values, share, axis=1))

    def tail(self) -> NDArray[np.float64]:
        """[strength] The score that 95% of these chips reach: the 5% quantile, or the 95% quantile
        where lower is better.
        """
        return self.quantile(0.95 if self.higher_is_better is False else 0.05)

    def worst(self) -> NDArray[np.float64]:
        """[strength] The score of the worst chip: the lowest where higher is better, the highest
        where lower is better, and nan where the score does not say which.
        """
        if self.higher_is_better is None:
            return np.full(len(self.values), np.nan)
        return np.asarray(self.values.min(1) if self.higher_is_better else self.values.max(1))

    def overall(self, loss: float = LOSS) -> Overall | None:
        """Area, worst case and tolerance of each chip over the whole range of strengths; None where
        a single strength was measured.

        The tolerance of a chip is the strength up to which the chip loses at most `loss`, in the
        unit of the score.
        """
        return Overall.of(self.values, self.strengths, self.higher_is_better, loss)

    def rows(self, level: float = 0.95) -> list[dict[str, float]]:
        """One plain row for each strength: what the table prints and `--json` gives."""
        columns = zip(
            self.strengths,
            self.equivalent or [float("nan")] * len(self.strengths),
            self.interval(level),
            self.spread(),
            self.tail(),
            self.quantile(0.5),
            self.worst(),
            strict=True,
        )
        rows = [
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
        if self.not_finite is not None:
            rows = [
                {**row, "not_finite": int(count)}
                for row, count in zip(rows, self.not_finite.sum(1), strict=True)
            ]
        return rows

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
            "draws": self.chips,
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
        """One line that says what was measured; a second line has the conditions of a device."""
        reads = f" (read with {self.read})" if self.read else ""
        if self.reads is not None:
            reads = f" x {self.reads.shape[2]} reads ({self.read or 'its own noise'})"
        direction = {
            True: "higher is better",
            False: "lower is better",
            None: "no direction: give a Score",
        }[self.higher_is_better]
        first = (
            f"{self.name} ({self.unit}; {direction}) under {self.corruption} "
            f"[{self.corruption_unit}]; {counted(self.chips)}{reads}, {self._on_examples()}"
        )
        return f"{first}\n{self.conditions}" if self.conditions else first

    def table(self) -> str:
        """The text that the command line prints."""
        lines = [self.header(), _titles(self.not_finite is not None), *self.lines()]
        lines += self.notes()
        low, high = self.peaks
        lines.append(
            f"filter-max: the gaussian-filter-max strength of equal size; max|W_f| from {low:.3g} "
            f"to {high:.3g}"
        )
        lines += self._level_lines()
        overall = self.overall()
        return "\n".join(lines if overall is None else [*lines, "", str(overall)])

    def notes(self) -> list[str]:
        """Lines that say what the columns of the table mean, and what they cannot show."""
        worse = " (95% quantile: lower is better)" if self.higher_is_better is False else ""
        said = [
            f"interval: Student's, of the mean over chips, on these examples; 5%{worse}, median, "
            "worst: of these chips"
        ]
        said += self.unseen(self.spread().tolist())
        if self.not_finite is not None:
            reads = 1 if self.reads is None else self.reads.shape[2]
            total = self.chips * reads * self.n_examples
            said.append(
                f"not finite: so many of {total} answers at each strength; an answer that is not "
                "finite is wrong"
            )
        return said

    def unseen(self, spreads: Sequence[float]) -> list[str]:
        """A line about the chips that were not drawn, where `spreads` [strength] says that all
        chips agree at some strength above 0.
        """
        agree = [sd == 0 and s > 0 for sd, s in zip(spreads, self.strengths, strict=True)]
        if self.chips < 2 or self.corruption_unit.startswith("none") or not any(agree):
            return []
        return [
            f"all the same: where {self.chips} chips are alike, up to "
            f"{min(1.0, 3 / self.chips):.3g} of all chips may be otherwise (95%), and Student's "
            "interval does not see them"
        ]

    def lines(self) -> list[str]:
        """One line of the table for each strength."""
        missing, lines = "not finite" if self.chips > 1 else "needs 2 chips", []
        for row in self.rows():
            cells = (
                f"{row['strength']:g}",
                f"{row['equivalent']:.4g}",
                f"{row['mean']:.4f}",
                _interval(row, missing),
                f"{row['sd']:.4f}" if row["sd"] == row["sd"] else "-",
                *(
                    f"{row[key]:.4f}" if row[key] == row[key] else "-"
                    for key in ("q05", "median", "worst")
                ),
                *([f"{row['not_finite']}"] if "not_finite" in row else []),
            )
            lines.append(
                "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=False))
            )
        return lines

    def _level_lines(self) -> list[str]:
        levels = self.levels()
        if levels is None:
            return []
        titles = (
            "strength",
            "between chips",
            "between examples",
            "interaction",
            "new chips and examples",
        )
        widths = (8, 13, 16, 11, 22)
        lines = [
            "  ".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))
        ]
        for strength, one in zip(self.strengths, levels, strict=True):
            low, _, high = one.interval
            cells = (
                f"{strength:g}",
                *(f"{max(0.0, part) ** 0.5:.4f}" for part in one.components),
                f"{low:.4f} to {high:.4f}",
            )
            lines.append(
                "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
            )
        lines.append(
            "standard deviations of one answer's three parts; 95% interval of the mean, also for "
            "other examples"
        )
        if self.chips < ENOUGH:
            lines.append(
                f"fewer than {ENOUGH} chips: the interval for new chips may miss more than 5% of "
                "the time"
            )
        return lines


def _interval(row: dict[str, float], missing: str) -> str:
    if row["sd"] == 0:
        return "all the same"
    return f"{row['low']:.4f} to {row['high']:.4f}" if row["low"] == row["low"] else missing


_WIDTHS = (8, 10, 7, 17, 7, 7, 7, 7, 10)
_TITLES = (
    *("strength", "filter-max", "mean", "95% interval", "sd"),
    *("5%", "median", "worst", "not finite"),
)


def _titles(not_finite: bool) -> str:
    """The titles of the table's columns. The column "not finite" is there where some answer was not
    finite.
    """
    shown = zip(_TITLES if not_finite else _TITLES[:-1], _WIDTHS, strict=False)
    return "  ".join(f"{title:>{width}}" for title, width in shown)


# ---- The same chips at several times since they were programmed


@dataclass(frozen=True, eq=False, repr=False)
class OverTime(Charted):
    """What `measure` found at each time since programming. Chip k is the same chip at every time.

    In Python, measure a corruption at each time and put the results together:

        times = [seconds("1h"), seconds("1d")]  # from incorruptible.specs.durations
        each = [measure(model, score, data, at_time(corruption, time), [1.0]) for time in times]
        found = OverTime(tuple(times), tuple(each))
    """

    times: tuple[Seconds, ...]
    scores: tuple[Scores, ...]

    @property
    def conditions(self) -> str:
        """The conditions that hold at all times: those of one time, without the time."""
        return self.scores[-1].conditions.replace(
            f"{self.times[-1]} after programming", "at times after programming"
        )

    def chart(self) -> Any:
        """Score against the time after programming, with a line for each strength."""
        from ..plots import Line, Lines

        last, curves = self.scores[-1], []
        # A logarithmic axis has no place for 0 s.
        later = [place for place, time in enumerate(self.times) if time > 0]
        at = [float(self.times[place]) for place in later]
        for k, strength in enumerate(last.strengths):
            rows = [self.scores[place].rows()[k] for place in later]
            band = [row["low"] for row in rows], [row["high"] for row in rows]
            label = f"strength {strength:g}"
            mean = [row["mean"] for row in rows]
            curves.append(Line(at, mean, label, band if last.chips > 1 else None))
        left = " (0 s is left out)" if len(later) < len(self.times) else ""
        band_is = f"; band: 95%, Student's, over chips{left}" if last.chips > 1 else left
        note = (
            f"{last.corruption.replace(f':time={self.times[-1]}', '')}; {self.conditions}; "
            f"{counted(last.chips)}, {last.n_examples} examples{band_is}"
        )
        axes = "time after programming", f"{last.name} ({last.unit})"
        ticks = {float(time): str(time) for time in self.times}
        return Lines("", "", {"": curves}, *axes, note, log_x=True, ticks=ticks)

    def plain(self) -> dict[str, Any]:
        """One entry for each time, as plain data."""
        return {
            "times": [
                {"time": str(time), "seconds": float(time), **one.plain()}
                for time, one in zip(self.times, self.scores, strict=True)
            ]
        }

    def table(self) -> str:
        """The text that the command line prints, with a column for the time."""
        head = self.scores[-1].header().replace(self.scores[-1].conditions, self.conditions)
        titles = _titles(any(one.not_finite is not None for one in self.scores))
        lines = [head.replace(f":time={self.times[-1]}", ""), f"{'time':>8}  {titles}"]
        for time, one in zip(self.times, self.scores, strict=True):
            lines += [f"{time!s:>8}  {line}" for line in one.lines()]
        return "\n".join(
            [
                *lines,
                *dict.fromkeys(note for one in self.scores for note in one.notes()),
            ]
        )
