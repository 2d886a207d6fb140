"""`Hardener`, two lines that harden a training loop of your own.

The objective says at which points in weight space to compute the gradient (`objectives.base`); the
`Hardener` alone writes to weights. Each call of `backward` or `perturbed` is one `_Call`, which
notes gradients and buffers at its beginning and can restore them.

Relies on: parameters keep their identity and their storage from call to call, and no optimiser step
happens inside a call (checked by the parameters' version counters). The order of micro-batches is
the order of calls: draws are named by the call's number.
Keeps: after every call the weights are bit-equal to those before it, also after an error. After an
error, and after a loss that is not finite (with `guard`), `.grad` and all buffers are bit-equal
too. Buffers move at most once for each call, with the pass that `batchnorm` names. Equal seeds,
steps, losses and weights give equal bits, also across `state_dict` and `load_state_dict`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from operator import index
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import Remark, UserError, unknown
from ..objectives import parse as parse_objective
from ..objectives.base import (
    Grads,
    Objective,
    ObjectiveSteps,
    Point,
    PointResult,
    checked_reach,
    max_strength_of,
    policy_of,
    run_objective,
)
from ..randomness.bank import BankedDraw, bank_for
from ..randomness.streams import Draw
from ..schedules import Controller, Schedule, Seen, State, checked
from ..schedules import parse as parse_schedule
from ..weights.arrays import Array, refuse_sharded, select, unwrapped
from ..weights.batchnorm import Statistics
from ..weights.swap import BufferPool, replaced
from .distributed import averaged, synced

NOISES = ("exact", "banked")


class Hardener:
    """Hardens a training loop: `backward` puts perturbed weights in place, lets the loop compute
    its loss and gradient there, and puts the clean weights back bit for bit.

        steps = len(loader) * epochs
        robust = Hardener(model, RWP("gaussian-filter-max"), Quadratic(0.0, 0.1), steps=steps, seed=0)
        ...
        robust.backward(lambda: F.cross_entropy(model(x), y))        # was: loss.backward()
        optimizer.step()

    **Strength.** `steps` counts the optimiser steps of the whole training. A schedule gives step i
    the strength `strength(min(1, i / (steps - 1)))`. A controller such as `Auto` computes the
    strength from the losses of earlier steps. That adds no pass, but one number is read from the
    device in each step, and under DDP averaged over the ranks. Where the controller has a
    `remark(before, after)`, the first rank shows what it returns as a warning (`Remark`).

    **Accumulation.** `accumulate` is the number of backward calls (micro-batches) in each optimiser
    step; `finish_step` ends a shorter step. Losses are not rescaled, so divide them as you would
    without this class. Micro-batch m on rank r has a draw of its own: the draw of micro-batch
    r * accumulate + m of a single process.

    **Hooks.** `backward` replaces `Tensor.backward`, for loss scaling:
    `lambda loss: scaler.scale(loss).backward()`. With `scale=scaler.get_scale`, objectives that
    look at gradients (`RandBET`) get them in their true size: gradients are divided by
    scale / accumulate before the objective sees them, and what it returns is multiplied by it. This
    presumes losses that are divided by `accumulate`.

    **DDP.** The model may be wrapped in DistributedDataParallel, `torch.compile` or both. Gradients
    are averaged over the ranks once for each call, by DDP in the last pass that counts. Gradients
    that an objective returns are added to `.grad` of each rank, and `.grad` is then averaged as DDP
    would, unless the caller's `no_sync` postpones that. FSDP is refused, because it cuts filters
    apart.

    **Where perturbed weights lie.** Weights are swapped in their own storage, so nothing is
    compiled again and no memory layout (channels-last) changes. Under autocast the weights as they
    are kept (fp32 masters) are perturbed, not their 16-bit copies. The memory for what is set aside
    is kept from call to call: one copy of the arrays, and one of each `.grad` that is not None when
    a call begins.

    **BatchNorm.** `batchnorm` says which pass moves running statistics, once for each call: "noisy"
    is the last perturbed pass, or the clean pass where `RandBET` stopped after it (the default
    where the objective never visits the clean weights); "clean" is the clean pass (the default
    where the objective makes one); "frozen" is none.

    **Guard.** With `guard`, a call whose loss is not finite leaves `.grad` and the running
    statistics as they were before the call, and `skipped` counts it. Under DDP all ranks decide
    together, and gradients that earlier micro-batches left on each rank (inside `no_sync`) are
    averaged all the same. The guard reads one number from the device in each call. It is on by
    default unless `backward` is given. An exception leaves model and gradients as they were, with
    and without guard.

    **Other options.** `arrays` are those of `select(model)` unless given. `noise="exact"` draws
    each normal number, on the CPU the same numbers that `measure` would draw. `noise="banked"`
    reads them from a bank (`randomness.bank.Bank`), whose draws have the same mean and covariance;
    it costs a fraction where layers are linear and batches small. Objectives that draw nothing
    train alike under both.

    Raises `UserError` for a model without arrays or in shards, for `steps` or `accumulate` below 1,
    for a BatchNorm policy that the objective cannot keep, and for a strength beyond what the
    objective takes (a rate above 1).
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        strength: Schedule | Controller,
        *,
        steps: int,
        seed: int,
        accumulate: int = 1,
        arrays: Sequence[Array] | None = None,
        backward: Callable[[Tensor], Any] | None = None,
        scale: Callable[[], float] | None = None,
        batchnorm: str | None = None,
        guard: bool | None = None,
        noise: str = "exact",
    ) -> None:
        steps, accumulate = _whole("steps", steps), _whole("accumulate", accumulate)
        if steps < 1 or accumulate < 1:
            raise UserError(f"steps={steps} and accumulate={accumulate}: both must be at least 1.")
        objective, strength = _objective(objective), _schedule(strength)
        self.controller = None if callable(strength) else strength
        checked_reach(objective, strength)
        refuse_sharded(unwrapped(model))
        self.model, self.objective, self.schedule = model, objective, strength
        self.steps, self.seed, self.accumulate = steps, seed, accumulate
        self.batchnorm = policy_of(objective, batchnorm)
        self.arrays = list(select(model) if arrays is None else arrays)
        if noise not in NOISES:
            raise unknown("noise", noise, NOISES)
        self.noise = noise
        shapes = [tuple(one.value.shape) for one in self.arrays]
        self._bank = bank_for(shapes, seed) if noise == "banked" else None
        self._pool = BufferPool()
        self.calls = 0
        self.skipped = 0
        # Whether a backward pass moves buffers, as it does with activation checkpointing; None
        # until the first backward pass has shown it.
        self._recomputes: bool | None = None
        self._warned = False
        self._control: State = {} if self.controller is None else self.controller.start()
        # For the controller: the sum [2] of the perturbed and the clean losses of this step's
        # micro-batches so far.
        self._seen: Tensor | None = None
        self._visited = False  # whether the last call looked at the clean weights
        self._at = 0.0  # the strength of the last call
        # For `metrics`: the calls of the step under way, and the last whole step: its strength, its
        # calls, and what its losses are divided by.
        self._noted: list[tuple[list[Tensor], list[bool]]] = []
        self._last: tuple[float, list[tuple[list[Tensor], list[bool]]], float] | None = None
        self._backward = backward or Tensor.backward
        self._scale = scale
        self._guard = backward is None if guard is None else guard
        self._statistics = Statistics(model)
        # torch.compile's wrapper hides the wrapper of DDP, if both are there.
        inner = getattr(model, "_orig_mod", model)
        self._ranks = inner if isinstance(inner, DistributedDataParallel) else None
        if self._ranks is not None and self._ranks.static_graph and objective.passes > 1:
            raise UserError(
                f"{objective} makes {objective.passes} passes a step, and "
                "DistributedDataParallel(static_graph=True) allows only one: leave out "
                "static_graph."
            )

    @property
    def step(self) -> int:
        """The optimiser step that the next call belongs to, from 0."""
        return self.calls // self.accumulate

    @property
    def progress(self) -> float:
        """0 at the first step, 1 from the last step on; 0 where there is only one."""
        return min(1.0, self.step / max(1, self.steps - 1))

    @property
    def strength(self) -> float:
        """The strength of the next call."""
        return self._checked(
            self.schedule(self.progress) if callable(self.schedule) else self._control["strength"]
        )

    @property
    def held(self) -> float:
        """The strength that training has reached: the strength of the next call, except where a
        controller makes that call's step at the clean weights to look at the loss there.
        """
        return self._checked(self._control["held"]) if "held" in self._control else self.strength

    def _checked(self, asked: Any) -> float:
        found, most = (
            checked(asked, f"strength at progress {self.progress:.3f}"),
            max_strength_of(self.objective),
        )
        if found > most:
            raise UserError(
                f"strength at progress {self.progress:.3f} {found:g}: {self.objective} takes at "
                f"most {most:g}."
            )
        return found

    def backward(self, closure: Callable[[], Tensor]) -> Tensor:
        """Add the objective's gradient to `.grad`. Returns the detached loss: the mean over the
        objective's points, weighted by their shares.

        `closure` computes the loss (a scalar) of the current batch. It is called once for each pass
        of the objective, with that pass's weights in place. Afterwards the weights are bit-equal to
        those before, also after an error.

        Raises `UserError` for a closure that is not a function, does not return a scalar with a
        graph, calls backward or the optimiser itself, or computes its loss from another model.
        """
        if isinstance(closure, Tensor):
            raise UserError(
                "backward takes a function that computes the loss, because it computes the loss at "
                "other weights: robust.backward(lambda: loss_of(model(x), y))."
            )
        if not callable(closure):
            raise UserError(
                "backward takes a function that computes the loss, and was given "
                f"{type(closure).__name__}."
            )
        call = _Call(self)
        with call:
            added = run_objective(self._path(), lambda point: self._look(point, closure, call))
            if added is not None:
                self._add(added, call)
        self._advance(call)
        return call.loss

    @contextmanager
    def perturbed(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """A context with the perturbed weights in place, for code that cannot be put into a
        closure.

            with robust.perturbed() as look:
                look(loss_of(model)).backward()

        `look` returns the loss that it is given, and notes it for the guard. When the block ends,
        the weights are bit-equal to those before, also after an error. Raises `UserError` for an
        objective of several passes or one that looks at its gradient, where the weights were
        changed inside the block, and where `look` was never called.
        """
        if self.objective.passes != 1:
            raise UserError(
                f"{self.objective} takes {self.objective.passes} passes: give backward() a closure "
                "instead."
            )
        call = _Call(self)

        def look(loss: Tensor) -> Tensor:
            call.note(loss, clean=point.clean)
            return loss

        with call:
            path = self._path()
            point = next(path)
            if not point.counts:
                raise UserError(
                    f"{self.objective} looks at its gradient: give backward() a closure instead."
                )
            call.enter(point)
            versions = self._versions()
            with replaced(self.arrays, point.values, self._pool), point.entered(self.model):
                yield look
                self._refuse_steps_inside(versions)
            call.leave(point)
            path.close()
            if not call.losses:
                raise UserError(
                    "look(loss) was never called inside perturbed(): with ... as look: "
                    "look(loss).backward()"
                )
        self._advance(call)

    def metrics(self) -> dict[str, float]:
        """The last whole optimiser step as plain numbers, for any logger that takes a dictionary:
        `wandb.log(robust.metrics())`, `logger.log_metrics(robust.metrics())`.

        "strength" is the strength that the step was made at. "perturbed_loss" is the loss at the
        perturbed weights (at the clean ones where the objective visits no others). "clean_loss" is
        the loss at the clean weights, and is there only where the objective visits them. Losses are
        summed over the step's micro-batches, as gradients are, and are not finite where one of them
        was skipped. "skipped" counts the skipped calls of the whole training. Before the first
        whole step there are no losses; after a resume in the middle of a step, the losses of that
        step lack the micro-batches before the stop.

        Each call reads two numbers from the device. Under DDP the losses are those of this rank, so
        that one rank may log alone.
        """
        strength, calls, weight = self._last or (self.strength, [], 1.0)
        losses: dict[str, float] = {}
        if calls:
            seen = (torch.stack([_seen(*call) for call in calls]).sum(0) / weight).tolist()
            losses = dict(zip(("perturbed_loss", "clean_loss"), seen, strict=True))
            if not any(calls[-1][1]):
                del losses["clean_loss"]
        return {"strength": strength, **losses, "skipped": float(self.skipped)}

    def finish_step(self, weight: float | None = None) -> None:
        """End an optimiser step of fewer than `accumulate` calls, such as the last one of an epoch.
        Does nothing where no step is under way. Touches neither weights nor gradients.

        For the controller and `metrics`, the sum of the step's losses is divided by `weight`, the
        sum of the factors that the losses were multiplied by. The default, calls / accumulate, is
        right where each loss was divided by `accumulate`.
        """
        made = self.calls % self.accumulate
        if made:
            self.calls += self.accumulate - made
            self._hear(made / self.accumulate if weight is None else weight)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and texts from which a stopped training goes on with the same bits.

        Under DDP, with a controller and accumulation, save between optimiser steps: in the middle
        of a step each rank has losses of its own.
        """
        state: dict[str, Any] = {
            "format": 1,
            "calls": self.calls,
            "skipped": self.skipped,
            **self._identity(),
        }
        state["noise"] = self.noise
        if self.controller is not None:
            state["controller"] = str(self.controller)
            seen = None if self._seen is None else self._seen.tolist()
            state |= {"control": dict(self._control), "seen": seen}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, as `state_dict` gave it. Raises `UserError` if it was saved under
        another seed, number of steps, accumulation, noise or controller, or by a newer version.
        """
        if state.get("format", 1) > 1:
            raise UserError(
                f"this state has format {state['format']}, and this version reads 1: update "
                "incorruptible."
            )
        control = () if self.controller is None else ("control", "controller", "seen")
        lacking = [
            name for name in ("calls", "skipped", *control, *self._identity()) if name not in state
        ]
        if lacking:
            raise UserError(f"this is not a state of a Hardener: it lacks {', '.join(lacking)}.")
        if self.controller is None and "control" in state:
            raise UserError(
                "this state was saved under a controller, and the Hardener has a schedule."
            )
        # A state without "noise" was saved when there was only exact noise.
        state = {"noise": "exact", **state}
        same: dict[str, Any] = {**self._identity(), "noise": self.noise}
        if self.controller is not None:
            same["controller"] = str(self.controller)
        for name, value in same.items():
            if state[name] != value:
                raise UserError(
                    f"this state was saved with {name}={state[name]}, and the Hardener has "
                    f"{name}={value}."
                )
        self.calls, self.skipped = state["calls"], state["skipped"]
        if self.controller is not None:
            self._control = dict(state["control"])
            self._seen = (
                None if state["seen"] is None else torch.tensor(state["seen"], dtype=torch.float32)
            )

    def _identity(self) -> dict[str, int]:
        return {"seed": self.seed, "steps": self.steps, "accumulate": self.accumulate}

    def _advance(self, call: _Call) -> None:
        """Count the call. The last call of an optimiser step ends the step."""
        if self.step >= self.steps and not self._warned:
            self._warned = True
            warnings.warn(
                f"this call belongs to step {self.step + 1}, and the Hardener was made for "
                f"steps={self.steps}: the strength stays what it is from here on. steps counts "
                "optimiser steps: len(loader) * epochs.",
                stacklevel=3,
            )
        self.calls += 1
        self._noted.append((call.losses, call.clean))
        if self.controller is not None:
            seen = _seen(call.losses, call.clean)
            self._seen = seen if self._seen is None else self._seen.to(seen.device) + seen
            self._visited = any(call.clean)
        if self.calls % self.accumulate == 0:
            self._hear()

    def _hear(self, weight: float = 1.0) -> None:
        """End an optimiser step: keep its losses for `metrics` and tell them to the controller."""
        self._last, self._noted = (self._at, self._noted, weight), []
        if self.controller is None or self._seen is None:
            return
        if self._ranks is not None:
            group = self._ranks.process_group
            torch.distributed.all_reduce(self._seen, torch.distributed.ReduceOp.SUM, group)
            self._seen /= torch.distributed.get_world_size(group)
        loss, clean = (self._seen / weight).tolist()
        self._seen = None
        seen = Seen(loss, clean if self._visited else None)
        before, self._control = (
            self._control,
            self.controller.next(self.progress, seen, self._control),
        )
        remark = getattr(self.controller, "remark", None)
        said = None if remark is None else remark(before, self._control)
        if said and (self._ranks is None or torch.distributed.get_rank() == 0):
            warnings.warn(said, Remark, stacklevel=4)

    def _path(self) -> ObjectiveSteps:
        """The points of this call. The draw is named by the seed and the number of the micro-batch
        among those of all ranks, so it is the same whatever came before.
        """
        micro = self.calls % self.accumulate
        rank, ranks = 0, 1
        if self._ranks is not None:
            group = self._ranks.process_group
            rank, ranks = torch.distributed.get_rank(group), torch.distributed.get_world_size(group)
        index = self.step * self.accumulate * ranks + rank * self.accumulate + micro
        if self._bank is None:
            draw = Draw(self.seed, "train", index, native=True)
        else:
            draw = BankedDraw(self.seed, "train", index, bank=self._bank)
        self._at = self.strength
        return self.objective(self.arrays, self._at, draw)

    def _look(self, point: Point, closure: Callable[[], Tensor], call: _Call) -> PointResult:
        """Visit a point: one forward and one backward pass with its weights in place.

        `replaced` puts the clean weights back when its block ends, also after an error; `call`
        restores gradients and buffers then.
        """
        call.enter(point)
        versions, grads_before = self._versions(), self._gradients()
        with (
            replaced(self.arrays, point.values, self._pool),
            point.entered(self.model),
            self._unsynced(point, call),
        ):
            loss = closure()
            if not isinstance(loss, Tensor) or loss.dim() != 0:
                came = (
                    f"shape {tuple(loss.shape)}"
                    if isinstance(loss, Tensor)
                    else type(loss).__name__
                )
                raise UserError(
                    f"the closure returned {came}; it must return the loss, a scalar tensor."
                )
            call.note(loss, point.share, clean=point.clean)
            grads: Grads = {}
            if not loss.requires_grad:
                raise UserError(
                    "the loss has no graph: it was detached, computed without gradients, or the "
                    "closure called backward by itself; the closure should only return the loss, "
                    "and robust.backward does the rest."
                )
            with self._moved_once(), _once():
                if point.counts:
                    self._backward(loss if point.share == 1 else loss * point.share)
                else:
                    grads = self._aside(loss, call, point.keep)
            self._refuse_steps_inside(versions)
            if point.counts:
                self._refuse_without_gradient(grads_before)
        call.leave(point)
        found = loss.detach()
        return PointResult(found if self.accumulate == 1 else found * self.accumulate, grads)

    @contextmanager
    def _moved_once(self) -> Iterator[None]:
        """A context for a backward pass. Where the backward pass repeats forward passes (activation
        checkpointing), buffers stay as the first forward pass left them.
        """
        if self._recomputes is False:
            yield
            return
        after = self._statistics.take()
        yield
        if self._recomputes is None:
            self._recomputes = self._statistics.moved(after)
        if self._recomputes:
            self._statistics.put(after)

    def _versions(self) -> list[int]:
        """torch's counters of in-place changes, one for each array's parameter. The swap of weights
        does not move them; an optimiser step does.
        """
        return [array.parameter._version for array in self.arrays]

    def _refuse_steps_inside(self, before: list[int]) -> None:
        """Raise `UserError` where the weights were written to inside a call: perturbed weights were
        in place, so the change would be lost when the clean weights return.
        """
        if self._versions() != before:
            raise UserError(
                "the weights were changed inside robust.backward, while the perturbed ones stood "
                "in their place: call optimizer.step() behind robust.backward(closure), not in the "
                "closure, and use no optimiser that steps in the backward pass."
            )

    def _gradients(self) -> list[tuple[int, int]]:
        """For each array, a mark of its `.grad` (identity and version) that changes when something
        is added to it.
        """
        each = [array.parameter.grad for array in self.arrays if array.parameter.requires_grad]
        return [(id(grad), -1 if grad is None else grad._version) for grad in each]

    def _refuse_without_gradient(self, before: list[tuple[int, int]]) -> None:
        """Raise `UserError` where no array's `.grad` changed in a backward pass, which means that
        the loss does not depend on the arrays. Not checked under DDP.
        """
        if before and self._ranks is None and self._gradients() == before:
            raise UserError(
                "no weight in an array got a gradient: the closure's loss does not come from this "
                "model (a copy of it?), or its backward pass is not that of loss.backward()."
            )

    def _aside(self, loss: Tensor, call: _Call, all_: bool) -> Grads:
        """The gradient of `loss` for all parameters (`all_`) or for the arrays, by name. Afterwards
        every `.grad` is the tensor that it was before, also after an error.

        The factor of the backward hook and the division by `accumulate` are taken out of it.
        """
        own = [(parameter, parameter.grad) for parameter, _, _ in call.grads]
        for parameter, _ in own:
            parameter.grad = None
        try:
            self._backward(loss)
            wanted = call.named if all_ else {array.name: array.parameter for array in self.arrays}
            found = {
                name: parameter.grad
                for name, parameter in wanted.items()
                if parameter.grad is not None
            }
            call.sparse |= {name: g.sparse_dim() for name, g in found.items() if g.is_sparse}
            grads = {name: g.to_dense() if g.is_sparse else g for name, g in found.items()}
        finally:
            for parameter, before in own:
                parameter.grad = before
        if not grads:
            raise UserError(
                f"{self.objective} needs the gradient of the arrays, and no array requires one: "
                "unfreeze some arrays, or use rwp."
            )
        size = self._size()
        return grads if size == 1 else {name: g / size for name, g in grads.items()}

    def _size(self) -> float:
        """The factor of gradients in `.grad` relative to those of the undivided, unscaled loss."""
        return (1.0 if self._scale is None else float(self._scale())) / self.accumulate

    def _add(self, added: Grads, call: _Call) -> None:
        """Add the gradients that an objective returned to `.grad`, in the scale and layout (dense
        or sparse) that gradients have there. Under DDP, average `.grad` over the ranks afterwards.
        """
        size = self._size()
        with torch.no_grad():
            for name, g in added.items():
                parameter = call.named[name]
                g = g if size == 1 else g * size
                g = g.to_sparse(call.sparse[name]) if name in call.sparse else g
                if parameter.grad is None:
                    parameter.grad = g.to(parameter.dtype, copy=True)
                else:
                    parameter.grad.add_(g)
        if self._ranks is not None and synced(self._ranks):
            averaged(self._ranks)

    def _unsynced(self, point: Point, call: _Call) -> AbstractContextManager[Any]:
        """`no_sync` of DDP for every pass but the last one that counts, so that DDP averages the
        gradients once for each call.
        """
        if self._ranks is None or (point.counts and call.passes == self.objective.passes):
            return nullcontext()
        return self._ranks.no_sync()


@contextmanager
def _once() -> Iterator[None]:
    """A context for a backward pass that turns torch's error about a second backward pass through
    the same graph into a `UserError`.
    """
    try:
        yield
    except RuntimeError as problem:
        if "backward through the graph a second time" not in str(problem):
            raise
        raise UserError(
            "the closure called backward by itself (or keeps a graph from call to call): it should "
            "only return the loss, and robust.backward does the rest."
        ) from problem


def _objective(given: Objective | str) -> Objective:
    """`given`, or the objective that it writes down. Raises `UserError` for anything else."""
    objective = parse_objective(given) if isinstance(given, str) else given
    if isinstance(objective, type) or not callable(objective):
        came = objective.__name__ if isinstance(objective, type) else repr(objective)
        raise UserError(
            f"objective={came} is not an objective: give RWP(Gaussian('filter-max')) or SAM(), for "
            "example."
        )
    return objective


def _schedule(given: Schedule | Controller | str) -> Schedule | Controller:
    """`given`, or the schedule or controller that it writes down. Raises `UserError` for anything
    else.
    """
    strength = parse_schedule(given) if isinstance(given, str) else given
    if isinstance(strength, type) or not (callable(strength) or hasattr(strength, "next")):
        raise UserError(
            f"strength={strength!r} is no schedule: Constant({strength!r}) makes a schedule of a "
            "number."
        )
    return strength


def _whole(name: str, value: Any) -> int:
    """`value` as an int. Raises `UserError` where it is not a whole number."""
    try:
        return index(value)
    except TypeError:
        raise UserError(
            f"{name}={value!r}: a whole number is needed, for example len(loader) * epochs."
        ) from None


def _seen(losses: list[Tensor], clean: list[bool]) -> Tensor:
    """[2] The loss at the last perturbed point of a call (at the clean point where there is no
    other), and the loss at the clean point (0 where the objective does not visit it).

    `losses` are those of the call's points; `clean` says of each whether its weights were clean.
    """
    places = [i for i, one in enumerate(clean) if not one] or [len(clean) - 1]
    at_rest = losses[clean.index(True)] if any(clean) else torch.zeros_like(losses[0])
    return torch.stack([losses[places[-1]], at_rest]).float()


class _Call:
    """One call of a Hardener, as a context: the gradients and buffers before it, the losses of its
    passes, and how to undo it.

    Left with an exception, or with a loss that is not finite under the guard, it restores every
    `.grad` (the same tensors with the same bits) and every buffer. Otherwise it leaves the buffers
    as the pass left them that the BatchNorm policy names.
    """

    def __init__(self, robust: Hardener) -> None:
        self.robust = robust
        self.losses: list[Tensor] = []
        self.shares: list[float] = []
        self.clean: list[bool] = []
        self.passes = 0
        # The sparse dimensions of the gradients that are sparse, by the parameter's name.
        self.sparse: dict[str, int] = {}
        # The buffers before the call, and the buffers that it is to leave.
        self.before = self.kept = robust._statistics.take()
        self.standing = True  # whether the buffers hold `kept` now
        self.grads = [
            (
                parameter,
                parameter.grad,
                None if parameter.grad is None else robust._pool.copy(parameter.grad),
            )
            for parameter in robust.model.parameters()
        ]
        present = {id(parameter) for parameter, _, _ in self.grads}
        for array in robust.arrays:
            if id(array.parameter) not in present:
                raise UserError(
                    f"{array.name} is no parameter of the model any more: make the Hardener when "
                    "the model is complete."
                )

    @cached_property
    def named(self) -> dict[str, nn.Parameter]:
        """Every parameter by its name in the model."""
        return dict(unwrapped(self.robust.model).named_parameters())

    def note(self, loss: Tensor, share: float = 1.0, clean: bool = False) -> None:
        """Note the loss at a point, the point's share, and whether its weights are clean."""
        self.losses.append(loss.detach())
        self.shares.append(share)
        self.clean.append(clean)

    @property
    def loss(self) -> Tensor:
        """The mean loss over the points, weighted by their shares."""
        if len(self.losses) == 1:
            return self.losses[0].clone()
        total = sum(self.shares)  # 1, unless an objective stopped early
        counted = [
            (loss, share / total)
            for loss, share in zip(self.losses, self.shares, strict=True)
            if share
        ]
        return torch.stack([loss * share for loss, share in counted]).sum()

    def enter(self, point: Point) -> None:
        """Begin a pass: every pass starts from the buffers as they were before the call."""
        if self.passes:
            self.robust._statistics.put(self.before)
        self.passes += 1

    def leave(self, point: Point) -> None:
        """End a pass: keep the buffers that it left, if it is the pass of the BatchNorm policy."""
        policy = self.robust.batchnorm
        # An objective may stop before its noisy pass. Until there is a noisy pass, the clean one
        # counts as it.
        early = policy == "noisy" and point.clean and all(self.clean)
        self.standing = early or policy == ("clean" if point.clean else "noisy")
        if self.standing and self.robust.objective.passes > 1:
            self.kept = self.robust._statistics.take()

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._undo()
        elif self.robust._guard and not self._finite():
            self._undo()
            self.robust.skipped += 1
            self._settle()
        elif not self.standing:
            self.robust._statistics.put(self.kept)
        for _, _, copy in self.grads:
            if copy is not None:
                self.robust._pool.back(copy)

    def _undo(self) -> None:
        """Restore buffers and gradients: the same tensors, with the bits of before the call."""
        self.robust._statistics.put(self.before)
        with torch.no_grad():
            for parameter, own, copy in self.grads:
                parameter.grad = own
                if own is not None and copy is not None:
                    own.copy_(copy)

    def _settle(self) -> None:
        """After a skipped call, average the gradients that earlier micro-batches left on each rank
        inside `no_sync`. DDP would have averaged them in this call.
        """
        ranks = self.robust._ranks
        if ranks is not None and self.robust.accumulate > 1 and synced(ranks):
            averaged(ranks)

    def _finite(self) -> bool:
        """Whether all losses of the call are finite, on all ranks. Under DDP this is a collective
        operation, which every rank reaches in every call.
        """
        if self.robust._ranks is None and len(self.losses) == 1:
            return math.isfinite(self.losses[0])
        fine = torch.stack(self.losses).isfinite().all()
        if self.robust._ranks is not None:
            vote = fine.to(torch.int32)
            torch.distributed.all_reduce(
                vote, torch.distributed.ReduceOp.MIN, self.robust._ranks.process_group
            )
            return bool(vote)
        return bool(fine)
