"""How many of all chips are good enough, and up to which strength."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..corruptions import Corruption
from ..errors import UserError, renamed_arguments
from ..evaluation import Sampling, Scores, measure
from ..evaluation.scoring import ScoreFunction, count_of, refuse_iterators
from ..statistics import Slack, fewest, lower_bound, quantile_rank, slack_for
from ..statistics.given import fraction, inside
from ..tasks.data import batches
from ..weights.arrays import Array, select
from .assumptions import OF_THE_POPULATION, assumptions_of, refuse_unfit
from .certificate import Certificate, StrengthVerdict, fixed_sequence

__all__ = ["ChipYield", "certify", "chips_for"]

_FAILURES = (
    2  # as many chips as may fail by default; each more costs some 16 chips at a yield of .9 and helps true promises
)
_COST, _RISK = (
    1 / 20,
    1 / 5,
)  # of what may be missing from the yield, and of the chance of error: what the population takes


@dataclass(frozen=True, repr=False)
class ChipYield(Certificate):
    """A promise about all chips: at least `min_yield` of them reach `accuracy`, up to the strength that is certified.

    With `slack` it is about the population that the examples come from; else about these examples.
    """

    kind: ClassVar[str] = "chip yield"

    min_yield: float = 0.9
    slack: Slack | None = None

    def claim(self) -> str:
        step = self.passed[-1] if self.passed else self.steps[0]
        begin = "With confidence" if self.granted else "Refused: it was not shown with confidence"
        whom = (
            "the population that the test examples come from" if self.slack else f"this test set ({self._examples()})"
        )
        said = (
            f"{begin} {self.confidence:g}{',' if self.granted else ' that'} at least {self.min_yield:g} of all chips reach "
            f"an {self.assumptions.score} of {self.accuracy:g} or more on {whom} under {self.assumptions.error(step.strength)}: "
            f"{step.hits} of {step.n} chips reached {self._bound(step)}."
        )
        if self.granted or step.holds != step.holds:
            return said
        return (
            f"{said} What the same chips do show, with the same confidence: "
            f"at least {self.min_yield:g} of all chips reach {step.holds:.4f}."
        )

    def covers(self) -> str:
        if self.slack is None:
            return "It covers all chips on these examples, not other examples."
        return "It covers all chips and other examples of the same population."

    def assumed(self) -> str:
        return self.assumptions.sentence(*([OF_THE_POPULATION] if self.slack else []))

    def cells(self, step: StrengthVerdict) -> dict[str, str]:
        cells = {
            "strength": f"{step.strength:g}",
            "chips": f"{step.n}",
            "good": f"{step.hits}",
            "yield at least": f"{step.bound:.4f}",
        }
        if self.slack is None:
            cells[self._reach()] = f"{step.holds:.4f}"
        return cells

    def foot(self) -> str:
        if self.slack is not None:
            return ""
        return f"{self._reach()}: of all chips, at confidence {self.confidence:g} for each line by itself"

    def _reach(self) -> str:
        return f"{self.min_yield:g} of them reach"

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "yield": self.min_yield, "population": self.slack._asdict() if self.slack else None}

    def _examples(self) -> str:
        return f"{self.assumptions.examples} examples"

    def _bound(self, step: StrengthVerdict) -> str:
        if self.slack is None:
            return f"it, so that the yield is at least {step.bound:.4f} (exact, Clopper-Pearson)"
        threshold, sure = self.slack.threshold, self.confidence + self.slack.risk
        return (
            f"{threshold:.4f}, {self.accuracy:g} and a slack of {threshold - self.accuracy:.4f}, on the {self._examples()} of the "
            f"test set, so that the yield is at least {step.bound:.4f} (exact, Clopper-Pearson at confidence {sure:g}, less "
            f"{self.slack.cost:g} for chips that the test set flatters)"
        )


def chips_for(min_yield: float, confidence: float, population: bool = False, failures: int = _FAILURES) -> int:
    """The fewest chips that certify a yield of `min_yield` at that confidence where so many of them fail.

    >>> chips_for(0.9, 0.95), chips_for(0.9, 0.95, failures=0), chips_for(0.99, 0.95)
    (61, 29, 628)
    """
    asked, sure, _, _ = _split(min_yield, confidence, population)
    return fewest(asked, sure, failures)


def _split(min_yield: float, confidence: float, population: bool) -> tuple[float, float, float, float]:
    """The share and the confidence to ask of the chips; the cost and the risk to leave to the test set."""
    inside("yield", min_yield, 0.9)
    inside("confidence", confidence, 0.95)
    cost, risk = ((1 - min_yield) * _COST, (1 - confidence) * _RISK) if population else (0.0, 0.0)
    return min_yield + cost, confidence + risk, cost, risk


@renamed_arguments(share="min_yield", draws="chips")
def certify(
    model: nn.Module,
    score: ScoreFunction,
    data: Iterable[Any],
    corruption: Corruption,
    strengths: Sequence[float],
    *,
    accuracy: float,
    min_yield: float = 0.9,
    confidence: float = 0.95,
    chips: int | None = None,
    population: bool = False,
    seed: int,
    purpose: str = "certify",
    arrays: Sequence[Array] | None = None,
    batchnorm: str = "as-is",
    calibration: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ChipYield:
    """Certify that at least `min_yield` of all chips reach `accuracy`, up to the largest of the strengths that passes.

    Chips are drawn one by one; K of N that reach it bound the yield from below, exactly (`lower_bound`), and strengths are
    tested in increasing order (`fixed_sequence`). N is `chips`; by default the fewest that do where two fail
    (`chips_for`). The chips are those of `purpose`, which `measure` never draws: what was tuned on its chips may be certified.

    With `population` the promise is about the population that the examples come from: chips must reach a threshold above
    `accuracy`, and the yield pays a small cost (`slack_for`); 1/20 of 1 - min_yield, and 1/5 of 1 - confidence. Everything else as
    in `measure`. Raises `UserError` for fractions that are none, for fewer chips than could ever do, for a score that is
    not known to be a fraction of which more is better, and with `population` for one that is not 0 or 1 for each example.
    """
    fraction("accuracy", accuracy, 0.95)
    refuse_unfit(score)
    asked, sure, cost, risk = _split(min_yield, confidence, population)
    n = fewest(asked, sure, _FAILURES) if chips is None else chips
    if n < fewest(asked, sure):
        raise UserError(
            f"{n} chips cannot show a yield of {min_yield:g} at confidence {confidence:g}, even if none fails: "
            f"at least {fewest(asked, sure)} are needed, {fewest(asked, sure, _FAILURES)} where {_FAILURES} may fail."
        )
    sampling = Sampling(corruption, strengths, n, seed, purpose, batchnorm=batchnorm, calibration=calibration)
    arrays = select(model) if arrays is None else arrays
    refuse_iterators(data, sampling)
    data = batches(data, 1024)
    examples = count_of(data)
    slack = slack_for(examples, accuracy, cost, risk) if population else None

    def test(strength: float) -> StrengthVerdict:
        before = sorted(sampling.strengths).index(strength) * n
        scores = measure(
            model,
            score,
            data,
            corruption,
            [strength],
            chips=n,
            seed=seed,
            purpose=purpose,
            arrays=arrays,
            batchnorm=batchnorm,
            calibration=calibration,
            keep_examples=population,
            progress=None if progress is None else lambda done, _: progress(before + done, len(sampling.strengths) * n),
        )
        return _step(scores, accuracy, min_yield, confidence, slack)

    steps = fixed_sequence(sampling.strengths, test)
    return ChipYield(
        assumptions_of(model, sampling, arrays, score, examples), accuracy, confidence, steps, min_yield, slack
    )


def _step(scores: Scores, accuracy: float, share: float, confidence: float, slack: Slack | None) -> StrengthVerdict:
    """How many of these chips are good enough, and what that says of all."""
    if scores.examples is not None and not np.isin(scores.examples, (0, 1)).all():
        raise UserError(
            "a promise about the population needs answers that are right or wrong, 0 or 1, and others came."
        )
    good, n = scores.values[0], scores.chips
    if not ((good >= 0) & (good <= 1)).all():
        raise UserError(f"a yield needs a score between 0 and 1, and {good.min():g} to {good.max():g} came for chips.")
    threshold, cost, risk = (accuracy, 0.0, 0.0) if slack is None else slack[1:]
    hits = int((good >= threshold - 1e-9).sum())  # less than one example, more than rounding
    bound = max(0.0, lower_bound(hits, n, confidence + risk) - cost)
    holds = float("nan") if slack else _reached(good, share, confidence)
    wrong = 0 if scores.not_finite is None else int(scores.not_finite.sum())
    return StrengthVerdict(scores.strengths[0], hits, n, bound, bound >= share, holds, wrong)


def _reached(values: NDArray[np.float64], share: float, confidence: float) -> float:
    """What at least `share` of all chips reach, by an order statistic of these; nan where there are too few."""
    rank = quantile_rank(len(values), 1 - share, confidence)
    return float(np.sort(values)[rank - 1]) if rank else float("nan")
