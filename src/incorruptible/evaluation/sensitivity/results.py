"""The result of `sensitivity`: losses of layers that were corrupted alone, gains of layers that
were kept digital, and the text that people read.

Relies on: the scores of all groups are of the same chips, in the same order, so that differences
are paired. Keeps: a loss is positive where the score became worse, and a gain where it became
better, whichever direction the score has; p-values are adjusted (Holm) over all losses and gains
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...statistics import Difference, Interval, holm, paired
from .. import Scores
from ..base import Drawn, counted

# ---- Numbers

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class GroupScores:
    """Arrays that were corrupted or kept together: a layer, a block, or what a pattern names.

    `weights` is the number of weights in the group, and `share` their share of all weights in
    arrays. `alone` [chip] is the score of each chip with this group corrupted and all others
    digital; it is None for a pattern. `kept` [chip] is the score with this group digital and all
    others corrupted.
    """

    name: str
    arrays: tuple[str, ...]
    weights: int
    share: float
    alone: NDArray[np.float64] | None
    kept: NDArray[np.float64]


class Effect(NamedTuple):
    """What one group does to the mean score, in the unit of the score: a loss, which is positive
    for the worse, or a gain, which is positive for the better.

    `difference` is paired over chips. `adjusted` is its p-value after Holm, over every loss and
    gain of the result. `tail` is the gain of the score that 95% of the chips reach, and `worst` the
    gain of the worst chip; both are nan for a loss.
    """

    group: GroupScores
    difference: Difference
    adjusted: float
    tail: float
    worst: float

    @property
    def rate(self) -> float:
        """The effect over the share of the weights: what all weights together would do if each did
        as much.
        """
        return self.difference.interval.estimate / self.group.share

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        low, estimate, high = self.difference.interval
        return {
            "name": self.group.name,
            "arrays": list(self.group.arrays),
            "weights": self.group.weights,
            "share": self.group.share,
            "mean": estimate,
            "low": low,
            "high": high,
            "p": self.difference.p,
            "p_holm": self.adjusted,
            "per_share": self.rate,
            "tail": self.tail,
            "worst": self.worst,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity(Drawn):
    """What `sensitivity` found.

    `groups` are the layers or blocks, in the order of the network, and `patterns` what
    `what_if_digital` asked for. `clean` is the score with every array digital, `together` with
    every array corrupted, as `measure` gives it; its chips are those of every group.
    """

    by: str
    clean: float
    together: Scores
    groups: tuple[GroupScores, ...]
    patterns: tuple[GroupScores, ...]

    def figure(self) -> Any:
        """Two panels: what each layer loses when it is corrupted alone, and what is gained by
        keeping it digital.
        """
        from ...plots import effects

        losses, gains = self.losses(), self.gains()
        extra, one = len(gains) - len(losses), self.together
        nothing = Interval(*[float("nan")] * 3)  # patterns are not corrupted alone
        lost = [*(effect.difference.interval for effect in losses), *[nothing] * extra]
        held = f"{one.conditions}; " if one.conditions else ""
        note = (
            f"{one.corruption}, strength {one.strengths[0]:g}; {held}{counted(one.chips)}, "
            f"{one.n_examples} examples ({one.purpose}), BatchNorm {one.batchnorm}; clean "
            f"{self.clean:.4f}, all corrupted {self.joint.mean():.4f}; whiskers: 95%, Student's, "
            "paired over chips, each by itself"
        )
        panels = {
            f"lost, corrupted alone: {one.name} ({one.unit})": lost,
            f"gained, kept digital: {one.name} ({one.unit})": [
                effect.difference.interval for effect in gains
            ],
        }
        return effects([effect.group.name for effect in gains], panels, note, marked=extra)

    @property
    def joint(self) -> NDArray[np.float64]:
        """[chip] The score of each chip with every array corrupted."""
        return np.asarray(self.together.values[0])

    @property
    def _sign(self) -> int:
        return 1 if self.together.higher_is_better else -1

    def loss(self) -> Difference:
        """What the mean score loses, against the clean score, where every array is corrupted."""
        return self._lost(self.joint)

    def interaction(self) -> Difference:
        """The joint loss less the sum of the losses of all groups alone, paired over chips. It is 0
        where losses just add up.
        """
        each = [
            self._sign * (self.clean - group.alone)
            for group in self.groups
            if group.alone is not None
        ]
        return paired(self._sign * (self.clean - self.joint), np.sum(each, axis=0), LEVEL)

    def losses(self) -> list[Effect]:
        """For each layer or block, in the order of the network, what is lost against the clean
        score where that layer alone is corrupted.
        """
        return self._effects()[0]

    def gains(self) -> list[Effect]:
        """For each layer or block, then for each pattern, what is gained over the joint corruption
        where those arrays are kept digital.
        """
        return self._effects()[1]

    def _lost(self, values: NDArray[np.float64]) -> Difference:
        return paired(np.full_like(values, self._sign * self.clean), self._sign * values, LEVEL)

    def _effects(self) -> tuple[list[Effect], list[Effect]]:
        kept = [*self.groups, *self.patterns]
        lost = [self._lost(group.alone) for group in self.groups if group.alone is not None]
        won = [paired(self._sign * group.kept, self._sign * self.joint, LEVEL) for group in kept]
        adjusted = holm([one.p for one in [*lost, *won]]).tolist()
        before = self._tail(self.joint)
        nothing = float("nan")
        losses = [
            Effect(group, one, p, nothing, nothing)
            for group, one, p in zip(self.groups, lost, adjusted, strict=False)
        ]
        gains = [
            Effect(group, one, p, *(float(after) for after in self._tail(group.kept) - before))
            for group, one, p in zip(kept, won, adjusted[len(lost) :], strict=True)
        ]
        return losses, gains

    def _tail(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The 5% quantile and the worst chip, of the score turned so that more is better."""
        return np.array([np.quantile(self._sign * values, 0.05), (self._sign * values).min()])

    def plain(self) -> dict[str, Any]:
        """Everything that is printed, and the score of every chip, as plain data."""
        found = self.together.plain()
        loss, interaction = self.loss(), self.interaction()
        keys = [
            "corruption",
            "unit",
            "score",
            "score_unit",
            "higher_is_better",
            "draws",
            "examples",
            "seed",
            "purpose",
            "batchnorm",
        ]
        return {
            **{key: found[key] for key in keys},
            "strength": self.together.strengths[0],
            "by": self.by,
            "weights": sum(group.weights for group in self.groups),
            "level": LEVEL,
            "clean": self.clean,
            "joint": {"score": float(self.joint.mean()), **_plain(loss), "values": self.joint},
            "interaction": _plain(interaction),
            "losses": [{**one.plain(), "values": one.group.alone} for one in self.losses()],
            "gains": [{**one.plain(), "values": one.group.kept} for one in self.gains()],
        }

    def table(self) -> str:
        """The text that the command line prints: losses and gains, the largest first, what the
        losses add up to, and how to read the columns.
        """
        return _table(self)


