"""Sharpness-aware minimisation as an optimiser, for loops that were written for one of the common
SAM packages.

Relies on: `weights.swap.replaced` brings clean weights back bit for bit. Keeps: the base optimiser
steps only from the clean weights; after an error they are back with `restore()`; parameter groups
and state are one object with the base optimiser's, so schedulers and checkpoints see one optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .errors import UserError
from .objectives.base import Grads
from .objectives.sam import Ascent
from .renamed import missing
from .weights.arrays import Array
from .weights.batchnorm import Statistics
from .weights.swap import replaced


class SAMOptimizer(Optimizer):
    """Sharpness-aware minimisation: climbs to the worst point of a ball around the weights, and
    then lets `base_optimizer` step from the clean weights with the gradient at that point.

        optimizer = SAMOptimizer(
            model.parameters(), torch.optim.SGD, rho=0.05, lr=0.1, momentum=0.9, model=model
        )
        ...
        loss_of(model(x), y).backward()
        optimizer.first_step(zero_grad=True)
        loss_of(model(x), y).backward()
        optimizer.second_step(zero_grad=True)

    A step costs two forward and backward passes. Choose it for a loop that already uses a SAM
    package; in a new loop, `Hardener` with the objective `SAM` or `ASAM` does the same and more.

    The step to the worst point is e = rho g / ||g|| or, with `adaptive`, e = rho T^2 g / ||T g||
    with T = |w| + eta. The norm is over all parameters of all groups. These are the objectives
    `SAM` and `ASAM` (arXiv 2010.01412, 2102.11600), for everything in `params`, biases and norms
    too. `eta` is 0, as in the packages; the authors of ASAM, and our objective, take 0.01. In a
    group with `maximize` the step goes downhill.

    `base_optimizer` is a class, which gets all further options. `rho`, `adaptive` and `eta` are
    entries of `param_groups`. These groups and the state are the base optimiser's own, so
    schedulers and checkpoints see one optimiser.

    Clean weights are copied aside and back into the same storage, bit for bit. After an error
    between the two steps, `restore()` brings them back; it does nothing if no weight was moved. The
    next `first_step` brings them back too, and then raises, because the gradient was taken at the
    wrong weights. `step(closure)` restores them by itself.

    With `model`, BatchNorm's running statistics move in the pass before `first_step` only. Without
    `model` they move in both passes, as in the packages.

    If all gradients are zero, no weight is moved, and the step is a plain one. A gradient that is
    not finite moves no weight either. If the second gradient is not finite, there is no step, and
    `skipped` counts it. Each of these two checks reads one number from the device. Under DDP all
    ranks decide alike, also if the first pass is in a `no_sync`.

    Raises `UserError` for a `base_optimizer` that is no class of optimisers or needs a closure, and
    if rho or eta is not a finite number of at least 0.

    By hand: L = (a^2 + 4 b^2) / 2 at (1, 1) has g = (1, 4); rho = sqrt(17) gives e = (1, 4), there
    the gradient is (2, 20), and plain SGD with lr 0.1 goes to (0.8, -1).
    """

    def __init__(
        self,
        params: Any,
        base_optimizer: Callable[..., Optimizer],
        rho: float = 0.05,
        adaptive: bool = False,
        *,
        eta: float = 0.0,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(base_optimizer, Optimizer) or not callable(base_optimizer):
            came = type(base_optimizer).__name__
            raise UserError(
                f"base_optimizer is one {came}; its class is needed, as in SAMOptimizer(params, "
                "torch.optim.SGD, lr=0.1)."
            )
        super().__init__(params, {"rho": rho, "adaptive": adaptive, "eta": eta})
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        if isinstance(self.base_optimizer, torch.optim.LBFGS):
            raise UserError(
                "LBFGS evaluates the loss by itself and cannot step from another point: use "
                "another optimiser, such as torch.optim.SGD."
            )
        self.defaults.update(self.base_optimizer.defaults)
        self._share()
        self.skipped = 0
        self._statistics = None if model is None else Statistics(model)
        # between the two steps: closing this puts weights and statistics back
        self._moved: ExitStack | None = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch. Raises `UserError` if rho or eta is not a finite number of at least 0."""
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def first_step(self, zero_grad: bool = False) -> None:
        """Moves the weights to the point where the second gradient is to be taken. `zero_grad`
        clears the first gradient.

        Raises `UserError` if no parameter has a gradient, and if the last `first_step` was not
        followed by `second_step` or `restore`; the clean weights are in place then.
        """
        if self._moved is not None:
            self.restore()
            raise UserError(
                "first_step was called twice; the weights are back now. After an error between "
                "first_step and second_step, call optimizer.restore()."
            )
        arrays, grads = self._gradients()
        if not arrays:
            raise UserError(
                "no parameter has a gradient: call loss.backward() before first_step() and before "
                "step(closure)."
            )
        moved = ExitStack()
        if self._statistics is not None:
            # taken after the first pass, and put back after the second one
            moved.callback(self._statistics.put, self._statistics.take())
        moved.enter_context(
            replaced(arrays, self._worst(arrays, grads) if _finite(grads) else None)
        )
        self._moved = moved
        if zero_grad:
            self.zero_grad()

    def second_step(self, zero_grad: bool = False) -> None:
        """Brings the clean weights back, and lets the base optimiser step with the gradient in
        `.grad`.

        Raises `UserError` without a `first_step` before.
        """
        if self._moved is None:
            raise UserError(
                "second_step needs a first_step before it, and a backward() between the two."
            )
        self.restore()
        if _finite(self._gradients()[1]):
            self.base_optimizer.step()
        else:
            self.skipped += 1
        self._opt_called = True  # schedulers look for this attribute, and warn if it is not there
        if zero_grad:
            self.zero_grad()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Does both steps, and returns the result of `closure`.

        As in the packages, the first gradient is in `.grad` already, and `closure` is one full
        pass: the loss and its backward(). After an exception in `closure`, weights and running
        statistics are as before, and there is no gradient. Raises `UserError` without a closure.
        """
        if closure is None:
            raise UserError(
                "step() needs a closure that does the second backward(); without a closure, call "
                "first_step() and second_step()."
            )
        self.first_step(zero_grad=True)
        try:
            with torch.enable_grad():
                loss = closure()
        except BaseException:
            self.restore()
            self.zero_grad()
            raise
        self.second_step()
        return loss

    def restore(self) -> None:
        """Brings the clean weights (and with `model` the running statistics) back without a step.
        Does nothing if they are in place.
        """
        if self._moved is not None:
            moved, self._moved = self._moved, None
            moved.close()

    def state_dict(self) -> dict[str, Any]:
        """As in torch, with the base optimiser's state. Raises `UserError` between the two steps,
        when the weights are perturbed.
        """
        self._must_stand()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch; a state of the base optimiser alone is taken too. Raises `UserError` between
        the two steps.
        """
        self._must_stand()
        # a state of the base optimiser alone lacks rho, adaptive and eta, which then keep their
        # values
        own = [
            {name: group[name] for name in ("rho", "adaptive", "eta")}
            for group in self.param_groups
        ]
        self.base_optimizer.load_state_dict(state_dict)
        self._share()
        for group, before in zip(self.param_groups, own, strict=True):
            for name, value in before.items():
                group.setdefault(name, value)

    def __getstate__(self) -> dict[str, Any]:
        self._must_stand()
        mine = ("base_optimizer", "skipped", "_statistics", "_moved")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in mine}}

    def _share(self) -> None:
        """Makes groups and state one object with the base optimiser's."""
        self.param_groups, self.state = self.base_optimizer.param_groups, self.base_optimizer.state

    def _must_stand(self) -> None:
        """Raises `UserError` between the two steps, when the weights are perturbed."""
        if self._moved is not None:
            raise UserError(
                "between first_step and second_step the weights are perturbed: call "
                "optimizer.restore() first."
            )

    def _gradients(self) -> tuple[list[Array], Grads]:
        """The parameters that have a gradient, as arrays whose names are their places, and these
        gradients.
        """
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        arrays = [
            Array(str(i), parameter)
            for i, parameter in enumerate(parameters)
            if parameter.grad is not None
        ]
        grads = {array.name: array.parameter.grad for array in arrays}
        return arrays, {
            name: g.to_dense() if g.is_sparse else g for name, g in grads.items() if g is not None
        }

    def _worst(self, arrays: list[Array], grads: Grads) -> Callable[[Array], Tensor]:
        """Returns the function that gives the weights at the worst point, to first order, of an
        array.
        """
        devices = {str(g.device) for g in grads.values()}
        if len(devices) > 1:
            raise UserError(
                f"the parameters are on {', '.join(sorted(devices))}; move them all to one device, "
                "because the norm is taken over all of them."
            )
        groups = {
            id(parameter): group for group in self.param_groups for parameter in group["params"]
        }
        for group in self.param_groups:
            _check(group)

        def metric(array: Array) -> Tensor:
            group = groups[id(array.parameter)]
            return (
                array.value.abs() + group["eta"]
                if group["adaptive"]
                else torch.ones_like(array.value)
            )

        def radius(group: dict[str, Any]) -> float:
            return float(-group["rho"] if group.get("maximize") else group["rho"])

        # one metric for all groups, since the norm is over all of them; it is 1 where a group is
        # not adaptive
        shaped = metric if any(group["adaptive"] for group in self.param_groups) else None
        radii = {radius(group) for group in self.param_groups}
        # All steps go along the same gradient, whose norm is computed once for each rho.
        steps = {rho: Ascent(grads, arrays, rho, shaped) for rho in radii}
        return lambda array: steps[radius(groups[id(array.parameter)])](array)


def _check(group: dict[str, Any]) -> None:
    """Raises `UserError` unless rho and eta are finite numbers of at least 0."""
    for name in ("rho", "eta"):
        if not 0 <= group[name] < math.inf:
            raise UserError(f"{name}={group[name]!r}: a finite number of at least 0 is needed.")


def _finite(grads: Grads) -> bool:
    """Whether all gradients are finite. This reads one number from the device."""
    fine = [g.isfinite().all() for g in grads.values()]
    return not fine or bool(torch.stack(fine).all())


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
