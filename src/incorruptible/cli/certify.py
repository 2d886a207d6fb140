"""`incorruptible certify`: a promise about chips that nobody has measured, or its refusal.

Relies on: `certify` and `certify_fresh` give a `Certificate`, which knows its sentence and its
table. Keeps: the exit code is 0 for a promise and 1 for a refusal, and the result is written in
both cases; numbers that cannot make a promise are refused before the network is loaded.
"""

from __future__ import annotations

import sys
import textwrap
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ..errors import UserError
from .targets import (
    AlsoOption,
    BatchnormOption,
    BatchOption,
    DebugOption,
    DeviceOption,
    ExamplesOption,
    ForceOption,
    JsonOption,
    OneTimeOption,
    OutOption,
    PartOption,
    ProtectOption,
    SeedOption,
    TargetArgument,
    WeightsOption,
    check_part,
    open_target,
    sweep_of,
)
from .terminal import check_output, give, progress, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..certificates import Certificate
    from ..evaluation.sampling import Sampling
    from .targets import ScoringTarget

CorruptionOption = Annotated[
    str,
    typer.Option(
        "--corruption", help="The corruption and its strengths: gaussian-filter-max:.1,.2."
    ),
]
AccuracyOption = Annotated[
    str | None,
    typer.Option(
        "--accuracy", help="The accuracy that a good chip reaches: 0.95.", metavar="FRACTION"
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="In place of --accuracy: the worst score of a good chip, in the unit of the task's "
        "score.",
    ),
]
ConfidenceOption = Annotated[
    str, typer.Option("--confidence", help="The confidence of the promise.", metavar="FRACTION")
]
MinYieldOption = Annotated[
    str | None,
    typer.Option(
        "--min-yield", help="The share of all chips that must be good [0.9].", metavar="FRACTION"
    ),
]
CertifiedChipsOption = Annotated[
    int | None,
    typer.Option(
        "--chips", help="The number of chips [the fewest that suffice when 2 of them fail].", min=1
    ),
]
PopulationOption = Annotated[
    bool,
    typer.Option("--population", help="Promise it for the population that the examples come from."),
]
FreshOption = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="In place of the yield, promise the accuracy where every example meets a chip of its"
        " own.",
    ),
]


def certify(
    target: TargetArgument,
    corruption: CorruptionOption,
    accuracy: AccuracyOption = None,
    threshold: ThresholdOption = None,
    confidence: ConfidenceOption = "0.95",
    min_yield: MinYieldOption = None,
    chips: CertifiedChipsOption = None,
    population: PopulationOption = False,
    fresh: FreshOption = False,
    time: OneTimeOption = None,
    weights: WeightsOption = None,
    part: PartOption = "test",
    batchnorm: BatchnormOption = "as-is",
    also: AlsoOption = None,
    protect: ProtectOption = None,
    examples: ExamplesOption = None,
    batch: BatchOption = 1024,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Certify chips for a specification. A promise comes with exit code 0, a refusal and its reason
    with 1.
    """
    check_output(out, (".json",), force)
    check_part(part)
    if part == "train" and (fresh or population):
        raise UserError(
            "--part train: a promise about the population needs examples that did not train the "
            "network; use --part test."
        )
    promise = _promise(accuracy, threshold, confidence, min_yield, chips, population, fresh)
    sweep = sweep_of(corruption, time)
    on = open_target(
        target,
        weights,
        also,
        protect,
        part=part,
        batch=batch,
        examples=examples,
        batchnorm=batchnorm,
        seed=seed,
        device=device,
    )
    sampling = on.sampling(*sweep, seed=seed)
    if not fresh:
        sampling = replace(sampling, chips=promise.chips)
        on.tell_cost(sampling, len(sampling.strengths))
    with progress("certify") as tell, redirect_stdout(sys.stderr):
        found = promise.certify(on, sampling, lambda done, total: tell(done, total, "chips"))
    if chips is None and not fresh:
        _tell_chips(promise.min_yield, promise.confidence, population)
    on.tell([sweep.corruption])
    said = f"{textwrap.fill(found.sentence(), 110, break_on_hyphens=False)}\n\n{found.table()}"
    give(on.plain(found.plain()), on.held.before(said), out, json_)
    if not found.granted:
        raise typer.Exit(1)


class _Promise(NamedTuple):
    """What is to be promised, in numbers that were checked as far as this is possible without a
    network.
    """

    accuracy: float | None
    threshold: float | None
    confidence: float
    min_yield: float
    chips: int
    population: bool
    fresh: bool

    def certify(
        self, on: ScoringTarget, sampling: Sampling, tell: Callable[[int, int], None]
    ) -> Certificate:
        """The certificate: the promise, or its refusal, for the chips of this network."""
        from ..certificates import certify, certify_fresh

        what = on.model, on.task.score, on.data, sampling
        if self.fresh:
            assert self.accuracy is not None
            return certify_fresh(
                *what,
                accuracy=self.accuracy,
                confidence=self.confidence,
                progress=tell,
            )
        return certify(
            *what,
            accuracy=self.accuracy,
            threshold=self.threshold,
            confidence=self.confidence,
            min_yield=self.min_yield,
            population=self.population,
            progress=tell,
        )


def _promise(
    accuracy: str | None,
    threshold: float | None,
    confidence: str,
    min_yield: str | None,
    chips: int | None,
    population: bool,
    fresh: bool,
) -> _Promise:
    """The options as numbers. Raises `UserError` for options that do not go together."""
    from ..certificates import chips_for

    if (accuracy is None) == (threshold is None):
        raise UserError(
            "certify needs one of --accuracy 0.95, a fraction that chips must reach, and "
            "--threshold X, in the unit of the task's score; and not both."
        )
    sure = _number("--confidence", confidence)
    level = None if accuracy is None else _number("--accuracy", accuracy)
    if level is None and (fresh or population):
        raise UserError(
            "--fresh and --population count answers that are right: give --accuracy, and no "
            "--threshold."
        )
    if fresh and (min_yield is not None or chips is not None or population):
        raise UserError(
            "--fresh draws one chip for each example and speaks of the population: leave out "
            "--min-yield, --chips and --population."
        )
    share = _number("--min-yield", min_yield or "0.9")
    many = 1 if fresh else chips or chips_for(share, sure, population)
    return _Promise(level, threshold, sure, share, many, population, fresh)


def _tell_chips(min_yield: float, confidence: float, population: bool) -> None:
    from ..certificates import chips_for

    n, least = (
        chips_for(min_yield, confidence, population),
        chips_for(min_yield, confidence, population, failures=0),
    )
    say(
        f"{n} chips at each strength: the fewest that certify a yield of {min_yield:g} at "
        f"confidence {confidence:g} where 2 fail ({least} where none does)"
    )


def _number(option: str, text: str) -> float:
    """The number that was typed. Raises `UserError` for anything but a fraction above 0 and at most
    1; the answer to 95% names 0.95.
    """
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        raise UserError(
            f"{option} {text!r} is no number; write a fraction, for example 0.95."
        ) from None
    if not 0 < number <= 1 or text.strip().endswith("%"):
        shown = number / 100 if 0 < number <= 100 else 0.95
        raise UserError(
            f"{option} {text}: a fraction between 0 and 1 is needed, for example {shown:g}."
        )
    return number
