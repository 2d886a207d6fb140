"""A plain training loop around `Hardener`, from a task and a recipe.

Relies on: a recipe and a task are all that decides a training; everything random draws from named
streams of the recipe's seed. The order of parameters, and so of the optimiser's state, is that of
`named_parameters`.
Keeps: the same recipe, task, device, threads and versions give the same bits, whatever ran before
in the process. `state` and `load` lose none of them. The probe and `validation` leave weights,
buffers, modes and random generators as they were, so metrics can be taken or left out. torch's,
numpy's and Python's global generators are after each epoch where they were before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from .. import schedules
from ..errors import UserError
from ..landscape import health, tolerated
from ..landscape.probing import untouched
from ..randomness.streams import key
from ..tasks import Task, batches
from ..tasks.data import Batches, named_randomness
from ..tasks.scores import channels_last, moved
from ..weights.arrays import refuse_not_finite
from ..weights.batchnorm import evaluating
from .distributed import ALONE, RankGroup
from .hardener import Hardener
from .precision import Precision, called, part
from .recipe import Recipe
from .weights import clip_weights, load_weights

VALIDATED = 1000  # examples: an accuracy has a standard error of at most 1.6 points


def for_task(recipe: Recipe, task: Task) -> Recipe:
    """`recipe`, completed from the task: where its strength is `auto` without a unit for the
    budget, the unit becomes the task's `reference`.
    """
    strength = recipe.parts.strength
    told = strength.for_task(task.reference) if isinstance(strength, schedules.Auto) else strength
    return recipe if told == strength else replace(recipe, strength=str(told)).resolved()


def _network(task: Task, recipe: Recipe) -> nn.Module:
    """The network as training begins: with new weights drawn from the recipe's seed, or with the
    weights of the file `recipe.start`.
    """
    with named_randomness(recipe.seed, "weights"):
        model = task.model()
    if not isinstance(model, nn.Module):
        raise UserError(
            f"{task.name}: model() gave {type(model).__name__}; a torch.nn.Module is needed."
        )
    if recipe.start is not None:
        load_weights(model, Path(recipe.start))
        refuse_not_finite(model)
    return model


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; AdamW takes the momentum as its first beta."""
    every, decay = model.parameters(), recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(every, recipe.lr, recipe.momentum, weight_decay=decay)
    return torch.optim.AdamW(every, recipe.lr, (recipe.momentum, 0.999), weight_decay=decay)


class Validation(NamedTuple):
    """The score of the clean weights on the first `examples` of the validation data; `whole` says
    that there are no more of them.

    >>> print(Validation("accuracy", 0.9533, "fraction", 300, True))
    validation accuracy 0.953 on 300 examples
    >>> print(Validation("code length", 3.21, "bits per byte", 1024, False))
    validation code length 3.210 bits per byte on the first 1,024 examples
    """

    name: str
    value: float
    unit: str
    examples: int
    whole: bool

    def __str__(self) -> str:
        unit = "" if self.unit in ("", "fraction") else f" {self.unit}"
        which = f"{'' if self.whole else 'the first '}{self.examples:,}"
        plural = "" if self.examples == 1 else "s"
        return f"validation {self.name} {self.value:.3f}{unit} on {which} example{plural}"


