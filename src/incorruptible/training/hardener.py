"""Two lines that harden a training loop of one's own."""

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

__all__ = ["NOISES", "Hardener"]

NOISES = ("exact", "banked")


class Hardener:
    """Puts perturbed weights in place, lets the loop compute its gradient there, and puts the
    weights back bit for bit.

        robust = Hardener(model, RWP(Gaussian("filter-max")), Quadratic(0.0, 0.1), steps=len(loader) * epochs, seed=0)
        ...
        robust.backward(lambda: F.cross_entropy(model(x), y))        # was: loss.backward()
        optimizer.step()

    `steps` counts optimiser steps of the whole training; the strength at step i is `strength(min(1,
    i / (steps - 1)))`, or what a controller such as `Auto` makes of the losses before it: no pass
    is added, but one number is read from the device in each step, and under DDP averaged over the
    ranks. What a controller's `remark(before, after)` says about two states is given as a warning
    (`Remark`), by the first rank. Its state is in `state_dict()`.

    `accumulate` is the number of backward calls (micro-batches) for each optimiser step;
    `finish_step` ends a short one. The losses are taken as they come, so divide them as without
    this class. Micro-batch m on rank r draws noise of its own, as micro-batch r * accumulate + m of
    one process would.

    `arrays` are those of `select(model)` unless given. `backward` replaces `Tensor.backward`, for
    loss scaling: `lambda loss: scaler.scale(loss).backward()`; `scale=scaler.get_scale` then tells
    objectives the true size of the gradients that they look at. Objectives that bound gradients
    (`RandBET`) need it, and losses that are divided by `accumulate`: what is handed to them is
    multiplied by it, and what they return divided.

    Gradients that an objective returns are added to `.grad`; under DDP each rank returns its own,
    and `.grad` is then averaged over the ranks, as DDP would, unless a `no_sync` of the caller's
    puts that off.

    The model may be wrapped in DistributedDataParallel, `torch.compile` or both, and lie in memory
    as channels-last: weights are swapped in their own storage, so nothing is compiled again and no
    layout changes. Under autocast it is the weights as they are kept that are perturbed (fp32
    masters), never their 16-bit copies. FSDP is refused: it cuts filters apart.

    `batchnorm` says which pass moves running statistics, once for each call: "noisy" (the last
    perturbed one, or the clean one where `RandBET` stopped at it; the default where the objective
    never visits the clean weights), "clean" (the default where it does), or "frozen".

    With `guard`, the default without a `backward` of one's own, a loss that is not finite leaves
    `.grad` and the running statistics as they were before the call, and `skipped` counts it; under
    DDP all ranks decide together, and what earlier micro-batches had left on each of them (inside
    `no_sync`) is averaged all the same. This reads one number from the device in each call;
    `guard=False` avoids that. An exception leaves model and gradients as they were.

    `noise` is where normal numbers come from: "exact" draws each of them, on the CPU those that
    `measure` would draw; "banked" reads them from a bank (`randomness.bank.Bank`), whose mean and
    covariance over draws are the same, which costs a fraction where layers are linear and batches
    small. Objectives that draw nothing train alike under both.

    What is put aside lies in memory that is kept from call to call: one copy of the arrays, and one
    of each `.grad` that is not None when a call begins.

    Raises `UserError` for a model without arrays or in shards, steps or accumulate below 1, a
    policy that the objective cannot keep, and a strength that goes beyond what it takes (a rate
    above 1).
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
            raise UserError(f"steps={steps} and accumulate={accumulate}: both are at least 1.")
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
        # Whether a backward pass moves buffers, as with activation checkpointing.
        self._recomputes: bool | None = None
        self._warned = False
        self._control: State = {} if self.controller is None else self.controller.start()
        # The losses of this step's micro-batches so far: perturbed, clean.
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
        inner = getattr(model, "_orig_mod", model)  # torch.compile's wrapper hides the other
        self._ranks = inner if isinstance(inner, DistributedDataParallel) else None
        if self._ranks is not None and self._ranks.static_graph and objective.passes > 1:
            raise UserError(
                f"{objective} makes {objective.passes} passes a step, and "
                "DistributedDataParallel(static_graph=True) counts on one: leave static_graph out."
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
        """The strength that training is at: that of the next call, unless a controller makes a
        single step at the clean weights.
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
        """Add the objective's gradient to `.grad`; returns its loss, detached: the mean over its
        points, weighted by their shares.

        `closure` computes the loss (a scalar) of the current batch; it is called once for each pass
        of the objective.
        """
        if isinstance(closure, Tensor):
            raise UserError(
                "backward takes the loss as a function, to compute it at other weights: "
                "robust.backward(lambda: loss_of(model(x), y))."
            )
        if not callable(closure):
            raise UserError(
                f"backward takes a function that computes the loss, and {type(closure).__name__} "
                "came."
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
        """The weights of a one-pass objective for the length of a block, where a closure cannot be
        given.

            with robust.perturbed() as look:
                look(loss_of(model)).backward()

        `look` passes the loss through, noting it for the guard. Raises `UserError` for an objective
        of several passes, and when `look` was never called.
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
        """End an optimiser step that came to fewer than `accumulate` calls, as the last one of an
        epoch may; else do nothing.

        A controller hears of it: the losses are divided by `weight`, what their factors add up to;
        unless given, that is calls / accumulate, as where each was divided by `accumulate`.
        """
        made = self.calls % self.accumulate
        if made:
            self.calls += self.accumulate - made
            self._hear(made / self.accumulate if weight is None else weight)

    def state_dict(self) -> dict[str, Any]:
        """What a stopped run needs to go on with the same bits: plain numbers and texts.

        Under DDP, with a controller and accumulation, save between optimiser steps: in the middle
        of one each rank has losses of its own.
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
        """Go on from `state`. Raises `UserError` if it was saved under another seed, number of
        steps, accumulation or noise.
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
            raise UserError(f"this is no state of a Hardener: it lacks {', '.join(lacking)}.")
        if self.controller is None and "control" in state:
            raise UserError(
                "this state was saved under a controller, and the Hardener has a schedule."
            )
        state = {"noise": "exact", **state}  # states without it were saved before there was another
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
        """Count the call, which ends an optimiser step if it is the last one of it."""
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
        """End an optimiser step: `metrics` and the controller hear what was seen in it."""
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
                    f"the closure returned {came}; a scalar tensor, the loss, is needed."
                )
            call.note(loss, point.share, clean=point.clean)
            grads: Grads = {}
            if not loss.requires_grad:
                raise UserError(
                    "the loss has no graph: it was detached, computed without gradients, or the "
                    "closure called backward by itself; the closure returns the loss, and "
                    "robust.backward does the rest."
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
        """A backward pass; where it repeats forward passes (activation checkpointing), buffers stay
        as the first ones left them.
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
        return [array.parameter._version for array in self.arrays]

    def _refuse_steps_inside(self, before: list[int]) -> None:
        """Raise `UserError` where somebody wrote to the weights inside a call, where others stand
        in their place.
        """
        if self._versions() != before:
            raise UserError(
                "the weights were changed inside robust.backward, while the perturbed ones stood "
                "in their place: call optimizer.step() behind robust.backward(closure), not in the "
                "closure, and use no optimiser that steps in the backward pass."
            )

    def _gradients(self) -> list[tuple[int, int]]:
        """What tells each array's `.grad` from what it becomes when something is added to it."""
        each = [array.parameter.grad for array in self.arrays if array.parameter.requires_grad]
        return [(id(grad), -1 if grad is None else grad._version) for grad in each]

    def _refuse_without_gradient(self, before: list[tuple[int, int]]) -> None:
        """Raise `UserError` where the loss does not depend on the arrays: the closure may compute
        it from another model.
        """
        if before and self._ranks is None and self._gradients() == before:
            raise UserError(
                "no weight in an array got a gradient: the closure's loss does not come from this "
                "model (a copy of it?), or its backward pass is not that of loss.backward()."
            )

    def _aside(self, loss: Tensor, call: _Call, all_: bool) -> Grads:
        """The gradient of `loss`, of all parameters or of the arrays, with `.grad` as before
        afterwards.

        It is that of the whole loss: the backward hook's factor is taken out, and the share of a
        micro-batch made 1.
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
                f"{self.objective} climbs along the gradient, and no array requires one: unfreeze "
                "some, or use rwp."
            )
        size = self._size()
        return grads if size == 1 else {name: g / size for name, g in grads.items()}

    def _size(self) -> float:
        """How large a gradient in `.grad` is beside that of the whole loss."""
        return (1.0 if self._scale is None else float(self._scale())) / self.accumulate

    def _add(self, added: Grads, call: _Call) -> None:
        """Add what an objective returned to `.grad`, in its size and layout there; under DDP the
        ranks then average.
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
        # DDP must average gradients once, in the last pass that counts; the earlier ones stay on
        # their rank
        if self._ranks is None or (point.counts and call.passes == self.objective.passes):
            return nullcontext()
        return self._ranks.no_sync()


@contextmanager
def _once() -> Iterator[None]:
    """A backward pass; one through a graph that is gone is answered in the user's words."""
    try:
        yield
    except RuntimeError as problem:
        if "backward through the graph a second time" not in str(problem):
            raise
        raise UserError(
            "the closure called backward by itself (or keeps a graph from call to call): it "
            "returns the loss, and robust.backward does the rest."
        ) from problem


def _objective(given: Objective | str) -> Objective:
    """The objective that was given, perhaps as its text. Raises `UserError` for anything else."""
    objective = parse_objective(given) if isinstance(given, str) else given
    if isinstance(objective, type) or not callable(objective):
        came = objective.__name__ if isinstance(objective, type) else repr(objective)
        raise UserError(
            f"objective={came} is none: RWP(Gaussian('filter-max')) or SAM(), for example."
        )
    return objective


def _schedule(given: Schedule | Controller | str) -> Schedule | Controller:
    """The strength that was given, perhaps as its text. Raises `UserError` for anything else."""
    strength = parse_schedule(given) if isinstance(given, str) else given
    if isinstance(strength, type) or not (callable(strength) or hasattr(strength, "next")):
        raise UserError(
            f"strength={strength!r} is no schedule: Constant({strength!r}) makes one of a number."
        )
    return strength


def _whole(name: str, value: Any) -> int:
    """A whole number. Raises `UserError` for another."""
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
    """One call of a Hardener: what was there before, which losses came, and how to undo."""

    def __init__(self, robust: Hardener) -> None:
        self.robust = robust
        self.losses: list[Tensor] = []
        self.shares: list[float] = []
        self.clean: list[bool] = []
        self.passes = 0
        self.sparse: dict[
            str, int
        ] = {}  # the parameters whose gradients are sparse, and in how many dimensions
        self.before = self.kept = robust._statistics.take()
        self.standing = True  # whether the buffers hold `kept`
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
                    f"{array.name} is no parameter of the model any more: make the Hardener after "
                    "the model is complete."
                )

    @cached_property
    def named(self) -> dict[str, nn.Parameter]:
        """Every parameter by its name in the model."""
        return dict(unwrapped(self.robust.model).named_parameters())

    def note(self, loss: Tensor, share: float = 1.0, clean: bool = False) -> None:
        self.losses.append(loss.detach())
        self.shares.append(share)
        self.clean.append(clean)

    @property
    def loss(self) -> Tensor:
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
        if self.passes:
            self.robust._statistics.put(self.before)
        self.passes += 1

    def leave(self, point: Point) -> None:
        policy = self.robust.batchnorm
        # an objective may stop before its noisy pass: until one came, the clean pass stands for it
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
        self.robust._statistics.put(self.before)
        with torch.no_grad():
            for parameter, own, copy in self.grads:
                parameter.grad = own
                if own is not None and copy is not None:
                    own.copy_(copy)

    def _settle(self) -> None:
        # DDP would have averaged with this call what earlier ones, inside `no_sync`, had left on
        # each rank
        ranks = self.robust._ranks
        if ranks is not None and self.robust.accumulate > 1 and synced(ranks):
            averaged(ranks)

    def _finite(self) -> bool:
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
