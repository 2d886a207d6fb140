"""At which constant strength a training fails, when, and by which mechanism: found by training."""

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

__all__ = ["CLIP", "Trial", "failing", "judged_by"]

CLIP = 1.0  # the bound on the gradient's norm in the twin that tells variance from vanishing
CLEAN = "gaussian-filter-max:0"
Tell = Callable[[str, int, int], None]


def judged_by(task: Task) -> str:
    """The part of the data whose clean score says whether a training failed: validation where there
    is one.

    Raises `UserError` for a score of which ten points mean nothing.
    """
    score = task.score
    if isinstance(score, Score) and not (score.unit == "fraction" and score.higher_is_better):
        raise UserError(
            f"{task.name or 'the task'} is scored by {score.name} ({score.unit}): whether training "
            "fails is judged by a fraction of right answers; look without it: --no-fail."
        )
    return "test" if task.validation is None else "validation"


class Trial:
    """Trainings by one recipe but for the strength, in folders below `home`, each done once: a
    second call finds them.

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
        """The recipe without perturbation, which failing is measured against."""
        return replace(
            self.recipe,
            objective="plain",
            strength="constant:0",
            batchnorm=None,
            probe=replace(self.probe, draws=0),
        ).resolved()

    def at(self, objective: str, strength: str, clip: float | None) -> Recipe:
        """The recipe with that objective, strength and clipping."""
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
        """The run of that recipe, trained unless it was before."""
        return train(
            recipe,
            self.home,
            device=self.device,
            threads=self.threads,
            task=self.task,
            progress=lambda done, epochs, _: self.tell(what, done, epochs),
        )

    def scores(self, run: Run) -> NDArray[np.float64]:
        """[n] The clean score of each example."""
        found = measured(
            run,
            MeasurePlan(CLEAN, self.part, self.part, chips=1),
            self.task,
            device=self.device,
            threads=self.threads,
            checks=False,  # trainings that failed are what is looked for
        )
        return np.asarray(found["score by example"][0], dtype=np.float64)

    def judge(self, objective: str, strength: str, plain: NDArray[np.float64]) -> dict[str, Any]:
        """One training against the plain one's scores; where it fails, its clipped twin and the
        mechanism.
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
            restored = (
                t_interval(clipped - scores).low > 0 and float((plain - clipped).mean()) <= FAILED
            )
        elif lost > FAILED:
            restored = False  # it is clipped already, and fails
        found: dict[str, Any] = {
            "strength": strength,
            "score": float(scores.mean()),
            "lost": lost,
            "clipped_score": twin,
        }
        metrics = run.record["metrics"]
        try:
            why = mechanism([metrics], lost, restored)
        except (UserError, TypeError):  # a recorded number is not finite
            found |= {
                "word": "diverged" if lost > FAILED else "no failure",
                "step": None,
                "epoch": None,
            }
            return {
                **found,
                "cause": "the gradient is not finite",
                "restored": restored,
                "course": metrics,
            }
        for name in (
            "word",
            "cause",
            "step",
            "epoch",
            "cosine",
            "dead",
            "variation",
            "steepness",
            "restored",
        ):
            found[name] = getattr(why, name)
        found["norm"] = _largest_norm(metrics)
        return {
            **found,
            "ratio": why.ratio.estimate,
            "signal": why.signal.estimate,
            "course": metrics,
        }

    def _clips(self) -> bool:
        """Whether a clipped twin would be another recipe, and the tighter one."""
        return self.recipe.clip is None or self.recipe.clip > CLIP


def _largest_norm(history: Sequence[dict[str, Any]]) -> float:
    """The largest mean norm of g that was seen: clipping acts only where some norms are above its
    bound.
    """
    pairs = [(one["probe_norm_ratio"], one["probe_clean_norm"]) for one in probes(history)]
    return max(
        (ratio * clean for ratio, clean in pairs if ratio is not None and clean is not None),
        default=math.inf,
    )


def failing(trial: Trial, objective: str, strengths: Sequence[float], run: Run) -> dict[str, Any]:
    """Constant strengths in rising order, until one fails; and `run` itself, the one that was asked
    about.

    `fails_from` is the smallest of `strengths` whose training loses more than 10 points of clean
    score to the plain one, or None; stronger ones are not tried. For one seed: what a word is worth
    over seeds, a study says.
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
