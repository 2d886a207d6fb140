"""The files that finished runs left, and the arms that are made of them.

A study of 20,000 runs leaves gigabytes. A table needs them arm by arm, and a claim often looks at
two arms of thousands. So `Outcomes` looks once at how runs ended and keeps their records, and a
`StoredArm` reads its arrays when somebody asks for them and lets go of them when told to.

Relies on: the outcome of a finished job notes a checksum for each file. Keeps: each file is checked
against its checksum when it is read, and is opened once, unless its arm was dropped in between. A
study that goes on meanwhile does not change what one `Outcomes` says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..files import records
from ..pacbayes.gaussian import Displacement
from ..schedules import parse as parse_strength
from ..schedules import peak
from ..specs.grammar import strip_paths
from .evidence import Arm, shown_in
from .folder import Folder, StudyJob, at_checkpoint

# Of the many arrays in a file of measurements, those that become fields of an `Arm`.
READ = ("score", "score by example", "loss by example", "bounded by example", "equivalent")


class Outcomes:
    """One look at a study: how each run has ended, and what finished runs have recorded.

    How runs ended is read when the object is made, and every file is opened once, when it is first
    needed. So a study that goes on meanwhile does not change halfway what this object says.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.ends = folder.ends()
        self._jobs: list[list[StudyJob]] = [[] for _ in folder.arms]
        for job in folder.jobs:
            self._jobs[job.arm].append(job)
        for jobs in self._jobs:
            jobs.sort(key=lambda job: job.seed)
        self._arms: dict[int, list[StoredArm]] = {}
        self._records: dict[str, _Record] = {}
        self._trained: dict[str, dict[str, Any]] = {}
        self._moved: dict[str, dict[str, NDArray[Any]]] = {}
        self._checked: set[str] = set()

    def arms(self, noise: int = 0) -> list[StoredArm]:
        """The arms with at least two finished seeds, under the study's noise number `noise` (from
        0), in the file's order, each followed by its checkpoints. Every call returns the same
        objects. To make them reads no file.
        """
        if noise not in self._arms:
            self._arms[noise] = list(self._made(noise))
        return self._arms[noise]

    def whole(self, noise: int = 0) -> list[StoredArm]:
        """The arms, as `arms` has them, whose seeds have all finished."""
        return [arm for arm in self.arms(noise) if arm.whole]

    def _made(self, noise: int) -> Iterator[StoredArm]:
        for design, jobs in zip(self.folder.arms, self._jobs, strict=True):
            done = [job for job in jobs if self.ends.get(job.name) == "finished"]
            if len(done) >= 2:
                for at in (None, *design["recipe"].get("checkpoints", ())):
                    yield StoredArm(self, design, done, len(done) == len(jobs), noise, at)

    def measure(self, job: StudyJob, what: str) -> tuple[str, str]:
        """The file with the arrays of the measurement `what` of a finished run, and its
        checksum.
        """
        name, digest = self._record(job).measures[what]
        return f"{self.folder.home}/{name}", digest

    def trained(self, job: StudyJob) -> dict[str, Any]:
        """The records of the run's training: "metrics" and "at_peak"."""
        if job.run not in self._trained:
            found = records.read(self.folder.trained(job) / "run.json")
            self._trained[job.run] = {key: found[key] for key in ("metrics", "at_peak")}
        return self._trained[job.run]

    def moved(self, job: StudyJob) -> dict[str, NDArray[Any]]:
        """How far the run's training moved its weights, as arrays."""
        if job.name not in self._moved:
            self._moved[job.name] = records.read_arrays(*self.measure(job, "displacement"))
        return self._moved[job.name]

    def check_moved(self, job: StudyJob) -> None:
        """Raises `UserError` if the file behind `moved` is altered or gone. A file that was read
        before is not read again.
        """
        if job.name not in self._moved and self._first(f"{job.name} displacement"):
            records.check_arrays(*self.measure(job, "displacement"))

    def check_trained(self, job: StudyJob) -> None:
        """Raises `UserError` if the file behind `trained` is torn, altered or gone. A file that was
        read before is not read again.
        """
        if job.run not in self._trained and self._first(job.run):
            records.check(self.folder.trained(job) / "run.json", self._record(job).trained)

    def _first(self, what: str) -> bool:
        """Whether this is the first call for `what`."""
        new = what not in self._checked
        self._checked.add(what)
        return new

    def _record(self, job: StudyJob) -> _Record:
        if job.name not in self._records:
            found = self.folder.outcome(job, "finished")
            digest = found.get("files", {}).get(os.path.join("trained", job.run, "run.json"))  # noqa: PTH118 - as above
            self._records[job.name] = _Record(found["measures"], digest)
        return self._records[job.name]


class _Record(NamedTuple):
    """For a finished run: the name and checksum of each file of measurements, and the checksum of
    run.json, if the outcome has one.
    """

    measures: dict[str, tuple[str, str]]
    trained: str | None


