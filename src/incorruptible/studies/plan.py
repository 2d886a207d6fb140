"""From the declared study to the plan: the list of jobs that its folder holds.

Relies on: the name of a run is a hash of everything that decides its bits (recipe, data, device,
threads), and the name of a job a hash of the run's name and of what is measured on it. Keeps: these
names, so that runs and measurements that exist are found again, also by other studies.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from .. import tasks
from ..corruptions import traits
from ..errors import UserError
from ..files import records
from ..runs import identity
from ..tasks import Task
from ..training.recipe import Recipe
from ..version import __version__
from .folder import Folder, StudyJob
from .spec import Study


class Tasks:
    """Gives tasks by name. A task of the package is loaded once. A task of the user's own is made
    anew for each job, because it may keep state.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Task] = {}

    def __call__(self, name: str) -> Task:
        if name not in self._loaded or self._loaded[name].source:
            self._loaded[name] = tasks.load(name)
        return self._loaded[name]


def begin(
    study: Study,
    home: Path,
    *,
    threads: int | None,
    device: str | None,
    overrides: dict[str, Any],
    tasks: Tasks,
    force: bool = False,
) -> Folder:
    """The study's folder. Writes the plan if there is none, or if the study has changed. Runs that
    are done stay, and studies share them.

    `threads` and `device` are part of every run's identity. If they are None, the study keeps those
    with which it was begun (1 and "cpu" at first). Raises `UserError` if the study was begun with
    others, or under another version of torch or of this package, unless `force` is given.
    """
    path = home / "studies" / study.name
    old = _frame(path)
    frame = {
        "threads": threads or old.get("threads", 1),
        "device": torch.device(device or old.get("device", "cpu")).type,
        "torch": torch.__version__,
        "incorruptible": __version__,
    }
    for key, value in frame.items():
        if old.get(key, value) != value and not force:
            raise UserError(
                f"{path} was begun with {key} {old[key]}, and this is {value}; bits depend on it. "
                f"Go on with {old[key]}, choose another --home, or train everything again with "
                "--force."
            )
    plan = _plan(study, frame, overrides, tasks)
    folder = Folder(home, path, plan)
    if _read(path) != json.loads(json.dumps(records.plain(plan))):
        records.write(path / "study.json", plan)
    else:
        # The supervisor waits until study.json changes, and so sees that this plan holds.
        os.utime(path / "study.json")
    return folder


def _plan(
    study: Study, frame: dict[str, Any], overrides: dict[str, Any], tasks: Tasks
) -> dict[str, Any]:
    jobs: list[tuple[float, StudyJob]] = []
    plans = study.plans()
    loaded = {
        name: tasks(name) for name in dict.fromkeys(design.recipe.task for design in study.arms)
    }
    for place, design in enumerate(study.arms):
        task = loaded[design.recipe.task]
        measures: list[dict[str, Any]] = [
            {**plan.plain(), "data": task.fingerprints[plan.part]} for plan in plans.values()
        ]
        if study.test.bounds:
            measures.append({"bounds": True})
        for seed in study.seeds:
            recipe = replace(design.recipe, seed=seed)
            run = records.identity(identity(recipe, task, frame["device"], frame["threads"]))
            name = records.identity({"run": run, "measures": measures})
            jobs.append((_cost(recipe), StudyJob(place, seed, run, name)))
    # Long jobs first, so that no worker begins a long one when the others are done. The sort is
    # stable, so jobs of equal cost stay in the order of the file.
    jobs.sort(key=lambda one: -one[0])
    score = loaded[study.arms[0].recipe.task].score
    noises = []
    for sweep, _, name in study.test.looks():
        noises.append(
            {
                "sweep": str(sweep),
                "corruption": name,
                "unit": sweep.corruption.unit,
                "strengths": list(sweep.strengths),
                **({"conditions": said} if (said := traits(sweep.corruption).conditions) else {}),
            }
        )
    return {
        "definition": study.plain(),
        "overrides": overrides,
        "frame": frame,
        "noises": noises,
        "score": {
            "name": getattr(score, "name", None) or getattr(score, "__name__", "score"),
            "unit": getattr(score, "unit", ""),
            "higher_is_better": getattr(score, "higher_is_better", True),
        },
        "plans": {key: plan.plain() for key, plan in plans.items()},
        "jobs": [list(asdict(job).values()) for _, job in jobs],
        **({"bounds": True} if study.test.bounds else {}),
    }


def _cost(recipe: Recipe) -> float:
    """How long a job takes, roughly, in epochs of plain training."""
    probe = recipe.probe
    looks = recipe.epochs / probe.every + len(probe.early) if probe.draws and probe.every else 0.0
    return recipe.epochs * recipe.parts.objective.passes + looks * probe.draws / 8 * (
        3 if probe.tolerance else 1
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return records.read(path / "study.json")
    except records.Newer:
        raise
    except UserError:
        return None  # there is no plan, or it is torn; it is written anew


def _frame(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = (_read(path) or {}).get("frame", {})
    return found
