"""Runs: a run is one training in a folder of its own, which is found again and measured later.

The folder's name is a hash of everything that decides the bits of the training (`identity`), so a
recipe that was trained before is found and not trained again. `train` makes a run, `open_run` opens
one, and `measured` measures it and keeps the result in its folder.

Relies on: one process (the first rank) writes to a folder at a time; studies hold a lease for it.
All that decides the bits of a training is in its identity.
Keeps: `run.json` is written last, so a folder with a `run.json` holds a finished training. Files
are written whole or not at all, and carry checksums: a torn or altered file is noticed, and made
anew or refused. A stopped training and a stopped measurement end in the bits of an uninterrupted
one. Entries that recipes and plans gained later are left out of identities at their defaults, so
that earlier runs keep their names.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import schedules
from .corruptions import parse_sweep
from .errors import UserError, renamed_arguments
from .evaluation import Sampling, measure_all
from .files import provenance, records
from .pacbayes.weights import displacement
from .renamed import missing
from .tasks import Task, batches
from .tasks.data import Images, named_randomness
from .tasks.scores import bounded_loss
from .training import RankGroup, Trainer, joined, load_weights, save_weights
from .training.recipe import Recipe, parse
from .training.trainer import for_task
from .version import __version__

CHECKPOINT_EVERY = 5.0  # seconds
# Entries that recipes gained after there were runs. At their defaults they are left out of a run's
# identity, so that earlier runs keep their names.
_LATER = (
    *("checkpoints", "clip_weights", "also", "protect"),
    *("accumulate", "autocast", "channels_last", "compiled", "ranks", "noise"),
)


class Left(Exception):
    """Raised where a training or a measurement was asked to leave. What it has done so far is
    saved, and the same call goes on from there.
    """


@dataclass(frozen=True)
class Run:
    """A finished training in its folder."""

    folder: Path
    record: dict[str, Any]

    @cached_property
    def recipe(self) -> Recipe:
        """How it was trained."""
        return parse(self.record["recipe"])

    @property
    def weights(self) -> Path:
        """The path of the weights at the end of the training."""
        return self.file()

    def file(self, at: float | None = None) -> Path:
        """The path of the weights: at the end of the training, or at the checkpoint `at`."""
        return self.folder / _weights(at)

    def digest(self, at: float | None = None) -> str:
        """The recorded checksum of the weights, at the end or at the checkpoint `at`. Raises
        `UserError` where the run has no such checkpoint.
        """
        if at is None:
            return str(self.record["weights"])
        kept = self.record.get("checkpoints") or {}
        if f"{at:g}" not in kept:
            raise UserError(
                f"{self.folder} has no checkpoint at {at:g}; it has: {', '.join(kept) or 'none'}."
            )
        return str(kept[f"{at:g}"])

    @property
    def peak(self) -> float:
        """The largest strength of the training. For a controller, the largest strength at the end
        of an epoch.
        """
        strength = self.recipe.parts.strength
        if callable(strength):
            return schedules.peak(strength)
        return float(max(one["strength"] for one in self.record["metrics"] if "strength" in one))

    def task(self) -> Task:
        """The run's task, loaded. Raises `UserError` where the source of a user's own task, or the
        data, have changed since the training.
        """
        task, named = self.recipe.parts.task.task(), self.record["identity"]
        moved = bool(task.origin) and list(task.fingerprints.values()) != named["data"]
        if moved or task.source != named["source"]:
            raise UserError(
                f"{self.recipe.task} has changed since {self.folder} was trained; to measure these "
                f"weights on the task as it is now: incorruptible measure {self.recipe.task} "
                f"--weights {self.weights}."
            )
        return task

    def model(self, task: Task | None = None, at: float | None = None) -> nn.Module:
        """The network with the weights of the end of the training, or of the checkpoint `at`.
        Raises `UserError` where the file of weights is missing or was altered.
        """
        file, digest = self.file(at), self.digest(at)
        if not file.is_file() or records.checksum(file) != digest:
            raise UserError(
                f"{file} is missing or does not match its checksum: delete {self.folder}, and "
                "train again."
            )
        task = task or self.task()
        model = (task.blank or task.model)()
        load_weights(model, file)
        return model

    def whole(self) -> bool:
        """Whether every file of weights exists and matches its recorded checksum."""
        places = [None, *self.recipe.checkpoints]
        return all(
            self.file(at).is_file() and records.checksum(self.file(at)) == self.digest(at)
            for at in places
        )

    def start(self, task: Task | None = None) -> nn.Module:
        """The network as it was before the training, made anew from the same named randomness.
        Raises `UserError` where the file of weights that training started from has changed.
        """
        recipe = self.recipe
        with named_randomness(recipe.seed, "weights"):
            model = (task or self.task()).model()
        if recipe.start is not None:
            path = Path(recipe.start)
            if (
                not path.is_file()
                or records.checksum(path) != self.record["identity"]["recipe"]["start"]
            ):
                raise UserError(
                    f"{path} is missing or is not what training started from: put it back, or "
                    "train again."
                )
            load_weights(model, path)
        return model


def open_run(folder: str | Path) -> Run:
    """The finished run in `folder`. Raises `UserError` where there is none, it is not finished, or
    its record was altered.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(
            f"{folder} is a file, not the folder of a run; to use a file of weights, name their "
            f"task: TASK --weights {folder}."
        )
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    if not (folder / "run.json").is_file():
        unfinished = (folder / "recipe.json").is_file()
        what = (
            "is not finished: give the same train command again"
            if unfinished
            else "is not a run: it has no run.json"
        )
        raise UserError(f"{folder} {what}.")
    return Run(folder, records.read(folder / "run.json"))


