"""Compares `Auto` with its floor, without it, and with constant strengths, where the loss that can
be reached lies above the budget of `Auto` (random labels, regression, text), and on digits, where
it lies below.

    OMP_NUM_THREADS=1 python scripts/auto_floor.py --keep rows.jsonl [--tasks NAME ...] [--seeds 5]

Each task is trained at constant strengths, by `Auto` without its floor (`learn=false`) and by
`Auto` as it comes. The last weights are measured on test data under Gaussian noise. A row shows the
mean over seeds and two standard errors of that mean. "Best constant" is the constant strength with
the best mean on validation data, chosen anew for each test strength. Rows that the file holds are
not trained again, so the same command continues an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import incorruptible as inc
from incorruptible import objectives, tasks
from incorruptible.tasks import Task, batches
from incorruptible.tasks.data import named_randomness

RWP = "rwp(gaussian-filter-max)"
TESTS = (0.0, 0.1, 0.2, 0.3)
CONSTANTS = (0.0, 0.1, 0.2, 0.3)
FIRST_SEED = 10  # the window of the floor's average was chosen with seed 0 of the same tasks


@dataclass(frozen=True)
class Case:
    """One task: how it is made from a seed, and how it is trained."""

    make: Callable[[int], Task]
    epochs: int = 40
    batch: int = 64
    optimizer: str = "sgd"
    lr: float = 0.2
    chips: int = 5
    examples: int = 997  # the largest number of validation examples, and of test examples
    classes: int | None = None
    digits: int = 3  # the digits behind the point in the table


def labels_at_random(share: float) -> Callable[[int], Task]:
    """Digits, where so many of the training labels were drawn anew from all ten; validation and
    test labels are right.
    """

    def make(seed: int) -> Task:
        task = tasks.load("digits")
        images, labels = task.train
        generator = torch.Generator().manual_seed(1000 + seed)
        drawn = torch.rand(len(labels), generator=generator) < share
        labels = torch.where(drawn, torch.randint(10, labels.shape, generator=generator), labels)
        return replace(task, train=(images, labels))

    return make


def mlp(inputs: int, outputs: int) -> nn.Module:
    """inputs-128-128-outputs, as the digits' own."""
    widths = (inputs, 128, 128, outputs)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def squared(model: nn.Module, batch: Any) -> Tensor:
    """[b] Mean squared error over the outputs of each example."""
    inputs, targets = batch
    return (model(inputs) - targets).square().mean(1)


def regression(parts: dict[str, tuple[Tensor, Tensor]]) -> Task:
    """Targets less their mean and over their spread on training data; the reference is the error of
    that mean.
    """
    inputs, targets = parts["train"]
    mean, spread = targets.mean(0), targets.std()
    scaled = {name: (x, (y - mean) / spread) for name, (x, y) in parts.items()}
    reference = float(scaled["train"][1].square().mean())
    sizes = inputs.shape[1], targets.shape[1]
    return Task(lambda: mlp(*sizes), **scaled, loss=squared, score=squared, reference=reference)


def lower_half(seed: int) -> Task:
    """The lower 32 pixels of a digit from the upper 32."""
    digits = tasks.load("digits")
    names = ("train", "validation", "test")
    images = {name: digits.part(name)[0].flatten(1) for name in names}
    return regression({name: (x[:, :32], x[:, 32:]) for name, x in images.items()})


def noisy_function(seed: int) -> Task:
    """A sum of eight tanh of 16 inputs, half of whose target's variance is noise: no predictor is
    below about a half.
    """
    generator = torch.Generator().manual_seed(7)
    inner, outer = (
        torch.randn(16, 8, generator=generator) / 2,
        torch.randn(8, 1, generator=generator),
    )
    inputs = torch.randn(1800, 16, generator=generator)
    clean = torch.tanh(inputs @ inner) @ outer
    noise = torch.randn(1800, 1, generator=torch.Generator().manual_seed(2000 + seed))
    targets = clean / clean.std() + noise
    cuts = {"train": slice(0, 500), "validation": slice(500, 800), "test": slice(800, 1800)}
    return regression({name: (inputs[cut], targets[cut]) for name, cut in cuts.items()})


CASES = {
    "digits": Case(labels_at_random(0.0), classes=10),
    "digits, 20% of labels at random": Case(labels_at_random(0.2), classes=10),
    "digits, 40% of labels at random": Case(labels_at_random(0.4), classes=10),
    "lower half of a digit (squared error)": Case(lower_half, lr=0.1),
    "noisy function (squared error)": Case(noisy_function, lr=0.05),
    "text (bits per byte)": Case(
        lambda seed: tasks.load("bytes:train=512:length=32"),
        4,
        16,
        "adamw",
        0.005,
        chips=2,
        examples=256,
    ),
}
ARMS = {
    **{f"constant {one:g}": inc.Constant(one) for one in CONSTANTS},
    "Auto, learn=false": inc.Auto(classes=10, learn=False),
    "Auto": inc.Auto(classes=10),
}


