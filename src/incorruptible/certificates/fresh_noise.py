"""Certificates of an accuracy under fresh noise: how often an answer is right if every example
meets a chip of its own.

Relies on: the data give the same examples in the same order each time, so that example i meets chip
i at every strength. Keeps: one example is one trial, and no two trials share a chip. The network's
mode and running statistics are the same after the call, also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import numpy as np
from torch import Tensor, nn

from ..corruptions import Corruption
from ..errors import UserError, renamed_arguments
from ..evaluation.checks import check_network
from ..evaluation.chips import ProgrammedModel
from ..evaluation.sampling import Sampling, SamplingOptions, sampling_of
from ..evaluation.scoring import (
    NOT_FINITE,
    ScoreFunction,
    count_of,
    keeping,
    refuse_iterators,
    score_chip,
    size_of,
)
from ..statistics import fewest, lower_bound
from ..statistics.given import inside
from ..tasks.data import batches, shuffles
from ..tasks.scores import score_of
from ..weights.batchnorm import Statistics, evaluating
from .assumptions import OF_THE_POPULATION, assumptions_of, refuse_unfit, refuse_unstated
from .certificate import Certificate, StrengthVerdict, fixed_sequence


@dataclass(frozen=True, repr=False, eq=False)
class FreshAccuracy(Certificate):
    """A promise about new examples, each answered by a chip that is drawn for it alone: `accuracy`,
    up to the certified strength.
    """

    kind: ClassVar[str] = "accuracy under fresh noise"

    def claim(self) -> str:
        step = self.passed[-1] if self.passed else self.steps[0]
        begin = "With confidence" if self.granted else "Refused: it was not shown with confidence"
        return (
            f"{begin} {self.confidence:g}{',' if self.granted else ' that'} an example of the "
            "population that the test examples come from, answered by a chip drawn for it alone, "
            f"has a chance of at least {self.accuracy:g} of a right answer under "
            f"{self.assumptions.error(step.strength)}: {step.hits} of {step.n} test examples, each "
            "on a chip of its own, were answered right, so that the chance is at least "
            f"{step.bound:.4f} (exact, Clopper-Pearson)."
        )

    def covers(self) -> str:
        return (
            "It covers other examples of the same population and other chips, on average over "
            "both; it does not promise this accuracy of any one chip."
        )

    def assumed(self) -> str:
        return self.assumptions.sentence(OF_THE_POPULATION)

    def cells(self, step: StrengthVerdict) -> dict[str, str]:
        return {
            "strength": f"{step.strength:g}",
            "examples": f"{step.n}",
            "right": f"{step.hits}",
            "accuracy at least": f"{step.bound:.4f}",
        }


@renamed_arguments(corruption="sampling")
def certify_fresh(
    model: nn.Module,
    score: ScoreFunction | str,
    data: Iterable[Any],
    sampling: Sampling | Corruption | str,
    strengths: Sequence[float] | None = None,
    *,
    accuracy: float,
    confidence: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[SamplingOptions],
) -> FreshAccuracy:
    """Certify the accuracy where every example is answered by a chip of its own, up to the largest
    strength that passes.

    Choose it to promise an accuracy on average over examples *and* chips, for example for noise
    that is new in each inference. For a promise about each of most chips, choose `certify`.

    Example i is answered by chip i alone. The answers are then independent, each right with the
    same chance over the choice of the example and of the chip, and `lower_bound` is exact for this
    chance. The cost is one chip and one forward pass of one example, for each example and strength:
    about a millisecond on a processor core for a small network, and for a large one about as long
    as drawing the noise of its weights, 3 ns a weight. Answering many examples with one chip would
    be cheaper, and wrong. At accuracy .9 with a spread between chips of .02, a nominal 5% of false
    promises becomes 8% for 100 examples a chip and 24% for 1,000 (2,000 simulated test sets of
    10,000; at accuracy .7, 6% and 17%).

    `sampling`, `strengths`, `options` and `progress` are as in `certify`, except for `chips`: there
    is one chip for each example, and the chips are those of the purpose "certify, fresh".

    Raises `UserError` where `measure` does, for a score that is not a fraction of which more is
    better, for answers that are not 0 or 1, for chips that are read several times, for data that
    are shuffled, and for too few examples to show the accuracy at all.
    """
    score = score_of(score)
    inside("accuracy", accuracy, 0.95)
    inside("confidence", confidence, 0.95)
    refuse_unfit(score)
    if "chips" in options:
        raise UserError("certify_fresh makes a chip for each example: leave chips out.")
    sampling = sampling_of(
        sampling, strengths, options, chips=1, purpose="certify, fresh", max_chips=1
    )
    refuse_unstated(sampling)
    refuse_iterators(data, sampling)
    if shuffles(data):
        raise UserError(
            "data are shuffled: example i would meet another chip each time; shuffle=False keeps "
            "them together."
        )
    data = batches(data, 1024)
    fitted, own = sampling.fitted(model)
    n = _enough(data, accuracy, confidence)
    seen = 0

    def test(strength: float) -> StrengthVerdict:
        nonlocal seen
        right, wrong = [], 0
        for index, one in enumerate(_singles(data)):
            found = score_chip(programmed, {"": score}, [one], strength, index)
            right.append(float(found[""][0]))
            wrong += NOT_FINITE in found
            seen += 1
            if progress is not None:
                progress(seen, n * len(sampling.strengths))
        if len(right) != n:
            raise UserError(
                "data gave another number of examples the second time; it must be the same each "
                "time."
            )
        if not np.isin(right, (0, 1)).all():
            raise UserError(
                "fresh noise needs answers that are right or wrong, 0 or 1 for each example; this "
                "score gave other values."
            )
        bound = lower_bound(int(sum(right)), n, confidence)
        return StrengthVerdict(
            strength, int(sum(right)), n, bound, bound >= accuracy, not_finite=wrong
        )

    with (
        evaluating(fitted),
        keeping(Statistics(fitted)),
        ProgrammedModel(fitted, own, sampling) as programmed,
    ):
        check_network(fitted, {"": score}, data, sampling, own)
        steps = fixed_sequence(sampling.strengths, test)
    return FreshAccuracy(
        assumptions_of(model, sampling, own, score, steps[0].n), accuracy, confidence, steps
    )


def _enough(data: Iterable[Any], accuracy: float, confidence: float) -> int:
    """The number of examples. Raises `UserError` if they are too few to show the accuracy."""
    n, least = count_of(data), fewest(accuracy, confidence)
    if n < least:
        raise UserError(
            f"{n} example{'s' * (n != 1)} cannot show an accuracy of {accuracy:g} at confidence "
            f"{confidence:g}, even if all are right: at least {least} are needed."
        )
    return n


def _singles(data: Iterable[Any]) -> Iterator[Any]:
    """Every example as a batch of its own."""
    for batch in data:
        for index in range(size_of(batch) or 0):
            yield _one(batch, index)


def _one(batch: Any, index: int) -> Any:
    """Example `index` of a batch, as a batch of one, in tensors, mappings, lists and tuples
    alike.
    """
    if isinstance(batch, Tensor):
        return batch[index : index + 1] if batch.dim() else batch
    if isinstance(batch, Mapping):
        return {name: _one(value, index) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return [_one(value, index) for value in batch]
    return batch