def train(
    recipe: Recipe,
    home: str | Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    task: Task | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    progress: Callable[[int, int, dict[str, Any]], None] | None = None,
    validate: bool = False,
    leave: Callable[[], bool] = lambda: False,
) -> Run:
    """Train by `recipe` in a folder of its own below `home`, or find the run if it was trained
    before.

    The folder's name is the recipe's `identity`. A training that was killed goes on from its last
    checkpoint and ends in the same bits. The checkpoint is at most `checkpoint_every` seconds or
    one epoch old, whichever is more. `task` is the recipe's task, where the caller has loaded it
    already.

    - `progress(epoch, epochs, metrics)` is called after each epoch. With `validate`, the metrics
      that it gets in the first process also hold "validation", the score of the clean weights on
      validation data (`Trainer.validation`). The score is not recorded, and all bits are the same
      with and without it.
    - `leave()` is asked after each epoch but the last. Where it returns true, the training is saved
      and `Left` is raised.

    For a recipe with `ranks`, each process that torchrun started calls this function. The first
    process writes, and all return the run. Raises `UserError` where another number of processes is
    running, or where they do not see the same folder.
    """
    recipe = recipe.resolved()
    task = task or recipe.parts.task.task()
    recipe = for_task(recipe, task)
    named = identity(recipe, task, device, threads)
    folder = Path(home) / records.identity(named)
    recipe = recipe.absolute()
    with _threads(threads), joined(recipe.ranks, device) as group:
        finished = _finished(folder)
        _agree(group, folder, int(finished is not None))
        if finished is None:
            looks = validate and group.first
            _train(recipe, task, named, folder, group, checkpoint_every, progress, looks, leave)
            group.wait()
    return finished or open_run(folder)


