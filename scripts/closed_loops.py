"""What was tried beside `Auto`: variants of the closed loop on digits, on validation data, with
seeds that no study uses.

    python scripts/closed_loops.py [--seeds 8] [--tasks NAME ...] [--only NAME ...]

This takes about 25 minutes on one core. Each row shows the validation accuracy in points at test
strengths 0 to .4: for each seed the best of the checkpoints, averaged over seeds. The choice of the
checkpoint and its score use the same data, so all rows are a little too high, and alike.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import incorruptible as inc
from incorruptible import objectives, tasks
from incorruptible.schedules import Seen, State
from incorruptible.tasks import Task, batches
from incorruptible.tasks.data import named_randomness

TESTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
PLACES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TASKS = ("digits", "digits:split=full", "digits:network=conv")
RWP = "rwp(gaussian-filter-max)"


@dataclass(frozen=True)
class Flat(inc.Auto):
    """A budget that does not fall: the closed loop to the end, or up to `turn` and then `after`
    times what was reached.
    """

    turn: float = 1.0
    after: Callable[[float], float] = lambda left: left

    def nats(self, progress: float) -> float:
        return super().nats(0.0)

    def next(self, progress: float, seen: Seen, state: State) -> State:
        if progress < self.turn:
            return {**super().next(progress, seen, state)}
        reached = state.get("reached", state["strength"])
        left = (1 - progress) / max(1e-9, 1 - self.turn)
        return {
            **state,
            "reached": reached,
            "strength": reached * self.after(left),
            "progress": progress,
        }


@dataclass(frozen=True)
class Below(inc.Auto):
    """Each step's strength is uniform between 0 and what the loop came to."""

    def next(self, progress: float, seen: Seen, state: State) -> State:
        found = super().next(
            progress, seen, {**state, "strength": state.get("top", state["strength"])}
        )
        return {
            **found,
            "top": found["strength"],
            "strength": found["strength"] * random.Random(progress).random(),
        }


@dataclass(frozen=True)
class Rise(inc.Auto):
    """The budget is for the rise of the loss under noise, which says what the curvature is: it
    takes the clean loss too.
    """

    def next(self, progress: float, seen: Seen, state: State) -> State:
        clean = seen.clean_loss or 0.0
        waits = clean > self.nats(0.0)  # before anything is learnt there is nothing to lose
        return super().next(
            progress, replace_loss(seen, seen.loss if waits else max(0.0, seen.loss - clean)), state
        )


def replace_loss(seen: Seen, loss: float) -> Seen:
    """The same with another loss."""
    return seen._replace(loss=loss)


class Health:
    """Gradient health held at a target: signal to noise, or the cosine of a step's gradient with
    the running mean.

    The running mean of the last 20 steps stands for the signal; it costs a copy of the gradient.
    """

    def __init__(self, what: str, target: float, rate: float = 12.0, turn: float = 0.6) -> None:
        self.what, self.target, self.rate, self.turn = what, target, rate, turn
        self.mean: Tensor | None = None
        self.square, self.weight, self.value = 0.0, 0.0, math.nan

    def look(self, gradient: Tensor) -> None:
        """Take in the gradient of a step."""
        keep = 0.95
        if self.mean is None:
            self.mean = torch.zeros_like(gradient)
        cosine = float(gradient @ self.mean / (gradient.norm() * self.mean.norm()).clamp_min(1e-12))
        self.mean = keep * self.mean + (1 - keep) * gradient
        self.square = keep * self.square + (1 - keep) * float(gradient.square().sum())
        self.weight = keep * self.weight + (1 - keep)
        effective = (1 + keep) / (1 - keep)
        mean, square = float(self.mean.square().sum()) / self.weight**2, self.square / self.weight
        signal = max(0.0, (mean - square / effective) / (1 - 1 / effective))
        self.value = (
            cosine if self.what == "cosine" else math.sqrt(signal / max(1e-12, square - signal))
        )

    def start(self) -> State:
        return {"strength": 0.05, "reached": 0.05, "progress": 0.0}

    def next(self, progress: float, seen: Seen, state: State) -> State:
        passed, reached = progress - state["progress"], state["reached"]
        if 0.05 < progress < self.turn:
            push = max(-1.0, min(1.0, (self.value - self.target) / self.target))
            reached *= math.exp(self.rate * passed * push)
        left = min(1.0, (1 - progress) / (1 - self.turn))
        return {"strength": reached * left, "reached": reached, "progress": progress}


