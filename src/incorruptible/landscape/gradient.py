"""What perturbation does to the gradient: does it vanish, or does it drown in variance?

A training under perturbation can fail in two ways. The mean gradient over draws may become small
beside the clean gradient g0, or the single gradients may scatter so widely around their mean that
steps go nowhere. `health` measures both on one batch of examples, the *probe batch*.

Relies on: an objective yields points with shares that say how much each one counts; a point of
share 0 is one to climb from. Keeps: weights, `.grad`, running statistics, the model's mode and
torch's generators are as before, also after an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..objectives.base import Grads, Objective, Point, PointResult, run_objective
from ..randomness.streams import Draw
from ..weights.arrays import Array
from ..weights.swap import replaced
from .probing import Loss, gradient, perturbed, trainable_of, untouched

_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.ELU,
)


class Health(NamedTuple):
    """The gradient under perturbation, on one probe batch over several draws.

    Norms are Euclidean, over all trainable parameters. g is the gradient of one draw, and g0 the
    clean gradient.

    - `norm_ratio`: the mean of ||g||, over ||g0||.
    - `mean_ratio`: ||E g|| / ||g0||. The norm of the mean is corrected for its bias: its square is
      ||mean g||^2 - tr(S) / draws, at least 0, where S is the covariance of g over draws.
    - `signal_to_noise`: the same corrected norm over sqrt(tr(S)), at most 1e6.
    - `cosine`: of the mean g with g0.
    - `dead`: the share of activation units whose output is the same for every example of the batch,
      at the perturbed weights (at the clean ones for an objective that has no others).
    - `loss_variation`: the coefficient of variation of the loss over draws.
    - `steepness`: for objectives that climb, the increase of the loss over its first-order
      prediction <g0, e>, where e is the step; 1 on a linear landscape, nan for other objectives.

    What needs more than one draw is nan for a single draw.
    """

    strength: float
    clean_loss: float
    clean_accuracy: float
    perturbed_loss: float
    loss_variation: float
    clean_norm: float
    norm_ratio: float
    mean_ratio: float
    signal_to_noise: float
    cosine: float
    dead: float
    steepness: float


def health(
    model: nn.Module,
    arrays: Sequence[Array],
    objective: Objective,
    strength: float,
    loss: Loss,
    batch: Any,
    climbs: Sequence[Any],
    *,
    draws: int,
    seed: int,
    accuracy: Loss | None = None,
) -> Health:
    """The gradient of an objective at `strength` on `batch`, over `draws` draws, compared with the
    clean gradient g0.

    Where the objective climbs (SAM), draw k climbs along the gradient of the mini-batch
    `climbs[k % len(climbs)]`, as in training, and the gradient that is measured is that of the
    whole `batch`. `loss(model, batch)` gives one number for each example, [b]. The model keeps its
    mode; afterwards weights, gradients, running statistics and torch's generators are as before.
    """
    named = trainable_of(model)
    parameters = list(named.values())
    with untouched(model), _Dead(model) as dead:
        clean_loss, g0 = gradient(model, parameters, loss, batch)
        hits = float(accuracy(model, batch).detach().mean()) if accuracy is not None else math.nan
        visits = []
        total = torch.zeros_like(_flat(g0))
        for k in range(draws):
            climb, alone = climbs[k % len(climbs)] if climbs else batch, objective.passes == 1
            visit = _Visit(model, arrays, named, loss, batch, climb, g0, dead, alone)
            # a draw has the same noise at every strength, so that differences between strengths are
            # not chance
            visit.end(run_objective(objective(arrays, strength, Draw(seed, "probe", k)), visit))
            total += visit.gradient
            visits.append((visit.loss, float(visit.gradient.norm()), visit.predicted))
    losses, norms, predicted = torch.tensor(visits, dtype=torch.float64).T
    mean, flat0 = total / draws, _flat(g0)
    # ||mean g||^2 overestimates ||E g||^2 by tr(S) / draws; tr(S) is estimated without bias from
    # the squared norms
    mean_square, norm0 = float(mean.square().sum()), float(flat0.norm())
    trace = (
        max(0.0, float(norms.square().sum() - draws * mean_square) / (draws - 1))
        if draws > 1
        else math.nan
    )
    signal = (
        math.sqrt(max(0.0, mean_square - trace / draws)) if draws > 1 else math.sqrt(mean_square)
    )
    # only an objective that climbs has a step with a predicted rise
    climbed = predicted != 0
    return Health(
        strength=strength,
        clean_loss=clean_loss,
        clean_accuracy=hits,
        perturbed_loss=float(losses.mean()),
        loss_variation=float(losses.std() / losses.mean())
        if draws > 1 and float(losses.mean())
        else math.nan,
        clean_norm=norm0,
        norm_ratio=float(norms.mean()) / norm0 if norm0 else math.nan,
        mean_ratio=signal / norm0 if norm0 else math.nan,
        signal_to_noise=min(1e6, signal / math.sqrt(max(trace, 1e-30)))
        if trace == trace
        else math.nan,
        cosine=float(mean @ flat0 / (mean.norm() * flat0.norm()).clamp_min(1e-30)),
        dead=dead.share(),
        steepness=float(((losses - clean_loss)[climbed] / predicted[climbed]).mean())
        if climbed.any()
        else math.nan,
    )


class _Visit:
    """One run of an objective: its loss and its flat gradient on the whole batch, while it climbs
    along the gradient of a mini-batch.
    """

    def __init__(
        self,
        model: nn.Module,
        arrays: Sequence[Array],
        named: dict[str, Tensor],
        loss: Loss,
        batch: Any,
        climb: Any,
        g0: Sequence[Tensor],
        dead: _Dead,
        alone: bool,
    ) -> None:
        self.model, self.arrays, self.named, self.parameters = (
            model,
            arrays,
            named,
            list(named.values()),
        )
        self.loss_of, self.batch, self.climb, self.dead, self.alone = (
            loss,
            batch,
            climb,
            dead,
            alone,
        )
        self.climbing = [array for array in arrays if array.parameter.requires_grad]
        by_id = {id(p): g for p, g in zip(self.parameters, g0, strict=True)}
        self.slopes = [(array, by_id[id(array.parameter)]) for array in self.climbing]
        self.gradient, self.loss, self.predicted, self.looked = (
            torch.zeros_like(_flat(g0)),
            0.0,
            0.0,
            False,
        )
        self.shares = 0.0

    def __call__(self, point: Point) -> PointResult:
        # a point that does not count shows the objective where to climb; as in training, its
        # gradient is that of a mini-batch and covers only the arrays
        if point.share == 0:
            self.looked = True
            with replaced(self.arrays, point.values), point.entered(self.model):
                loss, grads = gradient(
                    self.model, [a.parameter for a in self.climbing], self.loss_of, self.climb
                )
            return PointResult(
                torch.tensor(loss), {a.name: g for a, g in zip(self.climbing, grads, strict=True)}
            )
        # <g0, e>: the rise that the slope predicts for the step e
        if point.values is not None and self.looked:
            self.predicted += point.share * sum(
                float(((point.values(array) - array.value) * slope).sum())
                for array, slope in self.slopes
            )
        # units are counted at perturbed points, and at clean ones if the objective visits no other
        self.dead.watching = not point.clean or self.alone
        with replaced(self.arrays, point.values), point.entered(self.model):
            loss, grads = gradient(self.model, self.parameters, self.loss_of, self.batch)
        self.dead.watching = False
        self.loss += point.share * loss
        self.shares += point.share
        if point.keep:
            return PointResult(torch.tensor(loss), dict(zip(self.named, grads, strict=True)))
        self.gradient += point.share * _flat(grads)
        return PointResult(torch.tensor(loss), {})

    def end(self, added: Grads | None) -> None:
        """Adds the gradients that the objective itself returned, and divides the loss by all
        shares.
        """
        if added is not None:
            self.gradient += _flat(
                [added.get(name, torch.zeros_like(p)) for name, p in self.named.items()]
            )
        self.loss /= self.shares


def tolerated(
    model: nn.Module,
    arrays: Sequence[Array],
    objective: Objective,
    loss: Loss,
    batch: Any,
    budget: float,
    *,
    draws: int,
    seed: int,
    top: float,
    halvings: int = 7,
) -> float:
    """The largest strength up to `top` whose mean perturbed loss on `batch` stays within `budget`,
    found by bisection.

    The result is 0 if even the clean loss is beyond the budget. Climbing objectives climb along the
    gradient of `batch` itself. Bisection assumes that the loss rises with the strength; it costs
    `draws` losses for each of up to `halvings` + 2 strengths.
    """

    def within(strength: float) -> bool:
        found = (
            perturbed(model, arrays, objective, strength, loss, batch, Draw(seed, "tolerated", k))
            for k in range(draws)
        )
        return sum(found) / draws <= budget

    with untouched(model):
        if not within(0.0):
            return 0.0
        if within(top):
            return top
        low, high = 0.0, top
        for _ in range(halvings):
            middle = (low + high) / 2
            low, high = (middle, high) if within(middle) else (low, middle)
    return low


def _flat(grads: Sequence[Tensor]) -> Tensor:
    """All gradients as one float32 vector."""
    return torch.cat([g.flatten().float() for g in grads])


class _Dead:
    """Counts activation units whose output does not change over a batch, in forward passes while
    `watching` is True.
    """

    def __init__(self, model: nn.Module) -> None:
        self.watching = False
        self.still, self.units = 0, 0
        self.modules = [m for m in model.modules() if isinstance(m, _ACTIVATIONS)]

    def __enter__(self) -> _Dead:
        self.hooks = [m.register_forward_hook(self._see) for m in self.modules]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _see(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self.watching:
            moving = (output.detach().amax(0) - output.detach().amin(0)) > 1e-7
            # a channel counts as one unit, which is alive if any of its places is
            if moving.dim() > 1:
                moving = moving.flatten(1).any(1)
            self.units += moving.numel()
            self.still += int((~moving).sum())

    def share(self) -> float:
        """The share of dead units among all that were seen; nan without any."""
        return self.still / self.units if self.units else math.nan