class StoredArm(Arm):
    """An arm under one noise whose arrays lie in files until somebody asks for them.

    The first look at a field opens the files behind it, and raises `UserError` for a file that is
    torn, altered or gone. `drop` lets go of the arrays again.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        design: dict[str, Any],
        jobs: Sequence[StudyJob],
        whole: bool,
        noise: int,
        at: float | None,
    ) -> None:
        plan, recipe = outcomes.folder.plan, design["recipe"]
        schedule = recipe["strength"]
        # These are the fields of an Arm that are no arrays. `Arm` is frozen, so they are written
        # into __dict__. The fields that are arrays are properties below.
        self.__dict__.update(
            name=at_checkpoint(design["name"], at),
            kind=design["method"],
            schedule=schedule.split(":")[0].split("(")[0],
            strengths=tuple(plan["noises"][noise]["strengths"]),
            role=design["role"] if at is None else "checkpoint",
            sign=sign_of(plan),
            unit=shown_in(plan["score"]["unit"]).points,
            task=strip_paths(recipe["task"]),
            held=_held(recipe),
            whole=whole,
            _outcomes=outcomes,
            _jobs=tuple(jobs),
            _noise=noise,
            _at=at,
            _strength=schedule,
            _bounds=plan.get("bounds", False) and at is None,  # training went on from a checkpoint
            _files={},
        )

    whole: bool  # whether all seeds are finished
    _outcomes: Outcomes
    _jobs: tuple[StudyJob, ...]
    _noise: int
    _at: float | None
    _strength: str
    _bounds: bool  # whether the study measured what bounds need
    _files: dict[str, list[dict[str, NDArray[Any]]]]

    @cached_property
    def peak(self) -> float:
        return peak(parse_strength(self._strength))

    @cached_property
    def test(self) -> NDArray[np.float64]:
        return _stack([one.pop("score by example") for one in self._read("test")])

    @property
    def test_loss(self) -> NDArray[np.float64]:
        return _stack([one["loss by example"] for one in self._read("test")])

    @cached_property
    def validation(self) -> NDArray[np.float64]:
        return np.asarray(_stack([one["score"] for one in self._read("validation")]).mean(2))

    @cached_property
    def chips(self) -> NDArray[np.float64]:
        return _stack([one["score"] for one in self._read("test")])

    @property
    def equivalent(self) -> NDArray[np.float64] | None:
        files = self._read("test")
        return (
            _stack([one["equivalent"] for one in files])
            if all("equivalent" in one for one in files)
            else None
        )

    @property
    def train_loss(self) -> NDArray[np.float64] | None:
        files = self._read("train")
        return _stack([one["loss by example"] for one in files]) if files else None

    @property
    def train(self) -> NDArray[np.float64] | None:
        files = self._read("train")
        return np.asarray(_stack([one["score"] for one in files]).mean(2)) if files else None

    @property
    def train_score(self) -> NDArray[np.float64] | None:
        return (
            _stack([one["score by example"] for one in self._read("train")])
            if self._bounds
            else None
        )

    @property
    def train_bounded(self) -> NDArray[np.float64] | None:
        return (
            _stack([one["bounded by example"] for one in self._read("train")])
            if self._bounds
            else None
        )

    @property
    def displacement(self) -> tuple[Displacement, ...]:
        return tuple(map(_displacement, self._moved))

    @property
    def seen(self) -> int:
        return int(self._moved[0]["seen"][0]) if self._bounds else 0

    @property
    def metrics(self) -> tuple[Sequence[Mapping[str, Any]], ...]:
        return tuple(run["metrics"] for run in self._trained)

    @property
    def at_peak(self) -> tuple[Mapping[str, Any] | None, ...]:
        return tuple(run["at_peak"] for run in self._trained)

    def loaded(self) -> Arm:
        """The same arm with all its arrays in memory, which needs the files no more. Raises
        `UserError` for a file that is torn, altered or gone.
        """
        for part in ("test", "validation", "train"):
            self._read(part)
        _ = self._moved, self._trained
        return Arm(**{one.name: getattr(self, one.name) for one in fields(Arm)})

    def check(self) -> None:
        """Raises `UserError` for a file that `loaded` could not read. Files that were read before
        are not opened again, and the content of files that are only checked is not kept.
        """
        for part in ("test", "validation"):
            self._read(part)
        if "train" not in self._files:
            for place in self._places("train"):
                records.check_arrays(*place)
        for job in self._jobs:
            if self._bounds:
                self._outcomes.check_moved(job)
        for job in self._jobs:
            if self._at is None:
                self._outcomes.check_trained(job)

    def drop(self) -> None:
        """Let go of the arrays. They are read again when they are asked for."""
        self._files.clear()
        for name in ("test", "validation", "chips"):
            self.__dict__.pop(name, None)

    def _read(self, part: str) -> list[dict[str, NDArray[Any]]]:
        """The arrays of the measurements on that part of the data, seed by seed; an empty list if
        the study does not measure that part.
        """
        if part not in self._files:
            self._files[part] = [
                records.read_arrays(*place, only=READ) for place in self._places(part)
            ]
        return self._files[part]

    def _places(self, part: str) -> list[tuple[str, str]]:
        plan = f"{self._noise} {part}"
        if plan not in self._outcomes.folder.plan["plans"]:
            return []
        return [self._outcomes.measure(job, at_checkpoint(plan, self._at)) for job in self._jobs]

    @property
    def _moved(self) -> list[dict[str, NDArray[Any]]]:
        return [self._outcomes.moved(job) for job in self._jobs] if self._bounds else []

    @property
    def _trained(self) -> list[dict[str, Any]]:
        return [self._outcomes.trained(job) for job in self._jobs] if self._at is None else []


def sign_of(plan: Mapping[str, Any]) -> int:
    """1 if a higher score is better in the study's plan, -1 if a lower one is."""
    return -1 if plan["score"]["higher_is_better"] is False else 1


def _stack(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    return np.array(arrays, dtype=np.float64)


def _held(recipe: Mapping[str, Any]) -> str:
    """In words, which arrays a recipe puts into hardware besides the usual ones, and which it keeps
    digital.
    """
    return "; ".join(
        f"{what} {' '.join(patterns)}"
        for key, what in (("also", "in arrays too:"), ("protect", "digital:"))
        if (patterns := recipe.get(key))
    )


def _displacement(arrays: Mapping[str, NDArray[Any]]) -> Displacement:
    parts = {name: array for name, array in arrays.items() if name not in ("seen", "elsewhere")}
    return Displacement(**parts, elsewhere=float(arrays["elsewhere"][0]))
