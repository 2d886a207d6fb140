"""`incorruptible landscape`: the loss around a network, over training, and where training fails.

Relies on: `diagnostics.survey` trains, looks and keeps the record; this module reads options and
writes the answer. Keeps: a record that answers the same question is read in place of a new
training; a record of another question in the user's own folder is not overwritten without --force;
stdout holds the answer alone.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .targets import (
    DebugOption,
    ForceOption,
    JsonOption,
    SeedOption,
    TargetArgument,
    WeightsOption,
    device_of,
    is_run,
)
from .terminal import progress, put, put_json, say

if TYPE_CHECKING:
    from ..runs import Run
    from ..tasks import Task
    from ..training.recipe import Recipe

USUAL = "rwp(gaussian-filter-max)"
# Multiples of the run's peak strength: to look at, and to train at until a training fails.
LOOKS = (0.5, 1.0, 2.0)
TRIES = (0.5, 1.0, 2.0, 4.0, 8.0)


ThroughOption = Annotated[
    str | None,
    typer.Option("--objective", help=f"The objective to look through [the run's own, or {USUAL}]."),
]
StrengthsOption = Annotated[
    str | None,
    typer.Option(
        "--strengths", help="The constant strengths to look at: .1,.3,.6 [around the run's peak]."
    ),
]
FailOption = Annotated[
    bool,
    typer.Option(
        "--fail/--no-fail",
        help="Train at rising strengths until one training fails, and find out why.",
    ),
]
EveryOption = Annotated[
    int | None,
    typer.Option("--every", help="Look each time after this many epochs [a tenth of all].", min=1),
]
LookedAtOption = Annotated[
    int, typer.Option("--images", help="The number of training images to look at; 0 is all.", min=0)
]
DrawsOption = Annotated[
    int, typer.Option("--draws", help="The number of random draws of each look.", min=2)
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget",
        help="The loss up to which a strength counts as tolerated [half the loss of a constant "
        "predictor].",
    ),
]
SurfaceOption = Annotated[
    int,
    typer.Option(
        "--surface",
        help="The number of points on a side of the surface, odd; 0 is no surface.",
        min=0,
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--out", help="The folder for the record and the figures [landscape in the run's folder]."
    ),
]
WhereOption = Annotated[
    str, typer.Option("--device", help="The device that looks at --weights; a run keeps its own.")
]


def landscape(
    target: TargetArgument,
    weights: WeightsOption = None,
    objective: ThroughOption = None,
    strengths: StrengthsOption = None,
    fail: FailOption = True,
    every: EveryOption = None,
    images: LookedAtOption = 2048,
    draws: DrawsOption = 16,
    budget: BudgetOption = None,
    surface: SurfaceOption = 21,
    out: FolderOption = None,
    seed: SeedOption = 0,
    device: WhereOption = "cpu",
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Look at the loss around a network: gradient, sharpness and slices. A run is also watched over
    its training, and up to the strength at which training fails.

    To watch a run, this trains it again, to the same bits. Then it trains the run's recipe at
    constant strengths, from weak to strong, until one training fails. A second training with
    clipped gradients tells vanishing gradients from noisy ones. These trainings are kept beside the
    run.
    """
    _check(target, weights, surface, out)
    from ..diagnostics.survey import asked, found_before, keep, of_run, of_weights
    from ..diagnostics.tracking import Settings

    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        run, task, name = _target(target, weights)
    recipe = run.recipe if run is not None else None
    through = _objective(recipe, objective)
    chosen, tries = _strengths(run, objective, strengths)
    settings = Settings(
        through,
        chosen,
        images,
        draws,
        every or max(1, recipe.epochs // 10 if recipe is not None else 1),
        _budget(task, budget),
        surface,
        seed,
    )
    tries = tries if fail and run is not None else ()
    folder = out if out is not None else run.folder / "landscape" if run is not None else None
    from ..files import records

    checksum: str | None = run.record["weights"] if run is not None else None
    if weights is not None:
        checksum = records.checksum(weights)
    question = asked(settings, checksum, tries, recipe)
    record = None if folder is None or force else found_before(folder, question)
    known, written = record is not None, []
    if record is None:
        _free(folder, out, force)
        with progress("landscape") as bar, redirect_stdout(sys.stderr):
            tell = lambda what, done, of: bar(done, of, what)  # noqa: E731
            if run is not None:
                record = of_run(run, settings, fail=tries, task=task, tell=tell)
            else:
                record = of_weights(
                    task, name, weights, settings, device=device_of(device), seed=seed
                )
        record = records.plain(record)
    assert record is not None
    if folder is not None and not known:
        written = keep(record, folder)
    if json_:
        put_json(record)
    else:
        _put(record)
    _tell_figures(folder, written)


def _check(target: str, weights: Path | None, surface: int, out: Path | None) -> None:
    """Raises `UserError` for options that do not go together."""
    if is_run(target) and weights is not None:
        raise UserError("--weights goes with a task; a run has weights of its own.")
    if surface and (surface < 3 or surface % 2 == 0):
        raise UserError(
            f"--surface {surface}: an odd number from 3 on is needed, so that the weights lie on "
            "it, or 0."
        )
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a folder is needed.")


def _tell_figures(folder: Path | None, written: list[Path]) -> None:
    """Say where the figures are, and which were drawn now."""
    if folder is None:
        say("next: --out FOLDER keeps the record and draws slices and surface")
    else:
        what = (
            ", ".join(path.name for path in written[1:]) if written else "as they were drawn before"
        )
        say(f"figures: {what}, in {folder}")


def _target(target: str, weights: Path | None) -> tuple[Any, Task, str]:
    from .. import tasks
    from ..runs import open_run

    if is_run(target):
        run = open_run(Path(target))
        return run, run.task(), run.recipe.task
    named = tasks.parse(target)
    if weights is None and not isinstance(named, tasks.UserTask):
        raise UserError(
            f"{target} has no weights yet: give --weights FILE, or a run's folder (incorruptible "
            f"train {target})."
        )
    if weights is not None and not weights.is_file():
        raise UserError(f"{weights}: no such file of weights.")
    if weights is None:
        say("incorruptible: --weights is missing; these are the weights that model() makes.")
    return None, named.task(), str(named)


def _objective(recipe: Recipe | None, objective: str | None) -> str:
    from ..objectives import parse

    if objective is not None:
        found = str(parse(objective))
        if found == "plain":
            raise UserError(
                f"--objective plain perturbs nothing: give one that does, such as '{USUAL}' or sam."
            )
        return found
    return USUAL if recipe is None or recipe.objective == "plain" else recipe.objective


def _strengths(
    run: Run | None, objective: str | None, strengths: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The strengths to look at, and the strengths to train at."""
    if strengths is not None:
        try:
            found = tuple(sorted({float(one) for one in strengths.split(",")}))
        except ValueError:
            found = ()
        if not found or not all(0 < one < float("inf") for one in found):
            raise UserError(
                f"--strengths {strengths!r}: numbers above 0 with commas between are needed, such "
                "as .1,.3,.6."
            )
        return found, found
    own = run.peak if run is not None else 0.0
    if objective is not None and (run is None or objective != run.recipe.objective):
        raise UserError(
            f"--objective {objective}: at which strengths? Add --strengths, such as .1,.3,.6."
        )
    looks, tries = (
        tuple(float(f"{(own or 0.2) * times:.12g}") for times in each) for each in (LOOKS, TRIES)
    )
    return looks, tries


def _budget(task: Task, budget: float | None) -> float | None:
    if budget is not None and not budget > 0:
        raise UserError(f"--budget {budget:g}: a loss above 0 is needed.")
    if budget is None and task.reference is None:
        say(
            "incorruptible: the task has no reference loss: --budget NATS would seek the strength "
            "that the network tolerates."
        )
    return budget if budget is not None or task.reference is None else task.reference / 2


def _free(folder: Path | None, out: Path | None, force: bool) -> None:
    """Raise `UserError` where a record of another question stands in a folder of the user's own."""
    if (
        out is not None
        and folder is not None
        and (folder / "landscape.json").exists()
        and not force
    ):
        raise UserError(
            f"{folder / 'landscape.json'} answers another question; --force overwrites it."
        )


def _put(record: dict[str, Any]) -> None:
    from ..diagnostics.text import arm_sentence, failing_sentence, overrun_sentence, tables

    images = "one batch" if record["images"] is None else f"{record['images']} training examples"
    put(
        f"{record['task']}: {images}, {record['draws']} draws, weights {record['mode']}; strength: "
        f"{record['unit']}"
    )
    put(tables(record))
    if record.get("held"):
        put(
            "arrays as in training: "
            + "; ".join(f"{name} {' '.join(one)}" for name, one in record["held"].items())
        )
    if "schedule" in record:
        if record["same_bits"] is False:
            say(
                "incorruptible: the training that was watched ended in other bits than the run's "
                "(another torch, processor or version): what is shown is the repetition's."
            )
        if (said := overrun_sentence(record["looks"])) is not None:
            put(said)
    failing = record.get("failing")
    if failing:
        own = failing["run"]
        put("")
        if "word" in own:
            put("This run, " + arm_sentence(record["trained"], failing["plain"], own))
        else:
            put(
                f"This run: {100 * own['score']:.1f}% clean ({failing['part']}); trained plainly: "
                f"{100 * failing['plain']:.1f}%."
            )
        for arm in failing["arms"]:
            put(arm_sentence(failing["objective"], failing["plain"], arm))
        put(failing_sentence(failing))