class Trainer:
    """One training: `epoch()` trains for the next epoch; `state()` and `load()` stop and resume it
    with the same bits.

    Initial weights, the order of examples and noise are drawn from the recipe's seed, each under a
    name of its own. So two arms of equal seed start from equal weights and see equal batches.
    `keep(model, place)` is called at each of the recipe's checkpoints. Each batch is cut into
    `accumulate` parts for each rank of `group`. Each part has draws of its own (noise and dropout),
    so that two ranks compute what one process computes with two parts.

    Raises `UserError` for a task without training data, for weights that do not fit, for a pattern
    that matches no parameter, and for a group whose size is not the recipe's `ranks`.
    """

    def __init__(
        self,
        task: Task,
        recipe: Recipe,
        device: str | torch.device = "cpu",
        keep: Callable[[nn.Module, float], None] = lambda model, place: None,
        group: RankGroup = ALONE,
    ) -> None:
        recipe = for_task(recipe, task)
        self.task, self.recipe, self.keep, self.group = task, recipe, keep, group
        self.device = torch.device(device)
        if recipe.ranks != group.size:
            raise UserError(
                f"the recipe says ranks={recipe.ranks}, and this training has {group.size}; one "
                "process computes the same with ranks=1 and "
                f"accumulate={recipe.ranks * recipe.accumulate}."
            )
        data = task.part("train")
        self.model = _network(task, recipe).to(self.device).train()
        if recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        train = batches(data, recipe.batch)
        if not hasattr(train, "__len__"):
            raise UserError(
                f"{task.name}: the training data have no length, and the schedule of the strength "
                "needs the number of steps: give a DataLoader or tensors."
            )
        self.steps = len(train) * recipe.epochs  # type: ignore[arg-type]
        _, self.objective, self.schedule = recipe.parts
        self.optimizer = _optimizer(self.model, recipe)
        self.decay = (
            CosineAnnealingLR(self.optimizer, self.steps)
            if recipe.decay == "cosine"
            else LambdaLR(self.optimizer, lambda step: 1.0)
        )
        self.precision = Precision(recipe.autocast, self.device)
        self.network = called(self.model, recipe.compiled, self.device, group)
        self.robust = Hardener(
            self.network,
            self.objective,
            self.schedule,
            steps=self.steps,
            seed=recipe.seed,
            accumulate=recipe.accumulate,
            arrays=recipe.arrays(self.model),
            batchnorm=recipe.batchnorm,
            noise=recipe.noise,
            **self.precision.hooks,
        )
        self.metrics: list[dict[str, Any]] = []
        self.done = 0
        with named_randomness("probe"):
            self._probe_batch, self._climbs = self._fixed_probe(data)

    def epoch(self) -> dict[str, Any]:
        """Train for one epoch. Returns its metrics, which are also appended to `metrics`. "loss" is
        the mean over the steps whose loss was finite, and nan where there was none.
        """
        recipe, strength = self.recipe, self.robust.held
        losses: list[Tensor] = []
        early = set(recipe.probe.early) if self.done == 0 and recipe.probe.draws else set()
        # A DataLoader may shuffle with a generator of its own, which named_randomness does not
        # seed.
        own = getattr(self.task.train, "generator", None)
        if isinstance(own, torch.Generator):
            own.manual_seed(key(recipe.seed, "order", self.done) >> 1)
        with named_randomness(recipe.seed, "epoch", self.done, device=self.device):
            order = (recipe.seed, "order", self.done)
            for batch in batches(self.task.train, recipe.batch, order, self.device, augmented=True):
                strength = self.robust.held
                losses.append(self.step(batch))
                if self.robust.step in early and self.robust.step < self.steps // recipe.epochs:
                    self.metrics.append({"step": self.robust.step, **self._probe(strength)})
        self.done += 1
        # Steps with another loss were skipped; `skipped` counts them.
        finite = [
            loss for loss in self.group.mean(torch.stack(losses)).tolist() if math.isfinite(loss)
        ]
        metrics = {
            "step": self.robust.step,
            "epoch": self.done,
            "loss": math.fsum(finite) / len(finite) if finite else math.nan,
            "strength": strength,
            "lr": self.optimizer.param_groups[0]["lr"],
            "skipped": self.skipped,
            **(self._probe(strength) if recipe.probe.due(self.done) else {}),
        }
        self.metrics.append(metrics)
        return metrics

    @property
    def skipped(self) -> int:
        """The number of losses that were not finite, plus the number of steps that were left out
        because 16-bit gradients overflowed.
        """
        return self.robust.skipped + self.precision.skipped

    def step(self, batch: Any) -> Tensor:
        """One optimiser step on `batch`, on whichever device the batch is. Returns the loss; under
        several ranks, this rank's contribution, whose mean over the ranks is the batch's loss.
        """
        self.optimizer.zero_grad()
        losses = [self._passed(batch, micro) for micro in range(self.recipe.accumulate)]
        self.precision.step(self.optimizer, self.model, self.recipe.clip)
        if self.recipe.clip_weights is not None:
            clip_weights(self.robust.arrays, self.recipe.clip_weights)
        self.precision.decay(self.decay)
        done = self.robust.step
        for place in self.recipe.checkpoints:
            if max(1, round(place * self.steps)) == done:
                self.keep(self.model, place)
        return torch.stack(losses).sum()

    def _passed(self, batch: Any, micro: int) -> Tensor:
        """Add the gradient of part `micro` of this rank's share of the batch to `.grad`. Returns
        the part's loss, weighted so that the sum over parts and the mean over ranks give the
        batch's.
        """
        each, ranks = self.recipe.accumulate, self.group.size
        index = self.group.rank * each + micro
        mine, share = part(batch, index, each * ranks)
        mine = moved(mine, self.device)
        if self.recipe.channels_last:
            mine = channels_last(mine)
        factor = share * ranks

        def loss() -> Tensor:
            mean = self.precision.mean(lambda: self.task.loss(self.network, mine))
            return mean if factor == 1 else mean * factor

        with self._dropout(index), self._apart(micro):
            return self.robust.backward(loss)

    def _dropout(self, index: int) -> AbstractContextManager[None]:
        """A context that seeds the network's own randomness (dropout) by the name of the part.
        Where a batch is one part, the epoch's named randomness simply goes on.
        """
        if self.recipe.accumulate * self.group.size == 1:
            return nullcontext()
        return named_randomness(
            self.recipe.seed, "part", self.robust.step, index, device=self.device
        )

    def _apart(self, micro: int) -> AbstractContextManager[Any]:
        """A context in which DDP postpones averaging: all parts of a step but the last."""
        if self.group.size == 1 or micro == self.recipe.accumulate - 1:
            return nullcontext()
        return self.network.no_sync()  # type: ignore[operator, no-any-return]

    def validation(self) -> Validation | None:
        """The task's score with the clean weights, on the first thousand validation examples; None
        where the task has no validation data, or data that can be iterated only once.

        Nothing that decides the bits of training moves: random generators (also a DataLoader's
        own), buffers, and the mode of each module are afterwards what they were. Costs one forward
        pass of at most `VALIDATED` examples, rounded up to whole batches of `Task.batch`, in 32
        bits and without gradients.
        """
        data, score = self.task.validation, self.task.score
        if data is None or isinstance(data, Iterator):
            return None
        own = [getattr(one, "generator", None) for one in (data, getattr(data, "sampler", None))]
        states = [(one, one.get_state()) for one in own if isinstance(one, torch.Generator)]
        values: list[Tensor] = []
        whole = True
        # Not inference_mode: a tensor that the network makes there and keeps, such as a mask or a
        # table of angles, could not be used in a later backward pass.
        try:
            with (
                untouched(self.model),
                named_randomness("validation", device=self.device),
                evaluating(self.model),
                torch.no_grad(),
            ):
                for batch in batches(data, self.task.batch, device=self.device):
                    if sum(map(len, values)) >= VALIDATED:
                        whole = False
                        break
                    values.append(score(self.model, moved(batch, self.device)).float())
        finally:
            for one, state in states:
                one.set_state(state)
        found = torch.cat(values)
        name = str(getattr(score, "name", None) or getattr(score, "__name__", "score"))
        return Validation(name, float(found.mean()), getattr(score, "unit", ""), len(found), whole)

    def at_peak(self) -> dict[str, Any]:
        """What the gradient instrument finds on the current weights at the largest strength of the
        training.
        """
        return self._probe(self._peak())

    def _peak(self) -> float:
        """The schedule's largest strength. Of a controller, the largest strength at the end of an
        epoch so far.
        """
        if self.robust.controller is None:
            return schedules.peak(self.schedule)
        return max(
            (one["strength"] for one in self.metrics if "strength" in one), default=self.robust.held
        )

    def _fixed_probe(self, data: Any) -> tuple[Any, list[Any]]:
        """The images that the gradient instrument looks at, and the mini-batches of them along
        which an objective ascends, one for each draw. Both are the same for every arm and seed.
        """
        probe = self.recipe.probe
        if not probe.draws:
            return None, []
        order: tuple[str | int, ...] = ("probe",)
        if isinstance(found := batches(data, self.recipe.batch, order), Batches):
            size = min(probe.images or found.examples, found.examples)
            batch = next(iter(batches(data, size, order)))
            climbs: list[Any] = []
            # Each round cuts another permutation of the images into mini-batches, so that no two
            # mini-batches are the same. A last, smaller mini-batch is left out.
            while len(climbs) < probe.draws:
                round_ = Batches(batch, self.recipe.batch, (*order, len(climbs)))
                climbs += [
                    moved(one, self.device)
                    for one in round_
                    if len(one[0]) == min(size, self.recipe.batch)
                ]
            return moved(batch, self.device), climbs
        batch = moved(next(iter(found)), self.device)
        return batch, [batch]

    def _probe(self, strength: float | None = None) -> dict[str, Any]:
        """What the gradient instrument finds on the current weights, at `strength` or at the
        strength that training has reached. Moves no random generator.
        """
        with named_randomness("probe", self.recipe.seed, device=self.device):
            return self._looked(strength)

    def _looked(self, strength: float | None) -> dict[str, Any]:
        probe = self.recipe.probe
        strength = self.robust.held if strength is None else strength
        found: dict[str, Any] = {
            f"probe_{name}": value
            for name, value in health(
                self.model,
                self.robust.arrays,
                self.objective,
                strength,
                self.task.loss,
                self._probe_batch,
                self._climbs,
                draws=probe.draws,
                seed=self.recipe.seed,
                accuracy=self.task.score,
            )
            ._asdict()
            .items()
        }
        if probe.tolerance and self.task.reference is not None:
            found["tolerated"] = tolerated(
                self.model,
                self.robust.arrays,
                self.objective,
                self.task.loss,
                self._probe_batch,
                self.task.reference / 2,
                draws=2,
                seed=self.recipe.seed,
                top=4 * max(self._peak(), 0.1),
            )
        return found

    def state(self) -> dict[str, Any]:
        """All that `load` needs to go on with the same bits: tensors and plain data, as
        `torch.load(weights_only=True)` accepts them.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "decay": self.decay.state_dict(),
            "robust": self.robust.state_dict(),
            **self.precision.state(),
            "metrics": self.metrics,
            "done": self.done,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, as `state()` gave it for the same task and recipe."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.decay.load_state_dict(state["decay"])
        self.robust.load_state_dict(state["robust"])
        self.precision.load(state)
        self.metrics, self.done = state["metrics"], state["done"]