def trained(case: Case, task: Task, strength: Any, seed: int) -> tuple[nn.Module, list[float]]:
    """The network after its last step, and the strength held in each tenth of training, at its
    middle.
    """
    if isinstance(strength, inc.Auto) and case.classes is None:
        strength = replace(strength, classes=None, reference=task.reference)
    with named_randomness(seed, "weights"):
        model = task.model().train()
    steps = len(batches(task.train, case.batch)) * case.epochs
    robust = inc.Hardener(model, objectives.parse(RWP), strength, steps=steps, seed=seed)
    if case.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), case.lr, 0.9, weight_decay=5e-4
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), case.lr, weight_decay=5e-4)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    held = []
    for epoch in range(case.epochs):
        for batch in batches(task.train, case.batch, order=(seed, "order", epoch)):
            held.append(robust.held)
            optimizer.zero_grad()
            robust.backward(lambda batch=batch: task.loss(model, batch).mean())
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            decay.step()
    return model, [held[int((k + 0.5) * steps / 10)] for k in range(10)]


def row(name: str, arm: str, seed: int) -> dict[str, Any]:
    """One training and what it came to: the mean score over chips at each test strength, on
    validation and on test data.
    """
    case = CASES[name]
    task = case.make(seed)
    model, held = trained(case, task, ARMS[arm], seed)
    noise = inc.Gaussian("filter-max")
    found: dict[str, Any] = {"task": name, "arm": arm, "seed": seed, "held": held}
    for part in ("validation", "test"):
        inputs, targets = task.part(part)
        data = batches((inputs[: case.examples], targets[: case.examples]), 1024)
        scores = inc.measure(
            model, task.score, data, noise, TESTS, chips=case.chips, seed=0, purpose=part
        )
        found[part] = [float(one) for one in scores.values.mean(1)]
    return found


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """The task's results as a table in Markdown, over the seeds that all arms have."""
    arms = {
        arm: {one["seed"]: one for one in rows if one["task"] == name and one["arm"] == arm}
        for arm in ARMS
    }
    seeds = sorted(set.intersection(*(set(one) for one in arms.values())))
    if len(seeds) < 2:
        return f"\n{name}: fewer than two seeds are there so far."
    found = {
        arm: np.array([[one[s]["validation"], one[s]["test"]] for s in seeds])
        for arm, one in arms.items()
    }
    constants = [arm for arm in ARMS if arm.startswith("constant")]
    better = np.argmax if CASES[name].classes else np.argmin  # accuracy, else an error
    best = better([found[arm][:, 0].mean(0) for arm in constants], axis=0)
    chosen = np.stack([found[constants[k]][:, 1, place] for place, k in enumerate(best)], axis=1)
    lines = [
        f"\n{name}, {len(seeds)} seeds\n",
        f"| | {' | '.join(f'{s:g}' for s in TESTS)} |",
        f"|---|{'---|' * len(TESTS)}",
    ]
    shown = {**{arm: each[:, 1] for arm, each in found.items()}, "best constant": chosen}
    shown |= {"Auto less best constant": found["Auto"][:, 1] - chosen}
    for label, values in shown.items():
        half, places = 2 * values.std(0, ddof=1) / math.sqrt(len(values)), CASES[name].digits
        cells = [
            f"{m:.{places}f} ± {h:.{places}f}" for m, h in zip(values.mean(0), half, strict=True)
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for arm in ("Auto, learn=false", "Auto"):
        course = np.mean([arms[arm][s]["held"] for s in seeds], axis=0)
        lines.append(
            f"\nstrength of {arm} over training: {', '.join(f'{one:.3f}' for one in course)}"
        )
    return "\n".join(lines)


def main() -> None:
    """Train and measure the rows that the file lacks, then print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, required=True, help="the file of rows, added to")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="*", default=list(CASES), choices=list(CASES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = (
        [json.loads(line) for line in given.keep.read_text().splitlines()]
        if given.keep.exists()
        else []
    )
    there = {(one["task"], one["arm"], one["seed"]) for one in rows}
    for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
        for name in given.tasks:
            for arm in ARMS:
                if (name, arm, seed) not in there:
                    rows.append(row(name, arm, seed))
                    with given.keep.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    for name in given.tasks:
        print(table(name, rows))


if __name__ == "__main__":
    main()
