"""The landscape of a run, or of weights from a file, as one record of plain data that is kept.

Relies on: training again with the same recipe, device and threads gives the same bits. Keeps: the
record holds the question that it answers, and an equal question finds the record again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..files import records
from ..plots import save
from ..runs import Run
from ..tasks import Task
from ..training.recipe import Recipe
from ..version import __version__
from .charts import charts
from .failure import Tell, Trial, failing
from .tracking import Settings, Watched, look_at, watch

RECORD = "landscape.json"


def of_run(
    run: Run, settings: Settings, *, fail: Sequence[float], task: Task | None = None, tell: Tell
) -> dict[str, Any]:
    """Trains `run` again as it was trained and measures on the way. Then trains its recipe at each
    constant strength of `fail`, until one fails.

    These trainings lie beside the run, so that a second call finds them. `tell(what, done, of)` is
    called as the work goes on.
    """
    task = task or run.task()
    frame, before = run.record["identity"], torch.get_num_threads()
    recipe = run.recipe
    torch.set_num_threads(frame["threads"])
    try:
        fit = Watched(
            task,
            recipe,
            settings,
            frame["device"],
            lambda step: tell("watched again", step, fit.steps),
        )
        found = watch(fit, run.record["weights"])
    finally:
        torch.set_num_threads(before)
    if fail:
        trial = Trial(
            recipe,
            run.folder.parent,
            task,
            device=frame["device"],
            threads=frame["threads"],
            images=settings.images,
            draws=settings.draws,
            tell=tell,
        )
        found["failing"] = failing(trial, settings.objective, fail, run)
    about = {
        "schedule": recipe.strength,
        "trained": recipe.objective,
        "epochs": recipe.epochs,
        "seed": recipe.seed,
    }
    if held := recipe.held():
        about["held"] = held
    return {**_about(task, fit, settings, run.record["weights"], fail, recipe), **about, **found}


def of_weights(
    task: Task,
    name: str,
    weights: Path | None,
    settings: Settings,
    *,
    device: str = "cpu",
    seed: int = 0,
) -> dict[str, Any]:
    """Measures the same things at the weights of a file, as they would be deployed. With
    `weights=None`, these are the weights that `task.model()` makes.
    """
    start = None if weights is None else str(weights)
    recipe = Recipe(
        task=name, objective=settings.objective, strength="constant:0", start=start, seed=seed
    )
    fit = Watched(task, recipe, settings, device)
    checksum = None if weights is None else records.checksum(weights)
    return {**_about(task, fit, settings, checksum, ()), **look_at(fit)}


def _about(
    task: Task,
    fit: Watched,
    settings: Settings,
    weights: str | None,
    fail: Sequence[float],
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """The part of a record that names what was measured, in which units, and how."""
    unit = getattr(fit.through, "corruption", fit.through).unit
    return {
        "asked": asked(settings, weights, fail, recipe),
        "task": task.name.replace("\\", "/").rpartition("/")[2] or "the task",
        "objective": settings.objective,
        "unit": unit,
        "scale": fit.scale,
        "images": fit.looked_at,
        "draws": settings.draws,
        "budget": settings.budget,
        "reference": task.reference,
    }


def asked(
    settings: Settings, weights: str | None, fail: Sequence[float], recipe: Recipe | None = None
) -> dict[str, Any]:
    """The question that a record answers: the settings, the weights by their checksum, the
    strengths, and the versions. Equal questions have equal answers. `recipe` is the recipe of a
    run.
    """
    held = {} if recipe is None else recipe.held()
    plain: dict[str, Any] = records.plain(
        {
            **asdict(settings),
            **held,
            "weights": weights,
            "fail": list(fail),
            "version": __version__,
            "torch": torch.__version__,
        }
    )
    return plain


def found_before(folder: Path, question: dict[str, Any]) -> dict[str, Any] | None:
    """The record in `folder` if it answers `question`, or else None."""
    try:
        record = records.read(folder / RECORD)
    # a newer version wrote this record: it is not to be measured anew and overwritten
    except records.Newer:
        raise
    except UserError:
        return None
    return record if record.get("asked") == question else None


def keep(record: dict[str, Any], folder: Path) -> list[Path]:
    """Writes the record and its figures into `folder`, and returns the files that were written."""
    records.write(folder / RECORD, record)
    plain = records.plain(record)
    return [
        folder / RECORD,
        *(path for chart in charts(plain) for path in save(chart, folder / chart.name, ("png",))),
    ]