def _train(
    recipe: Recipe,
    task: Task,
    named: dict[str, Any],
    folder: Path,
    group: RankGroup,
    checkpoint_every: float,
    progress: Callable[[int, int, dict[str, Any]], None] | None,
    validate: bool,
    leave: Callable[[], bool],
) -> None:
    """Train from the last checkpoint, or from the beginning, until `run.json` is written. Only the
    first process of the group writes.

    Collective calls (`group.wait`, `any`, `_agree`, and the epochs) come in the same order on every
    process, whatever a process finds in the folder.
    """
    kept: dict[str, str] = {}

    def keep(model: nn.Module, place: float) -> None:
        if group.first:
            save_weights(model, folder / _weights(place))
            kept[_weights(place)] = records.checksum(folder / _weights(place))

    fit = Trainer(task, recipe, group.device, keep, group)
    made_here = [one for one in (folder, *folder.parents) if not one.exists()]
    checkpoint, made = folder / "checkpoint.pt", _made(group.device)
    state = _state(checkpoint, fit.device)
    if state is not None and _there(folder, state.get("kept", {})):
        fit.load(state)
        kept |= state.get("kept", {})
    if group.first:
        records.write(
            folder / "recipe.json", {"identity": named, "recipe": recipe.plain(), "made": made}
        )
    group.wait()
    _agree(group, folder, fit.done if (folder / "recipe.json").is_file() else -1)
    saved = started = time.monotonic()
    while fit.done < recipe.epochs:
        try:
            metrics = fit.epoch()
        except UserError:
            # A training that is refused in its first epoch leaves nothing behind.
            if group.first and not fit.done and folder in made_here:
                _take_back(folder, made_here)
            raise
        more = fit.done < recipe.epochs
        leaving = group.any(more and leave())
        if group.first and (leaving or (more and time.monotonic() - saved >= checkpoint_every)):
            records.write_atomically(
                checkpoint, lambda path: torch.save({**fit.state(), "kept": kept}, path)
            )
            saved = time.monotonic()
        if progress is not None:
            progress(fit.done, recipe.epochs, _validated(fit, metrics) if validate else metrics)
        if leaving:
            raise Left(f"{folder}: left after epoch {fit.done} of {recipe.epochs}")
    seconds = round(time.monotonic() - started, 3)
    at_peak = fit.at_peak() if recipe.probe.draws else None
    if not group.first:
        return
    save_weights(fit.model, folder / "weights.safetensors")
    record = {
        "recipe": recipe.plain(),
        "identity": named,
        "made": {**made, "seconds": seconds},
        "weights": records.checksum(folder / "weights.safetensors"),
        "checkpoints": {f"{at:g}": kept[_weights(at)] for at in recipe.checkpoints},
        "skipped": fit.skipped,
        "arrays": [array.name for array in fit.robust.arrays],
        "batchnorm": fit.robust.batchnorm,
        "metrics": fit.metrics,
        "at_peak": at_peak,
    }
    records.write(folder / "run.json", record)
    checkpoint.unlink(missing_ok=True)


def _validated(fit: Trainer, metrics: dict[str, Any]) -> dict[str, Any]:
    """A copy of the metrics of an epoch that also holds the score on validation data.

    A score that fails does not end the training: "validation" then says why there is no score.
    """
    found: object
    try:
        found = fit.validation()
    except Exception as problem:  # a user's own data or score may raise any exception
        found = f"no validation score ({type(problem).__name__}: {problem})"
    return {**metrics, "validation": found}


