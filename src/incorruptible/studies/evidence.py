"""The evidence of a study: its arms as arrays, and the rows and words of verdicts that rest on
them.

A rule (`rules`) looks at arms, compares them, and returns a `Judgement`: one word, and the rows
that support the word. Rules share the helpers of this module, so that "the best arm" or "the arm of
this name" means the same in each of them.

Relies on: arms that are compared have scores of the same test examples, in the same order, so their
difference is taken example by example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pacbayes.gaussian import Displacement
from ..statistics import Difference, Interval, crossed, verdict

MARGIN = 0.003  # of scores that are fractions: 0.3 points


class Shown(NamedTuple):
    """How the scores of a unit are shown to people: multiplied by `factor`, with `places` digits
    behind the point, in `unit`. Their differences are in `points`.
    """

    factor: int
    places: int
    unit: str
    points: str

    def half(self, interval: Interval, mark: str = " ± ") -> str:
        """An estimate, `mark`, and half of its interval."""
        estimate, half = (self.factor * one for one in (interval.estimate, interval.half))
        return f"{estimate:.{self.places}f}{mark}{half:.{self.places}f}"


def shown_in(unit: str) -> Shown:
    """Fractions are shown as percent, and their differences in points; other units as they are.

    >>> shown_in("fraction").half(Interval(0.91, 0.93, 0.95)), shown_in("nats").points
    ('93.00 ± 2.00', 'nats')
    """
    return Shown(100, 2, "%", "points") if unit == "fraction" else Shown(1, 3, unit, unit)


class Lacking(Exception):
    """A rule needs an arm that is not finished, or scores that this study does not have."""


@dataclass(frozen=True, eq=False)
class Arm:
    """The results of one arm under one noise, over its seeds.

    In brackets: S seeds, K strengths, C chips, n test examples, m training examples.

    - `test`, `test_loss` [S, K, n]: score and loss on each test example, averaged over test chips.
    - `validation` [S, K]: score on validation examples and chips.
    - `chips` [S, K, C]: score of each test chip.
    - `train_loss` [S, K, m], `train` [S, K]: loss on each training example, and score on training
      data, both on noisy chips. None unless the study measures the training part.
    - `metrics`, `at_peak` [S]: the records of the trainings.
    - `train_score`, `train_bounded` [S, K, m]: score and bounded loss on each training example, if
      the study asks for bounds. The starting weights depend on the first `seen` of the examples.
    - `displacement` [S]: how far training moved the weights, if the study asks for bounds.
    - `equivalent` [S, K]: the gaussian-filter-max strength whose error is as large on the arm's
      weights.
    - `sign`: 1 if a higher score is better, -1 if a lower one is.

    The weights at a checkpoint of the recipe are an arm of their own, of role "checkpoint". Its
    name is that of the arm it was taken from, with the place.
    """

    name: str
    kind: str  # plain, rwp, sam, sam-metric
    schedule: str  # constant, linear, ...
    peak: float
    strengths: tuple[float, ...]
    test: NDArray[np.float64]
    test_loss: NDArray[np.float64]
    validation: NDArray[np.float64]
    chips: NDArray[np.float64]
    train_loss: NDArray[np.float64] | None = None
    train: NDArray[np.float64] | None = None
    metrics: tuple[Sequence[Mapping[str, Any]], ...] = ()
    at_peak: tuple[Mapping[str, Any] | None, ...] = ()
    train_score: NDArray[np.float64] | None = None
    train_bounded: NDArray[np.float64] | None = None
    displacement: tuple[Displacement, ...] = ()
    seen: int = 0
    role: str = "candidate"  # or control, clipped, double, ...
    sign: int = 1
    unit: str = "points"
    task: str = ""
    held: str = ""  # in words: which arrays are in hardware besides the usual ones, or digital
    equivalent: NDArray[np.float64] | None = None

    def accuracy(self, strength: float) -> NDArray[np.float64]:
        """[S] Test score at that test strength."""
        return np.asarray(self.test[:, self.index(strength)].mean(-1))

    def index(self, strength: float) -> int:
        """The place of that test strength among the K strengths."""
        return self.strengths.index(strength)


@dataclass(frozen=True)
class EvidenceRow:
    """One comparison: which question, at which strength, between which arms, the difference, and
    the word for it.
    """

    question: str
    at: str
    left: str
    right: str
    difference: Difference | None
    word: str
    note: str = ""
    unit: str = "points"

    def plain(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "question": self.question,
            "at": self.at,
            "left": self.left,
            "right": self.right,
        }
        if self.difference is not None:
            d = self.difference
            found |= {
                "difference": d.interval.estimate,
                "low": d.interval.low,
                "high": d.interval.high,
                "p": d.p,
                "equivalence_p": d.equivalence,
                "n": list(d.n),
            }
        return found | {
            "unit": "fraction" if self.unit == "points" else self.unit,
            "word": self.word,
            "note": self.note,
        }


@dataclass(frozen=True)
class Judgement:
    """The answer of a rule: one word, and the rows that the word rests on."""

    word: str
    rows: tuple[EvidenceRow, ...]


@dataclass(frozen=True)
class Verdict:
    """The word for a claim, and the rows that the word rests on."""

    claim: str
    text: str
    word: str
    rows: tuple[EvidenceRow, ...]

    def plain(self) -> dict[str, Any]:
        """As the summary keeps it."""
        return {
            "claim": self.text,
            "verdict": self.word,
            "rows": [row.plain() for row in self.rows],
        }


def named(arms: Iterable[Arm], name: str) -> Arm:
    """The arm of that name. Raises `Lacking` if the arm is not finished."""
    for arm in arms:
        if arm.name == name:
            return arm
    raise Lacking(f"arm {name!r} is not finished")


def difference(
    left: Arm, right: Arm, strength: float, margin: float = MARGIN, statistic: str = "score"
) -> Difference:
    """How far `left` is ahead of `right` at that test strength, over crossed seeds and examples.
    Above 0, `left` is better, also if lower scores are.

    The statistic is the "score", or the "loss" on the test examples.
    """
    k = left.index(strength)
    if statistic == "loss":
        return crossed(right.test_loss[:, k] - left.test_loss[:, k], margin=margin)
    return crossed(left.sign * (left.test[:, k] - right.test[:, k]), margin=margin)


def duel(
    question: str,
    ours: Sequence[Arm],
    theirs: Sequence[Arm],
    strengths: Sequence[float],
    margin: float = MARGIN,
    statistic: str = "score",
) -> list[EvidenceRow]:
    """One row for each strength: the best of `ours` against the best of `theirs`.

    Validation at that very strength chooses both arms. Words come after Holm's correction over the
    strengths, and "equivalent" means a difference within `margin`. With the statistic "loss" the
    loss on the test examples, in nats, takes the place of the score.
    """
    pairs = [(s, best(ours, s), best(theirs, s)) for s in strengths]
    gaps = [difference(left, right, s, margin, statistic) for s, left, right in pairs]
    return [
        EvidenceRow(
            question,
            f"{s:g}",
            left.name,
            right.name,
            gap,
            word,
            unit="nats" if statistic == "loss" else left.unit,
        )
        for (s, left, right), gap, word in zip(pairs, gaps, verdict(gaps), strict=True)
    ]


def matching(arms: Sequence[Arm], *patterns: str) -> list[Arm]:
    """The arms whose name one of the patterns matches. Raises `Lacking` where there is none.

    A checkpoint of a run is an arm of its own only for a pattern with @ in it, or for its own name.
    """
    found = [
        arm
        for arm in arms
        if arm.name in patterns
        or any(
            fnmatchcase(arm.name, one) and ("@" in one or arm.role != "checkpoint")
            for one in patterns
        )
    ]
    if not found:
        raise Lacking(f"no arm {' or '.join(map(repr, patterns))} is finished")
    return found


def best(arms: Sequence[Arm], strength: float) -> Arm:
    """The arm with the best mean validation score at that strength; of equal arms the first."""
    return max(
        arms, key=lambda arm: arm.sign * float(arm.validation[:, arm.index(strength)].mean())
    )


def constants(arms: Sequence[Arm], method: str) -> list[Arm]:
    """The candidates of that method whose strength is constant, weakest first."""
    return sorted(
        (
            a
            for a in arms
            if a.kind == method and a.schedule == "constant" and a.role == "candidate"
        ),
        key=lambda a: a.peak,
    )


def said(interval: Interval, unit: str) -> str:
    """A difference of scores with its unit: fractions in points."""
    factor, places = (100, 2) if unit == "points" else (1, 3)
    low, middle, high = (f"{factor * one:+.{places}f}" for one in interval)
    return f"{middle} ({low} to {high}) {unit}"


def refuse_other_units(arms: Iterable[Arm]) -> None:
    """Raises `Lacking` for arms whose score is no fraction of right answers: whether a training
    fails is judged by a loss of ten points.
    """
    if strange := next((arm for arm in arms if arm.unit != "points" or arm.sign != 1), None):
        raise Lacking(
            "whether training fails is judged by a fraction of right answers; the score is in "
            f"{strange.unit}"
        )


def numbers(interval: Interval) -> str:
    """An interval of a quantity other than scores."""
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


# ---- One training for all test strengths: which of its checkpoints serves each strength


class Served(NamedTuple):
    """The score on each test example [S, n] of the checkpoint that each seed chose, and in words
    how many seeds chose which checkpoint.
    """

    test: NDArray[np.float64]
    picks: str


def served(arms: Sequence[Arm], run: str, strength: float) -> Served:
    """The scores of the arm named `run` at that test strength, if each seed uses the checkpoint
    with the best score on validation data. The last weights count as a checkpoint too, and of equal
    checkpoints the latest is used. Raises `Lacking` if the arm is not finished.
    """
    own = [
        arm
        for arm in arms
        if arm.name == run or (arm.role == "checkpoint" and arm.name.startswith(f"{run} @"))
    ]
    if not own:
        raise Lacking(f"arm {run!r} is not finished")
    last, *rest = own
    own = [last, *reversed(rest)]
    k = last.index(strength)
    validation = np.array([arm.sign * arm.validation[:, k] for arm in own])
    best = validation.argmax(0)
    counts = Counter(
        "the end" if one == 0 else own[one].name.removeprefix(f"{run} ") for one in best
    )
    picks = (
        ", ".join(f"{name} by {count}" for name, count in counts.most_common())
        if len(own) > 1
        else ""
    )
    return Served(np.array([own[one].test[seed, k] for seed, one in enumerate(best)]), picks)
