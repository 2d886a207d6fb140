"""How many of all chips are good enough, and up to which strength."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..corruptions import Corruption
from ..errors import UserError, renamed_arguments
from ..evaluation import Scores, measure
from ..evaluation.sampling import Sampling, SamplingOptions, sampling_of
from ..evaluation.scoring import ScoreFunction, count_of, refuse_iterators
from ..statistics import Slack, fewest, lower_bound, quantile_rank, slack_for
from ..statistics.given import fraction, inside
from ..tasks.data import batches
from ..weights.arrays import select
from .assumptions import (
    OF_THE_POPULATION,
    assumptions_of,
    refuse_undirected,
    refuse_unfit,
    refuse_unstated,
)
from .certificate import Certificate, StrengthVerdict, fixed_sequence

__all__ = ["ChipYield", "certify", "chips_for"]

# By default so many chips may fail. Each further one costs some 16 chips at a yield of .9, and makes
# it likelier that a true promise is granted.
_FAILURES = 2
# What a promise about the population costs: this share of what may be missing from the yield, and
# this share of the chance of error.
_COST, _RISK = 1 / 20, 1 / 5


@dataclass(frozen=True, repr=False, eq=False)
class ChipYield(Certificate):
    """A promise about all chips: at least `min_yield` of them reach `accuracy`, up to the strength
    that is certified.

    For another score than an accuracy, `accuracy` holds the threshold in the score's unit, which a
    good chip's score is not on the wrong side of. With `slack` it is about the population that the
    examples come from; else about these examples.
    """

    kind: ClassVar[str] = "chip yield"

    min_yield: float = 0.9
    slack: Slack | None = None

    @property
    def is_accuracy(self) -> bool:
        """Whether the score is a fraction of which more is better, and no other with a threshold in
        its own unit.
        """
        return self.assumptions.score_unit == "fraction" and self.assumptions.higher_is_better

    def claim(self) -> str:
        step = self.passed[-1] if self.passed else self.steps[0]
        begin = "With confidence" if self.granted else "Refused: it was not shown with confidence"
        whom = (
            "the population that the test examples come from"
            if self.slack
            else f"this test set ({self._examples()})"
        )
        said = (
            f"{begin} {self.confidence:g}{',' if self.granted else ' that'} at least "
            f"{self.min_yield:g} of all chips {self._good_chips()} on {whom} under "
            f"{self.assumptions.error(step.strength)}: {step.hits} of {step.n} chips reached "
            f"{self._bound(step)}."
        )
        if self.granted or step.holds != step.holds:
            return said
        return (
            f"{said} What the same chips do show, with the same confidence: "
            f"at least {self.min_yield:g} of all chips reach {self._level(step.holds)}."
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
            cells[self._reach()] = self._level(step.holds)
        return cells

    def foot(self) -> str:
        if self.slack is not None:
            return ""
        return (
            f"{self._reach()}: of all chips, at confidence {self.confidence:g} for each line by "
            "itself"
        )

    def _reach(self) -> str:
        return f"{self.min_yield:g} of them reach"

    def plain(self) -> dict[str, Any]:
        found = super().plain()
        if not self.is_accuracy:
            found["threshold"] = found.pop("accuracy")
        return {
            **found,
            "yield": self.min_yield,
            "population": self.slack._asdict() if self.slack else None,
        }

    def _good_chips(self) -> str:
        """What a good chip does, as it stands in a sentence."""
        score, more = self.assumptions.score, self.assumptions.higher_is_better
        if self.is_accuracy:
            return f"reach an {score} of {self.accuracy:g} or more"
        unit = (
            "" if self.assumptions.score_unit == "fraction" else f" {self.assumptions.score_unit}"
        )
        return f"have a {score} of {self.accuracy:g}{unit} or {'more' if more else 'less'}"

    def _level(self, value: float) -> str:
        return f"{value:.4f}" if self.is_accuracy else f"{value:.4g}"

    def _examples(self) -> str:
        return f"{self.assumptions.examples} examples"

    def _bound(self, step: StrengthVerdict) -> str:
        if self.slack is None:
            return f"it, so that the yield is at least {step.bound:.4f} (exact, Clopper-Pearson)"
        threshold, sure = self.slack.threshold, self.confidence + self.slack.risk
        return (
            f"{threshold:.4f}, {self.accuracy:g} and a slack of {threshold - self.accuracy:.4f}, "
            f"on the {self._examples()} of the test set, so that the yield is at least "
            f"{step.bound:.4f} (exact, Clopper-Pearson at confidence {sure:g}, less "
            f"{self.slack.cost:g} for chips that the test set flatters)"
        )


def chips_for(
    min_yield: float, confidence: float, population: bool = False, failures: int = _FAILURES
) -> int:
    """The fewest chips that certify a yield of `min_yield` at that confidence where so many of them
    fail.

    >>> chips_for(0.9, 0.95), chips_for(0.9, 0.95, failures=0), chips_for(0.99, 0.95)
    (61, 29, 628)
    """
    asked, sure, _, _ = _split(min_yield, confidence, population)
    return fewest(asked, sure, failures)


def _split(
    min_yield: float, confidence: float, population: bool
) -> tuple[float, float, float, float]:
    """The share and the confidence to ask of the chips; the cost and the risk to leave to the test
    set.
    """
    inside("yield", min_yield, 0.9)
    inside("confidence", confidence, 0.95)
    cost, risk = ((1 - min_yield) * _COST, (1 - confidence) * _RISK) if population else (0.0, 0.0)
    return min_yield + cost, confidence + risk, cost, risk


@renamed_arguments(share="min_yield", draws="chips", corruption="sampling")
def certify(
    model: nn.Module,
    score: ScoreFunction,
    data: Iterable[Any],
    sampling: Sampling | Corruption | str,
    strengths: Sequence[float] | None = None,
    *,
    accuracy: float | None = None,
    threshold: float | None = None,
    min_yield: float = 0.9,
    confidence: float = 0.95,
    population: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[SamplingOptions],
) -> ChipYield:
    """Certify that at least `min_yield` of all chips reach `accuracy`, up to the largest of the
    strengths that passes.

    `sampling` says which chips: a `Sampling`, or a corruption, its `strengths` and the `options` of a
    `Sampling`. N chips are made one by one; K of them that reach the accuracy bound the yield from
    below, exactly (`lower_bound`), and strengths are tested in increasing order (`fixed_sequence`).
    Unless given, N is the fewest chips that do where two fail (`chips_for`). The chips are those of
    the purpose "certify", which `measure` never makes: what was tuned on the chips of `measure` may
    be certified.

    Either `accuracy` is given, for a score that is a fraction of which more is better, or
    `threshold`, in the score's unit, for any `Score`: a chip is good where its mean score is
    `threshold` or better, above it where more is better and below it where less is (a mean squared
    error of at most .02, say). A chip whose mean is not finite is not good.

    With `population` the promise is about the population that the examples come from. Then chips must
    reach a threshold above `accuracy`, and the yield pays a small cost (`slack_for`): 1/20 of
    1 - min_yield, and 1/5 of 1 - confidence. `progress` is as in `measure`.

    Raises `UserError` as `measure` does, and for fractions that are none, for fewer chips than could
    ever do, for several reads of a chip, for a score that does not fit, and with `population` for a
    score that is not 0 or 1 for each example.
    """
    level = _asked_level(score, accuracy, threshold, population)
    asked, sure, cost, risk = _split(min_yield, confidence, population)
    sampling = sampling_of(
        sampling, strengths, options, chips=fewest(asked, sure, _FAILURES), purpose="certify"
    )
    refuse_unstated(sampling)
    n = sampling.chips
    if n < fewest(asked, sure):
        raise UserError(
            f"{n} chips cannot show a yield of {min_yield:g} at confidence {confidence:g}, even if "
            f"none fails: at least {fewest(asked, sure)} are needed, "
            f"{fewest(asked, sure, _FAILURES)} where {_FAILURES} may fail."
        )
    arrays = select(model) if sampling.arrays is None else sampling.arrays
    refuse_iterators(data, sampling)
    data = batches(data, 1024)
    examples = count_of(data)
    slack = slack_for(examples, level, cost, risk) if population else None
    rising = sorted(sampling.strengths)

    def test(strength: float) -> StrengthVerdict:
        done_before = rising.index(strength) * n
        scores = measure(
            model,
            score,
            data,
            replace(sampling, strengths=[strength]),
            keep_examples=population,
            progress=progress and (lambda done, _: progress(done_before + done, len(rising) * n)),
        )
        return _step(scores, level, threshold is not None, min_yield, confidence, slack)

    steps = fixed_sequence(sampling.strengths, test)
    return ChipYield(
        assumptions_of(model, sampling, arrays, score, examples),
        level,
        confidence,
        steps,
        min_yield,
        slack,
    )


def _asked_level(
    score: ScoreFunction, accuracy: float | None, threshold: float | None, population: bool
) -> float:
    """What a chip must reach. Raises `UserError` unless exactly one of the two is given, and for a
    score that does not fit it.
    """
    if (accuracy is None) == (threshold is None):
        raise UserError(
            "certify takes either accuracy=0.95 (--accuracy 0.95), a fraction that chips must "
            "reach, or threshold=X (--threshold X), in the unit of the score; and not both."
        )
    if accuracy is not None:
        fraction("accuracy", accuracy, 0.95)
        refuse_unfit(score)
        return accuracy
    assert threshold is not None
    refuse_undirected(score)
    if not math.isfinite(threshold):
        raise UserError(
            f"threshold is {threshold:g}; a finite number in the unit of the score is needed."
        )
    if population:
        raise UserError(
            "a promise about the population needs answers that are right or wrong, so it takes "
            "accuracy=... and no threshold=..."
        )
    return float(threshold)


def _step(
    scores: Scores,
    level: float,
    any_score: bool,
    share: float,
    confidence: float,
    slack: Slack | None,
) -> StrengthVerdict:
    """How many of these chips are good enough, and what that says of all; `any_score` where it need
    not be a fraction.
    """
    if scores.examples is not None and not np.isin(scores.examples, (0, 1)).all():
        raise UserError(
            "a promise about the population needs answers that are right or wrong, 0 or 1, and "
            "others came."
        )
    good, n = scores.values[0], scores.chips
    if not any_score and not ((good >= 0) & (good <= 1)).all():
        raise UserError(
            f"a yield needs a score between 0 and 1, and {good.min():g} to {good.max():g} came for "
            "chips."
        )
    threshold, cost, risk = (level, 0.0, 0.0) if slack is None else slack[1:]
    sign = -1.0 if scores.higher_is_better is False else 1.0
    rounding = 1e-9 * max(1.0, abs(threshold))  # less than one example of an accuracy
    hits = int((sign * good >= sign * threshold - rounding).sum())
    bound = max(0.0, lower_bound(hits, n, confidence + risk) - cost)
    holds = float("nan") if slack else sign * _reached(sign * good, share, confidence)
    wrong = 0 if scores.not_finite is None else int(scores.not_finite.sum())
    return StrengthVerdict(scores.strengths[0], hits, n, bound, bound >= share, holds, wrong)


def _reached(values: NDArray[np.float64], share: float, confidence: float) -> float:
    """What at least `share` of all chips reach, by an order statistic of these; nan where there are
    too few.

    More is better here. A chip whose value is not finite reaches nothing.
    """
    rank = quantile_rank(len(values), 1 - share, confidence)
    reached = np.where(np.isnan(values), -np.inf, values)
    return float(np.sort(reached)[rank - 1]) if rank else float("nan")