def _take_back(folder: Path, made_here: list[Path]) -> None:
    """Remove the folder of a training that was refused, and the empty folders above it that were
    made for it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for one in made_here[1:]:
        with suppress(OSError):  # another training may have begun there
            one.rmdir()


def _agree(group: RankGroup, folder: Path, found: int) -> None:
    """Raise `UserError` unless `found`, the state of the folder, is the same on all ranks, so that
    all go on from the same epoch.
    """
    if not group.alike(found):
        raise UserError(
            f"the ranks find different things in {folder}: --home must be a folder that all of "
            "them see."
        )


def _finished(folder: Path) -> Run | None:
    """The run in `folder` if it is finished and whole, else None: a torn or altered run is trained
    again. Raises `records.Newer` for a run of a newer version.
    """
    try:
        run = open_run(folder)
    except records.Newer:
        raise
    except UserError:
        return None
    return run if run.whole() else None


def _weights(at: float | None) -> str:
    """The name of the file of weights, at the end or at the checkpoint `at`."""
    return "weights.safetensors" if at is None else f"weights-{at:g}.safetensors"


def _there(folder: Path, kept: dict[str, str]) -> bool:
    """Whether the checkpoints that a stopped training had kept still match their checksums. If one
    does not, the training begins anew.
    """
    return all(
        (folder / name).is_file() and records.checksum(folder / name) == one
        for name, one in kept.items()
    )


def _state(checkpoint: Path, device: torch.device) -> dict[str, Any] | None:
    """The state that a stopped training saved, or None where there is none or its file is torn, so
    that the training begins anew.
    """
    if not checkpoint.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location=device, weights_only=True)
    except Exception:  # torch and pickle may raise any exception for a torn file
        return None
    return state


def identity(recipe: Recipe, task: Task, device: str = "cpu", threads: int = 1) -> dict[str, Any]:
    """Everything that decides the bits of a training, as plain data. Its hash `records.identity`
    names the run's folder.

    It holds the recipe (with the unit of `auto` from the task), fingerprints of the data, the
    source of a user's own task and of what the task imports from its folder, the checksum of the
    weights to start from, device type, threads and versions. `recipe` must be resolved. Raises
    `UserError` where the file of weights to start from does not exist.
    """
    recipe, start = for_task(recipe, task), None
    if recipe.start is not None:
        if not Path(recipe.start).is_file():
            raise UserError(f"{recipe.start}: no such file of weights.")
        start = records.checksum(Path(recipe.start))
    # Paths are no part of an identity: a task of the user's own is identified by its source, and
    # files of data by their contents.
    parts = recipe.parts
    named = replace(recipe, start=start, task=parts.task.portable).plain()
    for later in _LATER:
        if getattr(recipe, later) == getattr(Recipe, later):
            del named[records.KEPT.get(later, later)]
    # A controller whose rule has changed since trains other bits from the same text.
    revision = getattr(parts.strength, "revision", None)
    return {
        **({} if revision is None else {"controller": revision}),
        "recipe": named,
        "data": list(task.fingerprints.values()),
        "source": task.source,
        "device": torch.device(device).type,
        "threads": threads,
        "torch": torch.__version__,
        "incorruptible": __version__,
    }


def _made(device: torch.device) -> dict[str, Any]:
    return provenance.made(
        torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class MeasurePlan:
    """What to measure on a run: a sweep in the grammar of `measure`, on one part of the data, over
    chips of one purpose. With `examples` other than 0, only the first so many examples are used.
    """

    sweep: str
    part: str = "test"
    purpose: str = "test"
    chips: int = 20
    seed: int = 0
    batchnorm: str = "as-is"
    examples: int = 0

    def plain(self) -> dict[str, Any]:
        """The plan as plain data, under the names that records use. `examples`, a later entry, is
        left out at its default, so that earlier measurements keep their names.
        """
        found = records.recorded(asdict(self))
        return (
            found
            if self.examples
            else {key: value for key, value in found.items() if key != "examples"}
        )

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> MeasurePlan:
        """The plan whose `plain()` is `plain`."""
        return cls(**records.current(plain))


MeasurePlan.__init__ = renamed_arguments(draws="chips")(MeasurePlan.__init__)  # type: ignore[method-assign]


def measures(
    run: Run, plan: MeasurePlan, task: Task, at: float | None = None, bounded: bool = False
) -> tuple[Path, Path]:
    """The two files that keep what `plan` measures on `run`: the note (JSON), which holds the
    checksum of the arrays, and the arrays (safetensors).
    """
    data = task.fingerprints[plan.part]
    what = {"plan": plan.plain(), "weights": run.digest(at), "data": data, **run.recipe.held()}
    name = records.identity({**what, "bounded": True} if bounded else what)
    return run.folder / "measures" / f"{name}.json", run.folder / "measures" / f"{name}.safetensors"


def measured(
    run: Run,
    plan: MeasurePlan,
    task: Task | None = None,
    *,
    at: float | None = None,
    threads: int = 1,
    device: str = "cpu",
    leave: Callable[[], bool] = lambda: False,
    bounded: bool = False,
    checks: bool = True,
) -> dict[str, NDArray[Any]]:
    """The task's score and loss of `run` under `plan`, at the end of the training or at the
    checkpoint `at`. Measured once and kept in the run's folder.

    Returns arrays by name:

    - "score" and "loss" [strength, chip];
    - "score by example" and "loss by example" [strength, example], the means over chips;
    - "equivalent" [strength], the gaussian-filter-max strength whose error is as large on the run's
      weights;
    - with `bounded` also "bounded" and "bounded by example", of 1 - the softmax probability of the
      label.

    The arrays that the recipe names are corrupted. A record that is torn or altered is measured
    again, and so is one of other data. A stopped measurement goes on from what it last
    saved, at most `CHECKPOINT_EVERY` seconds before, or 20 times as long as saving takes.
    Where `leave()` returns true, the measurement is saved and `Left` is raised. Raises `NotFinite`
    for a network whose answers are not finite without errors, unless `checks` is False (see
    `measure_all`).
    """
    task = task or run.task()
    note, file = measures(run, plan, task, at, bounded)
    if note.is_file():
        try:
            return records.read_arrays(file, records.read(note)["arrays"])
        except records.Newer:
            raise
        except UserError:
            pass  # measured again below
    where = torch.device(device)
    with _threads(threads):
        model = run.model(task, at).to(where)
        again = plan.batchnorm == "recalibrated"
        chips = Sampling(
            *parse_sweep(plan.sweep),
            chips=plan.chips,
            seed=plan.seed,
            purpose=plan.purpose,
            batchnorm=plan.batchnorm,
            calibration=batches(task.part("train"), task.batch, device=where) if again else None,
            arrays=run.recipe.arrays(model),
        )
        data = batches(first(task.part(plan.part), plan), task.batch, device=where)
        kept = _Kept(note.with_name(f"{note.stem}.partial.json"), leave)
        asked: dict[str, Any] = {"score": task.score, "loss": task.loss}
        if bounded:
            asked["bounded"] = bounded_loss
        found = measure_all(model, asked, data, chips, keep_examples=True, kept=kept, checks=checks)
    arrays: dict[str, NDArray[Any]] = {}
    for what, scores in found.items():
        assert scores.examples is not None
        arrays |= {what: scores.values, f"{what} by example": scores.examples.mean(1)}
        arrays["equivalent"] = np.array(scores.equivalent)
    records.write(note, {"plan": plan.plain(), "arrays": records.write_arrays(file, arrays)})
    kept.discard()
    return arrays


def first(data: Any, plan: MeasurePlan) -> Any:
    """The first `plan.examples` examples of `data`, or all of them where that is 0. Raises
    `UserError` for data that cannot be cut.
    """
    if not plan.examples:
        return data
    if isinstance(data, Images):
        return data.first(plan.examples)
    if isinstance(data, tuple):
        return tuple(part[: plan.examples] for part in data)
    raise UserError(
        f"examples={plan.examples}: data of type {type(data).__name__} are measured whole, or not "
        "at all."
    )


def displaced(run: Run, task: Task | None = None, *, threads: int = 1) -> tuple[Path, str]:
    """Measure how far training moved each filter of `run`, and write it to a file in the run's
    folder. Returns the file and its checksum.

    The arrays in the file are the fields of a `pacbayes.Displacement`, and "seen", the number of
    training examples on which the initial weights depend.
    """
    task = task or run.task()
    with _threads(threads):
        found = displacement(run.model(task), run.start(task), run.recipe.also, run.recipe.protect)
    arrays = {
        one.name: np.atleast_1d(np.asarray(getattr(found, one.name))) for one in fields(found)
    }
    arrays["seen"] = np.array([task.seen])
    file = run.folder / "measures" / "displacement.safetensors"
    return file, records.write_arrays(file, arrays)


class _Kept(dict[tuple[int, int, int], dict[str, NDArray[Any]]]):
    """The scores that a measurement has so far, by (strength, chip, read), saved every few seconds.

    Saving writes everything again, so the pause until the next save grows to 20 times the time that
    the last save took.
    """

    def __init__(self, note: Path, leave: Callable[[], bool]) -> None:
        super().__init__()
        self.note, self.arrays, self.leave = note, note.with_suffix(".safetensors"), leave
        self.saved, self.pause = time.monotonic(), CHECKPOINT_EVERY
        if note.is_file():
            try:
                arrays = records.read_arrays(self.arrays, records.read(note)["arrays"])
            except UserError:
                return  # the file is torn or altered, so everything is measured again
            for name, array in arrays.items():
                strength, chip, read, score = name.split(" ", 3)
                self.setdefault((int(strength), int(chip), int(read)), {})[score] = array

    def __setitem__(self, place: tuple[int, int, int], scores: dict[str, NDArray[Any]]) -> None:
        super().__setitem__(place, scores)
        if (leaving := self.leave()) or time.monotonic() - self.saved >= self.pause:
            began = time.monotonic()
            arrays = {
                " ".join((*map(str, where), name)): one
                for where, each in self.items()
                for name, one in each.items()
            }
            records.write(self.note, {"arrays": records.write_arrays(self.arrays, arrays)})
            self.saved = time.monotonic()
            self.pause = max(CHECKPOINT_EVERY, 20 * (self.saved - began))
            if leaving:
                raise Left(f"{self.note}: left after {len(self)} chips")

    def discard(self) -> None:
        for file in (self.note, self.arrays):
            file.unlink(missing_ok=True)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
