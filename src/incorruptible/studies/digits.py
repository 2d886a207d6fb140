"""The study of the paper's claims on handwritten digits: which arms, which seeds, which questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..corruptions import parse_sweep
from ..engines import work
from ..errors import Mistake
from ..recipes import Probe, Recipe
from ..runs import Plan, Run, measured, open_run, train
from ..strengths import parse, peak
from .verdicts import Arm, Verdict, c1, c2, c3, c4

__all__ = ["ARMS", "Design", "Study", "conclude", "study"]

NOISE = "gaussian-filter-max"
RWP, SAM, METRIC = f"rwp({NOISE})", "sam", "sam:metric=filter-max"
TESTS = (0.05, 0.1, 0.2, 0.3, 0.4)
SWEEP = f"{NOISE}:0,0.05,0.1,0.2,0.3,0.4"
PLANS = {
    "validation": Plan(SWEEP, "validation", "validation", draws=10),
    "test": Plan(SWEEP, "test", "test", draws=20),
    "train": Plan(SWEEP, "train", "test", draws=20),
}


@dataclass(frozen=True)
class Design:
    """One arm before it is run.

    The gradient instrument looks at all training images over 16 draws, once training is done; `watched` has it look every
    5 epochs and seek the tolerated strength, `closely` every epoch and early in the first one as well.
    """

    name: str
    kind: str
    objective: str
    strength: str
    role: str = "candidate"
    watched: bool = False
    closely: bool = False
    clip: float | None = None
    epochs: int = 1  # in units of the study's

    def recipe(self, seed: int, epochs: int) -> Recipe:
        """The training of that seed."""
        every, early = (1, (1, 2, 4)) if self.closely else (5 if self.watched else 0, ())
        probe = Probe(images=0, draws=16, every=every, early=early, tolerance=self.watched)
        return Recipe(
            "digits", self.objective, self.strength, epochs * self.epochs, clip=self.clip, seed=seed, probe=probe
        ).resolved()


def _arms() -> list[Design]:
    arms = [Design("sgd", "plain", "plain", "constant:0")]
    for s in ("0.05", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5", "0.6"):
        arms.append(Design(f"rwp {s}", "rwp", RWP, f"constant:{s}", closely=s == "0.6"))
    for s in ("0.1", "0.15", "0.2", "0.3", "0.4", "0.5"):
        arms.append(Design(f"rwp {s}, twice the epochs", "rwp", RWP, f"constant:{s}", "double", epochs=2))
    arms.append(
        Design("rwp 0.5, warm-up-hold, twice the epochs", "rwp", RWP, "warmup-hold:0.5:0.5", "double", epochs=2)
    )
    for s in ("0.5", "0.6"):
        watched = s == "0.6"
        arms.append(Design(f"rwp {s}, warm-up-hold", "rwp", RWP, f"warmup-hold:{s}:0.5", watched=watched))
        arms.append(Design(f"rwp {s}, linear", "rwp", RWP, f"linear:0:{s}", watched=watched))
        arms.append(Design(f"rwp {s}, quadratic", "rwp", RWP, f"quadratic:0:{s}"))
        arms.append(Design(f"rwp {s}, reversed", "rwp", RWP, f"reversed(linear:0:{s})", "control", watched=watched))
    arms.append(Design("rwp 0.6, clipped", "rwp", RWP, "constant:0.6", "clipped", clip=1.0))
    for rho in ("0.1", "0.2", "0.5", "1"):
        arms.append(Design(f"sam {rho}", "sam", SAM, f"constant:{rho}", closely=rho == "1"))
    arms.append(Design("sam 1, warm-up-hold", "sam", SAM, "warmup-hold:1:0.5", watched=True))
    arms.append(Design("sam 1, linear", "sam", SAM, "linear:0:1", watched=True))
    arms.append(Design("sam 2, linear", "sam", SAM, "linear:0:2"))
    arms.append(Design("sam 1, reversed", "sam", SAM, "reversed(linear:0:1)", "control", watched=True))
    arms.append(Design("sam 1, clipped", "sam", SAM, "constant:1", "clipped", clip=1.0))
    for rho in ("1", "2", "4", "8"):
        arms.append(Design(f"sam-metric {rho}", "sam-metric", METRIC, f"constant:{rho}", closely=rho == "8"))
    arms.append(Design("sam-metric 2, linear", "sam-metric", METRIC, "linear:0:2"))
    arms.append(Design("sam-metric 8, warm-up-hold", "sam-metric", METRIC, "warmup-hold:8:0.5"))
    arms.append(Design("sam-metric 8, linear", "sam-metric", METRIC, "linear:0:8", watched=True))
    arms.append(Design("sam-metric 8, reversed", "sam-metric", METRIC, "reversed(linear:0:8)", "control"))
    arms.append(Design("sam-metric 8, clipped", "sam-metric", METRIC, "constant:8", "clipped", clip=1.0))
    return arms


ARMS: list[Design] = _arms()
_METHODS = (
    ("RWP", "rwp 0.6", "rwp 0.6, clipped"),
    ("SAM", "sam 1", "sam 1, clipped"),
    ("SAM in the noise's metric", "sam-metric 8", "sam-metric 8, clipped"),
)
_RAMPS = (
    ("RWP", "rwp 0.6, linear", "rwp 0.6, reversed"),
    ("SAM", "sam 1, linear", "sam 1, reversed"),
    ("SAM in the noise's metric", "sam-metric 8, linear", "sam-metric 8, reversed"),
)


@dataclass(frozen=True, eq=False)
class Study:
    """All arms with what they came to, and how it was done."""

    arms: tuple[Arm, ...]
    seeds: int
    epochs: int
    made: dict[str, Any]

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


_Job = tuple[int, int, int, str]  # place in ARMS, seed, epochs, home


def _do(job: _Job) -> str:
    """One unit of work: train an arm's seed and measure it, unless that was done; returns the run's folder."""
    place, seed, epochs, home = job
    run = train(ARMS[place].recipe(seed, epochs), Path(home))
    task = run.task()
    for plan in PLANS.values():
        measured(run, plan, task)
    return str(run.folder)


def study(
    home: Path,
    *,
    seeds: int = 8,
    epochs: int = 40,
    workers: int = 2,
    progress: Callable[[int, int, str], None] | None = None,
) -> Study:
    """Train and measure every arm over `seeds` seeds below `home`; what was done before is reused.

    Raises `Mistake` for fewer than 2 seeds (no interval could be given).
    """
    if seeds < 2 or epochs < 1:
        raise Mistake(f"seeds {seeds} and epochs {epochs}: at least 2 seeds, for intervals, and 1 epoch are needed.")
    # long jobs first, so that no worker is left with one at the end
    cost = [arm.epochs * (1 if arm.kind in ("plain", "rwp") else 2) + 3 * arm.closely + arm.watched for arm in ARMS]
    order = sorted(range(len(ARMS)), key=lambda place: -cost[place])
    jobs: list[_Job] = [(place, seed, epochs, str(home)) for place in order for seed in range(seeds)]
    folders: dict[_Job, str] = {}
    for done, (job, folder) in enumerate(work(_do, jobs, workers), 1):
        folders[job] = folder
        if progress is not None:
            progress(done, len(jobs), ARMS[job[0]].name)
    arms: list[Arm] = []
    made: dict[str, Any] = {}
    for place, design in enumerate(ARMS):
        runs = [open_run(Path(folders[place, seed, epochs, str(home)])) for seed in range(seeds)]
        arms.append(_collect(design, runs))
        made = made or {
            name: value for name, value in runs[0].record["made"].items() if name not in ("seconds", "command")
        }
    return Study(tuple(arms), seeds, epochs, made)


def _collect(design: Design, runs: Sequence[Run]) -> Arm:
    task = runs[0].task()
    found = {part: [measured(run, plan, task) for run in runs] for part, plan in PLANS.items()}

    def over_chips(part: str, what: str) -> Any:
        return np.array([one[what].mean(1) for one in found[part]], dtype=np.float64)

    def by_example(part: str, what: str) -> Any:
        return np.array([one[what] for one in found[part]], dtype=np.float64)

    schedule = parse(design.strength)
    return Arm(
        name=design.name,
        kind=design.kind,
        schedule=design.strength.split(":")[0].split("(")[0],
        peak=peak(schedule),
        strengths=parse_sweep(SWEEP).strengths,
        test=by_example("test", "score by example"),
        test_loss=by_example("test", "loss by example"),
        train_loss=by_example("train", "loss by example"),
        train=over_chips("train", "score"),
        validation=over_chips("validation", "score"),
        spread=np.mean([one["score"].std(1, ddof=1) for one in found["test"]], axis=0),
        metrics=tuple(run.record["metrics"] for run in runs),
        at_peak=tuple(run.record["at_peak"] for run in runs),
        role=design.role,
    )


def conclude(found: Study) -> list[Verdict]:
    """The verdicts C1 to C4, by the rules of `verdicts`."""
    return [
        c1(found.arms, TESTS),
        c2(found.arms, TESTS, small=TESTS[:2], large=TESTS[-2:]),
        c3(found.arms, _METHODS),
        c4(found.arms, (0.0, *TESTS), _RAMPS),
    ]