@dataclass(frozen=True)
class Way:
    """How one row is trained."""

    control: Callable[[], Any]
    objective: str = RWP
    lr: float = 0.2
    clip: float = 1.0
    epochs: int = 40
    averaged: bool = False


AUTO = inc.Auto(classes=10)
FLAT = Flat(classes=10)
WAYS: dict[str, Way] = {
    "Auto": Way(lambda: AUTO),
    "budget .25": Way(lambda: replace(AUTO, budget=0.25)),
    "budget .5": Way(lambda: replace(AUTO, budget=0.5)),
    "budget .7": Way(lambda: replace(AUTO, budget=0.7)),
    "rate 8": Way(lambda: replace(AUTO, rate=8.0)),
    "learning rate .1": Way(lambda: AUTO, lr=0.1),
    "no clipping": Way(lambda: AUTO, clip=math.inf),
    "no clipping, learning rate .1": Way(lambda: AUTO, clip=math.inf, lr=0.1),
    "constant budget": Way(lambda: FLAT),
    "constant budget to .6, then held": Way(
        lambda: replace(FLAT, turn=0.6, after=lambda left: 1.0)
    ),
    "constant budget to .6, then a glide to 0": Way(lambda: replace(FLAT, turn=0.6)),
    "no loop: up to .45 by .3, down from .6": Way(
        lambda: lambda p: 0.45 * min(1.0, p / 0.3, (1 - p) / 0.4)
    ),
    "signal to noise at .3, glide from .6": Way(lambda: Health("signal", 0.3)),
    "cosine at .3, glide from .6": Way(lambda: Health("cosine", 0.3)),
    "rise of the loss, mixed RWP, half the epochs": Way(
        lambda: Rise(classes=10), f"mixed-{RWP}", epochs=20
    ),
    "uniform below the loop's strength": Way(lambda: Below(classes=10)),
    "averaged weights (.97)": Way(lambda: AUTO, averaged=True),
    "known test strength .4 (end)": Way(lambda: replace(AUTO, end=0.4)),
    "twice the epochs": Way(lambda: AUTO, epochs=80),
}


def accuracy(model: nn.Module, task: Task) -> list[float]:
    """Mean validation accuracy over 6 validation chips, at each test strength."""
    noise = inc.Gaussian("filter-max")
    found = inc.measure(
        model,
        task.score,
        batches(task.validation, 1024),
        noise,
        TESTS,
        chips=6,
        seed=0,
        purpose="validation",
    )
    return [float(one) for one in found.values.mean(1)]


def fresh(task: Task, seed: int) -> nn.Module:
    """A network with the seed's own weights."""
    with named_randomness(seed, "weights"):
        return task.model().train()


def course(task: Task, seed: int, way: Way, places: Sequence[float] = PLACES) -> list[list[float]]:
    """[place, strength] What one training comes to."""
    model, control = fresh(task, seed), way.control()
    steps = len(batches(task.train, 64)) * way.epochs
    robust = inc.Hardener(model, objectives.parse(way.objective), control, steps=steps, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), way.lr, 0.9, weight_decay=5e-4)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average, found = None, []
    for epoch in range(way.epochs):
        for batch in batches(task.train, 64, order=(seed, "order", epoch)):
            if isinstance(control, Health) and robust.step:
                control.look(
                    torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
                )
            optimizer.zero_grad()
            robust.backward(lambda batch=batch: task.loss(model, batch).mean())
            torch.nn.utils.clip_grad_norm_(model.parameters(), way.clip)
            optimizer.step()
            decay.step()
            if way.averaged:
                average = averaged(average, model)
            if any(round(place * steps) == robust.step for place in places):
                found.append(accuracy(average or model, task))
    return found


