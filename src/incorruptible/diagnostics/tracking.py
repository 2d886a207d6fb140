"""A training that is done again and measured on the way, while nothing of the training changes.

A *look* is one measurement: the gradient under perturbation at several strengths, the sharpness,
and the strength that the network tolerates.

Relies on: every tool of `landscape` leaves the model as it was, and a look draws from generators of
its own name. Keeps: the bits of the training are those of the training without looks (`watch`
checks this against the checksum of the run's weights).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import objectives
from ..corruptions import Gaussian
from ..files import records
from ..landscape import along, health, line, sharpness, surface, tolerated
from ..tasks import Task
from ..tasks.data import named_randomness
from ..training import Trainer, save_weights
from ..training.recipe import Probe, Recipe
from ..weights.batchnorm import evaluating

EARLY = (1, 2, 4)  # looks within the first epoch: trainings that fail do so there

Look = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How a landscape is measured.

    - `objective`: the objective through which the gradient is measured.
    - `strengths`: constant strengths, measured besides the schedule's own.
    - `images`: how many training images are looked at; 0 means all.
    - `draws`: how many draws each measurement takes.
    - `every`: the number of epochs from one look to the next.
    - `budget`: a strength is tolerated while the perturbed loss stays within it; None means that
      the tolerated strength is not sought.
    - `points`: the resolution of the surface; 0 means no surface.
    """

    objective: str
    strengths: tuple[float, ...] = ()
    images: int = 0
    draws: int = 16
    every: int = 1
    budget: float | None = None
    points: int = 21
    seed: int = 0


