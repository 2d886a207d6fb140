"""At which constant strength a training fails, when, and by which mechanism: found by training.

A training *fails* if it loses more than 10 points of clean score to plain training. A training that
fails is repeated with its gradient clipped, as a *twin*. If the twin recovers, the variance of the
gradient was to blame.

Relies on: `runs.train` finds a run that was trained before. Keeps: each training is done once;
trainings differ from the recipe only in objective, strength, clipping, the probe, and the way of
BatchNorm, which is the default's where the objective is another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..runs import MeasurePlan, Run, measured, train
from ..statistics import t_interval
from ..tasks import Task
from ..tasks.scores import Score
from ..training.recipe import Probe, Recipe
from .mechanism import FAILED, mechanism, probes

CLIP = 1.0  # the bound on the norm of the gradient in the twin
CLEAN = "gaussian-filter-max:0"
Tell = Callable[[str, int, int], None]


def judged_by(task: Task) -> str:
    """The part of the data whose clean score decides whether a training failed: validation if there
    is one, and else test.

    Raises `UserError` for a score that is no fraction of right answers, since ten points of it mean
    nothing.
    """
    score = task.score
    if isinstance(score, Score) and not (score.unit == "fraction" and score.higher_is_better):
        raise UserError(
            f"{task.name or 'the task'} is scored by {score.name} ({score.unit}), but whether "
            "training fails is judged by a fraction of right answers; leave this question out "
            "with --no-fail."
        )
    return "test" if task.validation is None else "validation"


class Trial:
    """Trainings by one recipe that differ in objective, strength and clipping. Each is done once,
    in a folder below `home`, and a later call finds it there.

    `tell(what, done, epochs)` is called after each epoch.
    """

    def __init__(
        self,
        recipe: Recipe,
        home: Path,
        task: Task,
        *,
        device: str,
        threads: int,
        images: int,
        draws: int,
        tell: Tell,
    ) -> None:
        self.recipe, self.home, self.task = recipe, home, task
        self.device, self.threads, self.tell, self.part = device, threads, tell, judged_by(task)
        self.probe = Probe(images, draws, every=max(1, recipe.epochs // 50), early=(1, 2, 4))

    def plainly(self) -> Recipe:
        """The recipe without perturbation, which other trainings are compared with."""
        return replace(
            self.recipe,
            objective="plain",
            strength="constant:0",
            batchnorm=None,
            probe=replace(self.probe, draws=0),
        ).resolved()

    def at(self, objective: str, strength: str, clip: float | None) -> Recipe:
        """The recipe with this objective, strength and clipping."""
        batchnorm = self.recipe.batchnorm if objective == self.recipe.objective else None
        wanted = replace(
            self.recipe,
            objective=objective,
            strength=strength,
            clip=clip,
            batchnorm=batchnorm,
            probe=self.probe,
        )
        return wanted.resolved()

    def train(self, recipe: Recipe, what: str) -> Run:
        """Returns the run of `recipe`, trained unless it was trained before."""
        return train(
            recipe,
            self.home,
            device=self.device,
            threads=self.threads,
            task=self.task,
            progress=lambda done, epochs, _: self.tell(what, done, epochs),
        )

    def scores(self, run: Run) -> NDArray[np.float64]:
        """The clean score of each example, [n]."""
        found = measured(
            run,
            MeasurePlan(CLEAN, self.part, self.part, chips=1),
            self.task,
            device=self.device,
            threads=self.threads,
            checks=False,  # a check would refuse trainings that failed, which are wanted here
        )
        return np.asarray(found["score by example"][0], dtype=np.float64)

    def judge(self, objective: str, strength: str, plain: NDArray[np.float64]) -> dict[str, Any]:
        """Compares one training with the plain one's scores `plain` [n]. If it fails, trains its
        clipped twin and names the mechanism.
        """
        label = f"{objective} at {strength}"
        run = self.train(self.at(objective, strength, self.recipe.clip), label)
        scores = self.scores(run)
        lost = float((plain - scores).mean())
        restored, twin = None, None
        if lost > FAILED and self._clips():
            clipped = self.scores(
                self.train(self.at(objective, strength, CLIP), f"{label}, clipped")
            )
            twin = float(clipped.mean())
            # the twin must gain beyond chance, and come within FAILED of the plain training
            restored = (
                t_interval(clipped - scores).low > 0 and float((plain - clipped).mean()) <= FAILED
            )
        elif lost > FAILED:
            restored = False  # the training is clipped already, and fails
        found: dict[str, Any] = {
            "strength": strength,
            "score": float(scores.mean()),
            "lost": lost,
            "clipped_score": twin,
        }
        metrics = run.record["metrics"]
        try:
            why = mechanism([metrics], lost, restored)
        except (UserError, TypeError):  # a recorded number is not finite, and kept as None
            return {
                **found,
                "word": "diverged" if lost > FAILED else "no failure",
                "step": None,
                "epoch": None,
                "cause": "the gradient is not finite",
                "restored": restored,
                "course": metrics,
            }
        return {
            **found,
            "word": why.word,
            "cause": why.cause,
            "step": why.step,
            "epoch": why.epoch,
            "cosine": why.cosine,
            "dead": why.dead,
            "variation": why.variation,
            "steepness": why.steepness,
            "restored": why.restored,
            "norm": _largest_norm(metrics),
            "ratio": why.ratio.estimate,
            "signal": why.signal.estimate,
            "course": metrics,
        }

    def _clips(self) -> bool:
        """Whether a twin that is clipped at CLIP is another recipe, with a tighter bound."""
        return self.recipe.clip is None or self.recipe.clip > CLIP


def _largest_norm(history: Sequence[dict[str, Any]]) -> float:
    """The largest mean norm of g at any probe. Clipping acts only where some norms exceed its
    bound.
    """
    pairs = [(one["probe_norm_ratio"], one["probe_clean_norm"]) for one in probes(history)]
    return max(
        (ratio * clean for ratio, clean in pairs if ratio is not None and clean is not None),
        default=math.inf,
    )


def failing(trial: Trial, objective: str, strengths: Sequence[float], run: Run) -> dict[str, Any]:
    """Trains at constant strengths in rising order until one fails, and judges `run` itself too.

    `fails_from` is the smallest of `strengths` whose training loses more than 10 points of clean
    score to the plain one, or None. Stronger ones are not tried. All this is for one seed: how far
    the mechanism holds over seeds is a question for a study.
    """
    own = run.recipe
    plain = trial.scores(run if own.objective == "plain" else trial.train(trial.plainly(), "plain"))
    found: dict[str, Any] = {
        "part": trial.part,
        "objective": objective,
        "plain": float(plain.mean()),
        "arms": [],
    }
    mine = trial.scores(run)
    found["run"] = {"score": float(mine.mean()), "lost": float((plain - mine).mean())}
    if (
        found["run"]["lost"] > FAILED
        and own.objective != "plain"
        and not own.strength.startswith("constant:")
    ):
        found["run"] |= trial.judge(own.objective, own.strength, plain)
    fails = None
    for strength in sorted(strengths):
        arm = trial.judge(objective, f"constant:{strength:g}", plain)
        found["arms"].append({**arm, "strength": strength})
        if arm["lost"] > FAILED:
            fails = strength
            break
    return {**found, "fails_from": fails}
