"""`incorruptible certify`: a promise about chips that nobody has measured, or its refusal."""

from __future__ import annotations

import sys
import textwrap
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .advice import tell_cost, tell_drift
from .targets import (
    AlsoOption,
    DebugOption,
    DeviceOption,
    ExamplesOption,
    ForceOption,
    JsonOption,
    ProtectOption,
    SeedOption,
    WeightsOption,
    check_part,
    device_of,
    first_of,
    held_in,
    target_of,
    tell_share,
)
from .terminal import check_output, give, progress, say

if TYPE_CHECKING:
    from torch import nn

    from ..certificates import Certificate
    from ..corruptions import Sweep

__all__ = ["certify"]


def certify(
    target: Annotated[str, typer.Argument(help="A run's folder, or a task with --weights.")],
    corruption: Annotated[
        str, typer.Option("--corruption", help="With strengths: gaussian-filter-max:.1,.2.")
    ],
    accuracy: Annotated[
        str | None,
        typer.Option("--accuracy", help="What chips must reach: 0.95.", metavar="FRACTION"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Instead, in the unit of the task's score: what a good chip has at worst.",
        ),
    ] = None,
    confidence: Annotated[
        str, typer.Option("--confidence", help="How sure the promise is.", metavar="FRACTION")
    ] = "0.95",
    min_yield: Annotated[
        str | None,
        typer.Option(
            "--min-yield", help="Share of all chips that must reach it [0.9].", metavar="FRACTION"
        ),
    ] = None,
    chips: Annotated[
        int | None,
        typer.Option("--chips", help="How many [the fewest that do where 2 fail].", min=1),
    ] = None,
    population: Annotated[
        bool,
        typer.Option(
            "--population", help="Promise it of the population that the examples come from."
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Accuracy where every example meets a chip of its own, not the yield."
        ),
    ] = False,
    weights: WeightsOption = None,
    part: Annotated[str, typer.Option("--part", help="Data: test, validation or train.")] = "test",
    batchnorm: Annotated[
        str,
        typer.Option("--batchnorm", help="as-is, folded, or recalibrated on the training data."),
    ] = "as-is",
    also: AlsoOption = None,
    protect: ProtectOption = None,
    examples: ExamplesOption = None,
    batch: Annotated[int, typer.Option("--batch", help="Examples at a time.", min=1)] = 1024,
    out: Annotated[
        Path | None, typer.Option("--out", help="Keep the certificate here (.json).")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Certify chips for a specification: exit 0 and a promise, or exit 1 and why not."""
    check_output(out, (".json",), force)
    check_part(part)
    if part == "train" and (fresh or population):
        raise UserError(
            "--part train: a promise about the population needs examples that did not train the "
            "network; use --part test."
        )
    asked = _asked(fresh, accuracy, threshold, confidence, min_yield, chips, population)
    from ..corruptions import parse_sweep
    from ..tasks import batches, is_user_task
    from ..weights.arrays import select

    sweep = parse_sweep(corruption)
    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        held = held_in(target, also, protect)
        task, model = target_of(target, weights, seed)
    model.to(device_of(device))
    asked |= {
        "seed": seed,
        "arrays": select(model, held.also, held.protect),
        "batchnorm": batchnorm,
        "calibration": batches(task.part("train"), batch) if batchnorm == "recalibrated" else None,
    }
    data = first_of(batches(task.part(part), batch), examples)
    if not fresh:
        _tell_cost(model, task.score, data, sweep, asked)
    with progress("certify") as tell, redirect_stdout(sys.stderr):
        asked["progress"] = lambda done, total: tell(done, total, "chips")
        found = _certified(fresh, (model, task.score, data, *sweep), asked)
    if chips is None and not fresh:
        _tell_chips(asked["min_yield"], asked["confidence"], population)
    if weights is None and is_user_task(target):
        say("incorruptible: no --weights came; these are the weights that model() makes.")
    tell_share(asked["arrays"], model)
    tell_drift([sweep.corruption])
    plain = {"target": target, "part": part, **held.plain(), **found.plain()}
    said = f"{textwrap.fill(found.sentence(), 110, break_on_hyphens=False)}\n\n{found.table()}"
    give(plain, held.before(said), out, json_)
    if not found.granted:
        raise typer.Exit(1)


def _asked(
    fresh: bool,
    accuracy: str | None,
    threshold: float | None,
    confidence: str,
    min_yield: str | None,
    chips: int | None,
    population: bool,
) -> dict[str, Any]:
    """The numbers of the promise, checked as far as they can be without a network."""
    if (accuracy is None) == (threshold is None):
        raise UserError(
            "certify needs one of --accuracy 0.95, a fraction that chips must reach, and "
            "--threshold X, in the unit of the "
            "task's score; and not both."
        )
    asked: dict[str, Any] = {"confidence": _number("--confidence", confidence)}
    if accuracy is not None:
        asked["accuracy"] = _number("--accuracy", accuracy)
    elif fresh or population:
        raise UserError(
            "--fresh and --population count answers that are right: give --accuracy, and no "
            "--threshold."
        )
    else:
        asked["threshold"] = threshold
    if not fresh:
        return asked | {
            "min_yield": _number("--min-yield", min_yield or "0.9"),
            "chips": chips,
            "population": population,
        }
    if min_yield is not None or chips is not None or population:
        raise UserError(
            "--fresh draws one chip for each example and speaks of the population: leave out "
            "--min-yield, --chips and --population."
        )
    return asked


def _certified(fresh: bool, what: tuple[Any, ...], asked: dict[str, Any]) -> Certificate:
    from ..certificates import certify, certify_fresh

    return certify_fresh(*what, **asked) if fresh else certify(*what, **asked)


def _tell_cost(
    model: nn.Module, score: Any, data: Any, sweep: Sweep, asked: dict[str, Any]
) -> None:
    """What many chips will cost, before they begin."""
    from ..certificates import chips_for
    from ..evaluation import measure
    from ..evaluation.scoring import count_of

    chips = asked["chips"] or chips_for(
        asked["min_yield"], asked["confidence"], asked["population"]
    )
    common = {name: asked[name] for name in ("arrays", "batchnorm", "calibration")}
    with redirect_stdout(sys.stderr):
        tell_cost(
            chips * len(sweep.strengths),
            lambda: count_of(data),
            lambda n: measure(
                model,
                score,
                data,
                sweep.corruption,
                sweep.strengths[-1:],
                chips=n,
                seed=0,
                purpose="cost",
                **common,
            ),
            at_once=len(sweep.strengths),
        )


def _tell_chips(min_yield: float, confidence: float, population: bool) -> None:
    from ..certificates import chips_for

    n, least = (
        chips_for(min_yield, confidence, population),
        chips_for(min_yield, confidence, population, failures=0),
    )
    say(
        f"{n} chips at each strength: the fewest that certify a yield of {min_yield:g} at "
        f"confidence {confidence:g} where 2 fail "
        f"({least} where none does)"
    )


def _number(option: str, text: str) -> float:
    """A number as it was typed; 95% is answered with its fraction."""
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
