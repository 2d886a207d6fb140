"""How long a study may take, from a few steps of each kind that are timed on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn

from ..corruptions import parse_sweep
from ..evaluation import Sampling, measure_all
from ..runs import first
from ..tasks import Task, batches
from ..training import Trainer
from ..training.recipe import Recipe
from .plan import Tasks
from .spec import Study

STEPS = 12


class Estimate(dict[str, float]):
    """By the name of each arm: the seconds of one worker for one seed of the arm, for training,
    the instrument's looks and measuring.
    """


def estimate(study: Study, tasks: Tasks, device: str = "cpu") -> Estimate:
    """Time a dozen steps, one look of the instrument and one chip for each kind of arm, and
    calculate the rest.

    The estimate is rough. If the machine is busy with other things, they are timed too.
    """
    steps: dict[tuple[Any, ...], float] = {}
    looks: dict[tuple[str, str, bool], float] = {}
    chips: dict[tuple[str, tuple[str, ...], tuple[str, ...]], float] = {}
    found = Estimate()
    for design in study.arms:
        recipe = design.recipe
        task = tasks(recipe.task)
        ways = (
            recipe.accumulate,
            recipe.autocast,
            recipe.channels_last,
            recipe.compiled,
            recipe.noise,
        )
        kind = (recipe.task, recipe.objective, recipe.batch, *ways)
        if kind not in steps:
            steps[kind] = _step(task, recipe, device)
        held = (recipe.task, recipe.also, recipe.protect)
        if held not in chips:
            chips[held] = _measured(study, task, recipe, device)
        seconds = steps[kind] * len(batches(task.train, recipe.batch)) * recipe.epochs  # type: ignore[arg-type]
        probe = recipe.probe
        if probe.draws:
            look = (recipe.task, recipe.objective, probe.tolerance)
            if look not in looks:
                looks[look] = _timed(Trainer(task, recipe, device).at_peak)
            count = 1 + (recipe.epochs // probe.every if probe.every else 0) + len(probe.early)
            seconds += looks[look] * count
        found[design.name] = seconds + chips[held]
    return found


def _step(task: Task, recipe: Recipe, device: str) -> float:
    fit = Trainer(task, replace(recipe, probe=replace(recipe.probe, draws=0)), device)
    some = list(islice(batches(task.train, recipe.batch), STEPS + 2))
    fit.robust.steps += 2 * len(some)  # a short recipe has fewer steps than are timed here
    for batch in some[:2]:
        fit.step(batch)
    rest = some[2:] or some
    return _timed(lambda: [fit.step(batch) for batch in rest]) / len(rest)


def _measured(study: Study, task: Task, recipe: Recipe, device: str) -> float:
    model: nn.Module = task.model().to(device)
    seconds, arrays = 0.0, recipe.arrays(model)
    for plan in study.plans().values():
        sweep = parse_sweep(plan.sweep)
        one = Sampling(sweep.corruption, (max(sweep.strengths),), 1, 0, "estimate", arrays=arrays)
        data = batches(first(task.part(plan.part), plan), task.batch, device=torch.device(device))
        asked = {"score": task.score, "loss": task.loss}
        look = partial(measure_all, model, asked, data, one)
        look()  # the first look also pays for modules that are loaded late
        seconds += _timed(look) * sum(plan.chips if s else 1 for s in sweep.strengths)
    return seconds


def _timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