def averaged(average: nn.Module | None, model: nn.Module, keep: float = 0.97) -> nn.Module:
    """The running mean of weights and running statistics."""
    if average is None:
        return copy.deepcopy(model)
    with torch.no_grad():
        for mine, new in zip(
            average.state_dict().values(), model.state_dict().values(), strict=True
        ):
            mine.copy_(keep * mine + (1 - keep) * new if mine.is_floating_point() else new)
    return average


def forked(task: Task, seed: int) -> list[list[float]]:
    """Single-run selection: the strength rises to .5 at full learning rate; at .1, .2, ..., .5 a
    branch holds it and anneals over 8 epochs. 33 + 5 * 8 = 73 epochs in all.
    """
    model, found, at, state = fresh(task, seed), [], 0, None
    for strength in (0.1, 0.2, 0.3, 0.4, 0.5):
        stop = round(40 * strength / 0.6)
        rise = inc.Linear(0.6 * at / 40, 0.6 * stop / 40)
        state = segment(task, model, seed, rise, lambda p: 1.0, at, stop, state)
        branch, at = copy.deepcopy(model), stop
        segment(task, branch, seed, inc.Constant(strength), lambda p: 1 - p, stop, stop + 8, state)
        found.append(accuracy(branch, task))
    return found


def swept(task: Task, seed: int, strengths: Sequence[float], epochs: int) -> list[list[float]]:
    """One constant training for each strength, from the start."""
    found = []
    for strength in strengths:
        model = fresh(task, seed)
        cosine: Callable[[float], float] = lambda p: (1 + math.cos(math.pi * p)) / 2  # noqa: E731
        segment(task, model, seed, inc.Constant(strength), cosine, 0, epochs, None)
        found.append(accuracy(model, task))
    return found


def segment(
    task: Task,
    model: nn.Module,
    seed: int,
    strength: Any,
    lr: Callable[[float], float],
    begin: int,
    end: int,
    state: Any,
) -> Any:
    """Epochs `begin` to `end` of plain clipped RWP; returns the optimiser's state."""
    steps, purpose = len(batches(task.train, 64)) * (end - begin), 1000 * begin + end
    robust = inc.Hardener(model, objectives.parse(RWP), strength, steps=steps, seed=seed + purpose)
    optimizer = torch.optim.SGD(model.parameters(), 0.2, 0.9, weight_decay=5e-4)
    if state is not None:
        optimizer.load_state_dict(copy.deepcopy(state))
    for epoch in range(begin, end):
        for batch in batches(task.train, 64, order=(seed, "order", epoch)):
            optimizer.param_groups[0]["lr"] = 0.2 * lr(robust.step / steps)
            optimizer.zero_grad()
            robust.backward(lambda batch=batch: task.loss(model, batch).mean())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return optimizer.state_dict()


SELECTION: dict[str, Callable[[Task, int], list[list[float]]]] = {
    "one run, five branches (73 epochs)": forked,
    "sweep of five strengths (5 x 15 epochs)": lambda task, seed: swept(
        task, seed, (0.1, 0.2, 0.3, 0.4, 0.5), 15
    ),
    "sweep of two strengths (2 x 36 epochs)": lambda task, seed: swept(task, seed, (0.2, 0.4), 36),
}


def main() -> None:
    """Print one table for each task."""
    parser = argparse.ArgumentParser(description="Variants of the closed loop on digits.")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[*WAYS, *SELECTION])
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.tasks:
        task = tasks.load(name)
        print(
            f"\n{name}\n\n| variant | {' | '.join(f'{s:g}' for s in TESTS)} "
            f"|\n|---|{'---|' * len(TESTS)}",
            flush=True,
        )
        for row in given.only:
            seeds = range(100, 100 + given.seeds)
            found = [
                SELECTION[row](task, s) if row in SELECTION else course(task, s, WAYS[row])
                for s in seeds
            ]
            each = np.array([np.max(one, axis=0) for one in found])
            half = 2 * each.std(0, ddof=1) / math.sqrt(len(each))
            cells = [
                f"{100 * m:.2f} ± {100 * h:.2f}" for m, h in zip(each.mean(0), half, strict=True)
            ]
            print(f"| {row} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
