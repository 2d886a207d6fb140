"""Certificates of a yield: how many of all chips are good enough, and up to which strength.

Relies on: the chips are new ones (purpose "certify"), independent, and each chip is one trial that
is good or not. Keeps: a chip counts as good only if its score is finite and on the right side of
the level that was asked for.
"""

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
from ..tasks.scores import score_of
from ..weights.arrays import select
from .assumptions import (
    OF_THE_POPULATION,
    assumptions_of,
    refuse_undirected,
    refuse_unfit,
    refuse_unstated,
)
from .certificate import Certificate, StrengthVerdict, fixed_sequence

# So many chips may fail by default. Allowing one more failure costs some 16 chips at a yield of .9,
# and makes it more likely that a true promise is granted.
_FAILURES = 2
# A promise about the population costs this share of 1 - min_yield, and this share of
# 1 - confidence.
_COST, _RISK = 1 / 20, 1 / 5


@dataclass(frozen=True, repr=False, eq=False)
class ChipYield(Certificate):
    """A promise about all chips: at least the share `min_yield` of them reaches `accuracy`, up to
    the certified strength.

    If the score is not an accuracy, `accuracy` holds the threshold in the score's unit, and a good
    chip's score lies on the right side of it. With `slack` the promise is about the population that
    the examples come from; without, it is about these examples.
    """

    kind: ClassVar[str] = "chip yield"

    min_yield: float = 0.9
    slack: Slack | None = None

    @property
    def is_accuracy(self) -> bool:
        """Whether the score is a fraction of which more is better. Other scores have a threshold in
        their own unit.
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
        if self.granted or math.isnan(step.holds):
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
        """The title of the column with the score that the required share of all chips reaches."""
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
        """What a good chip does, as part of a sentence."""
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
        return f"{self.assumptions.examples} example{'s' * (self.assumptions.examples != 1)}"

    def _bound(self, step: StrengthVerdict) -> str:
        """What the good chips reached and the bound that follows, as part of a sentence."""
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
    """The fewest chips that certify a yield of `min_yield` at `confidence` if `failures` of them
    fail.

    With `population` for a promise about the population, which takes more chips. Raises `UserError`
    for a yield or confidence outside (0, 1).

    >>> chips_for(0.9, 0.95), chips_for(0.9, 0.95, failures=0), chips_for(0.99, 0.95)
    (61, 29, 628)
    """
    asked, sure, _, _ = _split(min_yield, confidence, population)
    return fewest(asked, sure, failures)


def _split(
    min_yield: float, confidence: float, population: bool
) -> tuple[float, float, float, float]:
    """Four numbers: the share of chips and the confidence to ask of the chips, and the cost and the
    risk that are left to the test set (0 and 0 without `population`).
    """
    inside("yield", min_yield, 0.9)
    inside("confidence", confidence, 0.95)
    cost, risk = ((1 - min_yield) * _COST, (1 - confidence) * _RISK) if population else (0.0, 0.0)
    return min_yield + cost, confidence + risk, cost, risk


@renamed_arguments(share="min_yield", draws="chips", corruption="sampling")
def certify(
    model: nn.Module,
    score: ScoreFunction | str,
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
    """Certify that at least `min_yield` of all chips reach `accuracy`, up to the largest strength
    that passes.

    `sampling` says which chips: a `Sampling`, or a corruption with its `strengths` and the
    `options` of a `Sampling`. N chips are made one by one. The number K of them that reach the
    accuracy bounds the yield from below, exactly (`lower_bound`). Strengths are tested in
    increasing order (`fixed_sequence`). Unless given, N is the fewest chips that are enough if two
    of them fail (`chips_for`). The chips are those of the purpose "certify", which `measure` never
    makes: a network that was tuned on the chips of `measure` may be certified here.

    Give `accuracy` for a score that is a fraction of which more is better, or `threshold`, in the
    score's unit, for any `Score`. With a threshold, a chip is good if its mean score is equal to
    the threshold or better, for example a mean squared error of at most .02. A chip whose mean is
    not finite is not good.

    With `population` the promise is about the population that the examples come from. Chips must
    then reach a level somewhat above `accuracy`, and the yield pays a small cost (`slack_for`):
    1/20 of 1 - min_yield, and 1/5 of 1 - confidence. `progress` is as in `measure`.

    The cost is N passes over the data for each strength up to the first that fails. Raises
    `UserError` where `measure` does, for shares and confidences outside (0, 1), for too few chips
    to ever pass, for several reads of a chip, for a score that does not fit, and with `population`
    for a score that is not 0 or 1 for each example.
    """
    score = score_of(score)
    level = _asked_level(score, accuracy, threshold, population)
    asked, sure, cost, risk = _split(min_yield, confidence, population)
    sampling = sampling_of(
        sampling, strengths, options, chips=fewest(asked, sure, _FAILURES), purpose="certify"
    )
    refuse_unstated(sampling)
    n = sampling.chips
    if n < fewest(asked, sure):
        raise UserError(
            f"{n} chip{'s' * (n != 1)} cannot show a yield of {min_yield:g} at confidence "
            f"{confidence:g}, even if none fails: at least {fewest(asked, sure)} are needed, "
            f"{fewest(asked, sure, _FAILURES)} where {_FAILURES} may fail."
        )
    arrays = select(model) if sampling.arrays is None else sampling.arrays
    refuse_iterators(data, sampling)
    data = batches(data, 1024)
    examples = count_of(data)
    slack = slack_for(examples, level, cost, risk) if population else None
    rising = sorted(sampling.strengths)

    def test(strength: float) -> StrengthVerdict:
        # `measure` counts the chips of one strength; the caller's progress counts those of all.
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
    """The score that a chip must reach. Raises `UserError` unless exactly one of `accuracy` and
    `threshold` is given, and for a score that does not fit it.
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
    """How many of the chips in `scores` are good enough, and what this says of all chips.
    `any_score` says that the score need not be a fraction.
    """
    if scores.examples is not None and not np.isin(scores.examples, (0, 1)).all():
        raise UserError(
            "a promise about the population needs answers that are right or wrong, 0 or 1 for each "
            "example; this score gave other values."
        )
    good, n = scores.values[0], scores.chips
    if not any_score and not ((good >= 0) & (good <= 1)).all():
        raise UserError(
            f"a yield needs a score between 0 and 1; the chips' scores lie between {good.min():g} "
            f"and {good.max():g}."
        )
    threshold, cost, risk = (level, 0.0, 0.0) if slack is None else slack[1:]
    # With this sign more is better, for every score.
    sign = -1.0 if scores.higher_is_better is False else 1.0
    # A mean may miss the threshold by rounding. This is less than one example of an accuracy.
    rounding = 1e-9 * max(1.0, abs(threshold))
    hits = int((sign * good >= sign * threshold - rounding).sum())
    bound = max(0.0, lower_bound(hits, n, confidence + risk) - cost)
    # With a slack the promise is about the population, and this test set's level is not part of it.
    holds = float("nan") if slack else sign * _reached(sign * good, share, confidence)
    wrong = 0 if scores.not_finite is None else int(scores.not_finite.sum())
    return StrengthVerdict(scores.strengths[0], hits, n, bound, bound >= share, holds, wrong)


def _reached(values: NDArray[np.float64], share: float, confidence: float) -> float:
    """The value that at least `share` of all chips reach, shown by these chips (an order statistic,
    see `quantile_rank`); nan if they are too few.

    More is better here. A chip whose value is nan reaches nothing.
    """
    # What the share `share` of all chips reach is the quantile 1 - share of their values.
    rank = quantile_rank(len(values), 1 - share, confidence)
    reached = np.where(np.isnan(values), -np.inf, values)
    return float(np.sort(reached)[rank - 1]) if rank else float("nan")