class Watched(Trainer):
    """A training with looks at some of its steps, which are kept in `looks`. The training has the
    same bits as without looks.
    """

    def __init__(
        self,
        task: Task,
        recipe: Recipe,
        settings: Settings,
        device: str = "cpu",
        tell: Callable[[int], None] | None = None,
    ) -> None:
        probe = Probe(images=settings.images, draws=settings.draws, every=0, early=())
        super().__init__(task, replace(recipe, probe=probe), device)
        self.settings, self.tell = settings, tell
        self.through = objectives.parse(settings.objective)
        self.scale = scale_in(self.through)
        self.looks: list[Look] = []
        # steps of an epoch
        self.each = self.steps // recipe.epochs
        epochs = {epoch for epoch in range(1, recipe.epochs + 1) if epoch % settings.every == 0} | {
            recipe.epochs
        }
        self.places = {*EARLY, *(epoch * self.each for epoch in epochs)}

    @property
    def looked_at(self) -> int | None:
        """How many training images a look takes; None if this cannot be told from the batch."""
        batch = self._probe_batch
        first = batch[0] if isinstance(batch, list | tuple) and len(batch) else None
        return len(first) if isinstance(first, Tensor) else None

    def step(self, batch: Any) -> Tensor:
        """One step of the training, and a look if one is due."""
        # the strength of this step, before the step moves it on
        strength = self.robust.held
        loss = super().step(batch)
        if self.robust.step in self.places:
            self.looks.append(
                {
                    "step": self.robust.step,
                    "epoch": round(self.robust.step / self.each, 3),
                    **self.look(strength),
                }
            )
            if self.tell is not None:
                self.tell(self.robust.step)
        return loss

    def look(self, own: float | None = None) -> Look:
        """Everything that is measured at the weights as they are. `own` is the strength at which
        training is now.
        """
        with named_randomness("landscape", self.settings.seed, device=self.device):
            return self._seen(own)

    def _seen(self, own: float | None) -> Look:
        """Measures everything of a look. The caller has seeded torch's generators by name."""
        settings, arrays, batch = self.settings, self.robust.arrays, self._probe_batch
        loss: Any = self.task.loss
        curved = {
            name: sharpness(
                self.model,
                arrays,
                loss,
                batch,
                scale=scale,
                draws=settings.draws,
                seed=settings.seed,
            )
            for name, scale in (("weights", None), ("noise", self.scale))
        }
        at = {}
        named = {f"{s:g}": s for s in settings.strengths}
        for name, s in (named if own is None else {"schedule": own, **named}).items():
            found = health(
                self.model,
                arrays,
                self.through,
                s,
                loss,
                batch,
                self._climbs,
                draws=settings.draws,
                seed=settings.seed,
                accuracy=self.task.score,
            )
            at[name] = {**found._asdict(), "quadratic": self._quadratic(s, curved["noise"].trace)}
        top = self._top()
        most = None if settings.budget is None else self._tolerated(self.through, top)
        return {
            "asked": own,
            "tolerated": most,
            "beyond": most is not None and most >= top,
            "sharpness": {name: found._asdict() for name, found in curved.items()},
            "at": at,
        }

    def _top(self) -> float:
        """The largest strength that is tried when the tolerated one is sought."""
        own = self._peak() if self.recipe.objective == self.settings.objective else 0.0
        return 4 * max(*self.settings.strengths, own, 0.1)

    def _quadratic(self, strength: float, trace: float) -> float | None:
        """The rise of the loss that the Hessian alone predicts, for Gaussian noise; None for other
        objectives.
        """
        gaussian = (
            isinstance(getattr(self.through, "corruption", None), Gaussian)
            and self.through.passes == 1
        )
        return strength**2 * trace / 2 if gaussian else None

    def _tolerated(self, objective: objectives.Objective, top: float) -> float:
        """The largest strength of `objective` that the budget tolerates, from 4 draws."""
        assert self.settings.budget is not None
        return tolerated(
            self.model,
            self.robust.arrays,
            objective,
            self.task.loss,
            self._probe_batch,
            self.settings.budget,
            draws=4,
            seed=self.settings.seed,
            top=top,
            halvings=12,
        )

    def slices(self) -> dict[str, Any]:
        """The loss along draws of noise, along the steepest ascent, along random directions, and on
        a random plane.
        """
        settings, arrays, batch, loss = (
            self.settings,
            self.robust.arrays,
            self._probe_batch,
            self.task.loss,
        )
        with named_randomness("landscape", settings.seed, device=self.device):
            straight = line(
                self.model, arrays, loss, batch, draws=min(4, settings.draws), seed=settings.seed
            )
            plane = None
            if settings.points:
                plane = surface(
                    self.model, arrays, loss, batch, points=settings.points, seed=settings.seed
                )._asdict()
            return {"along": self._along(), "line": straight._asdict(), "surface": plane}

    def _along(self) -> dict[str, Any]:
        """The loss along the objective of the settings, along noise of its scale, and along the
        steepest ascents in both metrics.

        Each path goes as far as twice the strength that the budget tolerates. Without a budget, and
        where nothing is tolerated, it goes a quarter of a length that is certainly too far: the
        norm of the weights, or noise at strength 1.
        """
        arrays = self.robust.arrays
        length = math.sqrt(sum(float(array.value.double().square().sum()) for array in arrays))
        noisy = math.sqrt(sum(array.value.numel() for array in arrays))
        tops = {self.settings.objective: self._top()}
        for text, top in (
            (f"rwp(gaussian-{self.scale})", 1.0),
            ("sam", length),
            (f"sam:metric={self.scale}", noisy),
        ):
            tops.setdefault(text, top)
        paths = {}
        for text, top in tops.items():
            objective = objectives.parse(text)
            reach = top / 4
            if self.settings.budget is not None:
                reach = 2 * self._tolerated(objective, top) or reach
            found = along(
                self.model,
                arrays,
                objective,
                [reach * k / 20 for k in range(21)],
                self.task.loss,
                self._probe_batch,
                draws=1
                if isinstance(objective, objectives.SAM | objectives.ASAM)
                else self.settings.draws,
                seed=self.settings.seed,
            )
            unit = getattr(objective, "corruption", objective).unit
            paths[text] = {"unit": unit, **found._asdict()}
        return paths


def scale_in(objective: Any) -> str:
    """The name of the scale that an objective perturbs by; filter-max if it has none."""
    metric = getattr(objective, "metric", "euclidean")
    return str(
        getattr(
            getattr(objective, "corruption", None),
            "scale",
            "filter-max" if metric == "euclidean" else metric,
        )
    )


def watch(fit: Watched, weights: str | None = None) -> dict[str, Any]:
    """Does the training with its looks. Returns the looks, and the slices at its end.

    `same_bits` tells whether the final weights have the checksum `weights` (None: there is none to
    compare with).
    """
    while fit.done < fit.recipe.epochs:
        fit.epoch()
    same = None
    if weights is not None:
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / "weights.safetensors"
            save_weights(fit.model, again)
            same = records.checksum(again) == weights
    return {
        "steps": fit.steps,
        "same_bits": same,
        "looks": fit.looks,
        "slices": fit.slices(),
        "mode": "as in training",
    }


def look_at(fit: Watched) -> dict[str, Any]:
    """One look at the weights that `fit` starts from, as they would be deployed, and the slices
    there.
    """
    with evaluating(fit.model):
        return {"looks": [fit.look()], "slices": fit.slices(), "mode": "as deployed"}
