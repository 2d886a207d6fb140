"""What a study found, as arrays, and the words that rest on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pacbayes.gaussian import Displacement
from ..statistics import Difference, Interval, crossed

# ---- What a study found, as arrays, and the words that rest on it

MARGIN = 0.003  # of scores that are fractions: 0.3 points


class Lacking(Exception):
    """A rule needs an arm that has not come to an end."""


@dataclass(frozen=True, eq=False)
class Arm:
    """What one arm came to under one noise, over its seeds. S seeds, K strengths, C chips, n test
    examples.

    `test`, `test_loss` [S, K, n] score and loss on each test example, averaged over test chips;
    `validation` [S, K] score on validation examples and chips; `chips` [S, K, C] score of each test
    chip. Where the study measures the training part, `train_loss` [S, K, m] loss on each training
    example and `train` [S, K] noisy training score. `metrics` and `at_peak` are the trainings' own
    records; `sign` is -1 where a lower score is better. The weights at a checkpoint of the recipe
    are an arm of their own, of role "checkpoint", named after the arm that they were taken from and
    the place. Where the study asks for bounds, `train_score` and `train_bounded` [S, K, m] are
    score and bounded loss on each training example, the first `seen` of which the starting weights
    depend on, and `displacement` [S] how far training moved the weights. `equivalent` [S, K] is the
    gaussian-filter-max strength whose error is as large on the arm's weights.
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
    held: str = ""  # which arrays are in hardware besides or without the usual ones
    equivalent: NDArray[np.float64] | None = None

    def accuracy(self, strength: float) -> NDArray[np.float64]:
        """[S] Test score at that test strength."""
        return np.asarray(self.test[:, self.index(strength)].mean(-1))

    def index(self, strength: float) -> int:
        """Where that test strength stands among the columns."""
        return self.strengths.index(strength)


@dataclass(frozen=True)
class EvidenceRow:
    """One comparison: where, between what, by how much, and the word for it."""

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
    """What a rule found: one word, and the rows that it rests on."""

    word: str
    rows: tuple[EvidenceRow, ...]


@dataclass(frozen=True)
class Verdict:
    """The word for a claim, and the rows that it rests on."""

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
    """The arm of that name. Raises `Lacking` where it has not come to an end."""
    for arm in arms:
        if arm.name == name:
            return arm
    raise Lacking(f"arm {name!r} is not finished")


def difference(left: Arm, right: Arm, strength: float, margin: float = MARGIN) -> Difference:
    """How far `left` is ahead at that test strength, over crossed seeds and examples; above 0 is
    better.
    """
    k = left.index(strength)
    return crossed(left.sign * (left.test[:, k] - right.test[:, k]), margin=margin)


def best(arms: Sequence[Arm], strength: float) -> Arm:
    """The arm of the best mean validation score at that strength; of equal ones the first."""
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
    """Raises `Lacking` for scores of which ten points mean nothing: failing is judged by a fraction
    of right answers.
    """
    if strange := next((arm for arm in arms if arm.unit != "points" or arm.sign != 1), None):
        raise Lacking(
            "whether training fails is judged by a fraction of right answers; the score is in "
            f"{strange.unit}"
        )


def numbers(interval: Interval) -> str:
    """Any other interval."""
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


# ---- One training for every test strength: which of its checkpoints each strength is served by


class Served(NamedTuple):
    """The score on each test example [S, n] of the checkpoint that each seed chose, and how many
    seeds chose which.
    """

    test: NDArray[np.float64]
    picks: str


def served(arms: Sequence[Arm], run: str, strength: float) -> Served:
    """What the training `run` comes to at that test strength: for each seed the best of its
    checkpoints, the last weights among them, by the seed's own score on validation data; of equal
    ones the latest. Raises `Lacking` where it is not finished.
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


def matching(arms: Sequence[Arm], pattern: str) -> list[Arm]:
    """The arms that a pattern names, checkpoints left out. Raises `Lacking` where there is none."""
    found = [arm for arm in arms if arm.role != "checkpoint" and fnmatchcase(arm.name, pattern)]
    if not found:
        raise Lacking(f"no arm {pattern!r} is finished")
    return found