def _plain(one: Difference) -> dict[str, float]:
    return {
        "mean": one.interval.estimate,
        "low": one.interval.low,
        "high": one.interval.high,
        "p": one.p,
    }


# ---- Text

_NUMBERS = ("weights", "share")
_LOSS = ("loss", "95% interval", "p (Holm)", "per 1%")
_GAIN = ("gain", "95% interval", "p (Holm)", "per 1%", "5%", "worst")
_WIDTHS = {"95% interval": 18, "weights": 10, "share": 6, "p (Holm)": 8}


def _table(found: Sensitivity) -> str:
    together, loss, interaction = (
        found.together,
        found.loss().interval,
        found.interaction().interval,
    )
    what = "layer" if found.by == "layer" else found.by
    first, *held = together.header().splitlines()
    gains = sorted(found.gains(), key=_size)
    width = max(len("kept digital, all else corrupted"), *(len(one.group.name) for one in gains))
    total = sum(one.group.weights for one in found.losses())
    singles = loss.estimate - interaction.estimate
    return "\n".join(
        [
            f"{first}, strength {together.strengths[0]:g}, by {what}",
            *held,
            f"clean {found.clean:.4f}; all {total:,} weights corrupted {found.joint.mean():.4f}: a "
            f"loss of {_of(loss)}",
            "",
            _line(f"{'corrupted alone':<{width}}", (*_NUMBERS, *_LOSS)),
            *(_row(one, width, _LOSS) for one in sorted(found.losses(), key=_size)),
            f"their sum {singles:.4f}; the joint loss is {_more(interaction)}",
            "",
            _line(f"{'kept digital, all else corrupted':<{width}}", (*_NUMBERS, *_GAIN)),
            *(_row(one, width, _GAIN) for one in gains),
            "interval: Student's, of a mean paired over chips, on these examples, each row by "
            "itself",
            "p (Holm): of no loss or gain at all, over all rows of both tables; share and per 1%: "
            "of these weights",
            "5%, worst: gain in the 5% quantile and in the worst of these chips",
        ]
    )


def _size(one: Effect) -> float:
    return -one.difference.interval.estimate


def _row(one: Effect, width: int, titles: Sequence[str]) -> str:
    mean, interval = one.difference.interval.estimate, one.difference.interval
    cells = {
        "weights": f"{one.group.weights:,}",
        "share": f"{one.group.share:.1%}",
        "loss": f"{mean:.4f}",
        "gain": f"{mean:.4f}",
        "95% interval": f"{interval.low:.4f} to {interval.high:.4f}",
        "p (Holm)": f"{one.adjusted:.3f}" if one.adjusted >= 0.001 else "<.001",
        "per 1%": f"{one.rate / 100:.2g}",
        "5%": f"{one.tail:.4f}",
        "worst": f"{one.worst:.4f}",
    }
    return _line(
        f"{one.group.name:<{width}}",
        [cells[title] for title in (*_NUMBERS, *titles)],
        (*_NUMBERS, *titles),
    )


def _line(name: str, cells: Sequence[str], titles: Sequence[str] | None = None) -> str:
    widths = [_WIDTHS.get(title, 7) for title in titles or cells]
    return "  ".join(
        [name, *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))]
    )


def _of(one: Interval) -> str:
    return f"{one.estimate:.4f} ({one.low:.4f} to {one.high:.4f})"


def _more(one: Interval) -> str:
    size = f"{abs(one.estimate):.4f}"
    low, high = sorted((abs(one.low), abs(one.high)))
    if one.low > 0:
        return f"{size} ({low:.4f} to {high:.4f}) more than that"
    if one.high < 0:
        return f"{size} ({low:.4f} to {high:.4f}) less than that"
    return f"not told apart from it: {one.estimate:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
