"""`incorruptible sensitivity`: which layers hurt, and what it buys to keep one digital."""

from __future__ import annotations

import sys
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
    from ..evaluation.sensitivity import Sensitivity
    from ..tasks import Task

__all__ = ["sensitivity"]


def sensitivity(
    target: Annotated[str, typer.Argument(help="A run's folder, or a task with --weights.")],
    corruption: Annotated[
        str, typer.Option("--corruption", help="With one strength: gaussian-filter-max:.2.")
    ],
    weights: WeightsOption = None,
    by: Annotated[
        str, typer.Option("--by", help="layer, block, or block:DEPTH of its module.")
    ] = "layer",
    what_if_digital: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if-digital",
            help="What does it buy to keep these digital (patterns, with commas)? May come again.",
        ),
    ] = None,
    chips: Annotated[int, typer.Option("--chips", help="How many.")] = 25,
    part: Annotated[
        str, typer.Option("--part", help="Data: validation, test or train.")
    ] = "validation",
    batchnorm: Annotated[
        str,
        typer.Option("--batchnorm", help="as-is, folded, or recalibrated on the training data."),
    ] = "as-is",
    also: AlsoOption = None,
    examples: ExamplesOption = None,
    batch: Annotated[int, typer.Option("--batch", help="Examples at a time.", min=1)] = 1024,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw losses and gains here (.png and .svg).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep the result here (.json).")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Corrupt each layer alone, and all but each: what is lost, and what it buys to keep it
    digital.
    """
    check_output(out, (".json",), force)
    check_output(figure, ("", ".png", ".svg"), force)
    check_part(part)
    from ..corruptions import parse_sweep
    from ..evaluation import measure
    from ..evaluation.scoring import count_of
    from ..evaluation.sensitivity import sensitivity as map_of
    from ..tasks import batches, is_user_task
    from ..weights.arrays import select

    sweep = parse_sweep(corruption)
    if len(sweep.strengths) != 1:
        raise UserError(f"--corruption {corruption!r}: a map is made at one strength.")
    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        held = held_in(target, also, None)
        task, model = target_of(target, weights, seed)
    model.to(device_of(device))
    data = first_of(batches(_part(task, part), batch), examples)
    arrays = select(model, held.also, held.protect)
    common: dict[str, Any] = {
        "arrays": arrays,
        "batchnorm": batchnorm,
        "calibration": batches(task.part("train"), batch) if batchnorm == "recalibrated" else None,
    }
    sets = 2 * len(arrays) + 1  # at most: each layer alone, all but each, and all
    with redirect_stdout(sys.stderr):
        tell_cost(
            chips * sets,
            lambda: count_of(data),
            lambda n: measure(
                model, task.score, data, *sweep, chips=n, seed=0, purpose="cost", **common
            ),
            at_once=sets,
        )
    with progress("sensitivity") as tell, redirect_stdout(sys.stderr):
        found = map_of(
            model,
            # a function of the user's own has no direction, and is refused in one line
            task.score,  # type: ignore[arg-type]
            data,
            sweep.corruption,
            sweep.strengths[0],
            chips=chips,
            seed=seed,
            by=by,
            what_if_digital=what_if_digital or (),
            purpose=part,
            **common,
            progress=lambda done, total: tell(done, total, "chips"),
        )
    if weights is None and is_user_task(target):
        say("incorruptible: no --weights came; these are the weights that model() makes.")
    tell_share(arrays, model)
    tell_drift([sweep.corruption])
    if part == "test":
        say(
            "incorruptible: what to protect is a choice; chosen on test data, its test score would "
            "flatter it."
        )
    if figure is not None:
        _draw(found, figure)
    plain = {"target": target, "part": part, **held.plain(), **found.plain()}
    give(plain, held.before(str(found)), out, json_)


def _part(task: Task, part: str) -> Any:
    """The data; where there are none to choose by, the message says which to take."""
    if part == "validation" and task.validation is None:
        raise UserError(
            "the task has no validation data, by which to choose what to protect: give the Task "
            "validation=(inputs, labels), "
            "or say --part train."
        )
    return task.part(part)


def _draw(found: Sensitivity, path: Path) -> None:
    from ..plots import effects, save
    from ..statistics import Interval

    losses, gains = found.losses(), found.gains()
    extra = len(gains) - len(losses)
    lost = [*(one.difference.interval for one in losses), *[Interval(*[float("nan")] * 3)] * extra]
    together = found.together
    held = f"{together.conditions}; " if together.conditions else ""
    note = (
        f"{together.corruption}, strength {together.strengths[0]:g}; {held}{together.chips} chips, "
        f"{together.n_examples} examples "
        f"({together.purpose}), BatchNorm {together.batchnorm}; clean {found.clean:.4f}, all "
        f"corrupted {found.joint.mean():.4f}; "
        "whiskers: 95%, Student's, paired over chips, each by itself"
    )
    panels = {
        f"lost, corrupted alone: {together.name} ({together.unit})": lost,
        f"gained, kept digital: {together.name} ({together.unit})": [
            one.difference.interval for one in gains
        ],
    }
    save(effects([one.group.name for one in gains], panels, note, marked=extra), path)
