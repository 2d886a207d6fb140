"""One recipe, one folder: trained once, found again, and measured as often as one likes."""

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
# entries that came later: runs without them keep their names
_LATER = (
    *("checkpoints", "clip_weights", "also", "protect"),
    *("accumulate", "autocast", "channels_last", "compiled", "ranks", "noise"),
)


class Left(Exception):
    """A training was asked to leave, and its checkpoint is written; the same call goes on from
    there.
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
        """Where its weights are."""
        return self.file()

    def file(self, at: float | None = None) -> Path:
        """Where its weights are: those at the end, or at one of its checkpoints."""
        return self.folder / _weights(at)

    def digest(self, at: float | None = None) -> str:
        """The checksum that the weights were recorded with. Raises `UserError` for a checkpoint
        that it has not.
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
        """The largest strength that it was trained at: its schedule's, or what a controller came to
        at the end of an epoch.
        """
        strength = self.recipe.parts.strength
        if callable(strength):
            return schedules.peak(strength)
        return float(max(one["strength"] for one in self.record["metrics"] if "strength" in one))

    def task(self) -> Task:
        """Its task, loaded. Raises `UserError` where a task of the user's own, or what its data
        come from, is not what it was.
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
        """Its network with the trained weights, or with those of a checkpoint. Raises `UserError`
        if their file was altered.
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
        """Whether every file of weights is there as it was recorded."""
        places = [None, *self.recipe.checkpoints]
        return all(
            self.file(at).is_file() and records.checksum(self.file(at)) == self.digest(at)
            for at in places
        )

    def start(self, task: Task | None = None) -> nn.Module:
        """The network as it was before training, made anew from the same named randomness. Raises
        `UserError` if the weights that it started from are not what they were.
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
    """The run in `folder`. Raises `UserError` if there is none, or it is not finished, or it was
    altered.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(
            f"{folder} is a file, no run's folder; for weights, give their task: TASK --weights "
            f"{folder}."
        )
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    if not (folder / "run.json").is_file():
        unfinished = (folder / "recipe.json").is_file()
        what = (
            "is not finished: give the same train command again"
            if unfinished
            else "is no run: it has no run.json"
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
    """Train by `recipe` in a folder of its own below `home`, unless that was done before.

    The folder's name is the recipe's identity: a hash of the resolved recipe, the data, the source
    of a task of the user's own and of what it imports from its folder, the weights that it starts
    from, threads, device and versions. A training that was killed goes on from its last checkpoint
    (at most `checkpoint_every` seconds or one epoch old, whichever is more) and ends in the same
    bits. `progress(epoch, epochs, metrics)` is called after each epoch; with `validate`, the
    metrics that it gets in the first process hold the score of the clean weights as "validation"
    (`Trainer.validation`). What is recorded, and its bits, are the same with and without. Where
    `leave()` says so after an epoch, the training is saved and `Left` is raised. `task` is the
    recipe's, where the caller has loaded it already.

    Of a recipe with `ranks`, each process that torchrun started calls this; the first one writes,
    and all return the run. Raises `UserError` where other than `ranks` processes are there, or do
    not see the same folder.
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
    """From the last checkpoint, or the beginning, to `run.json`; only the first of the group
    writes.
    """
    kept: dict[str, str] = {}

    def keep(model: nn.Module, place: float) -> None:
        if group.first:
            save_weights(model, folder / _weights(place))
            kept[_weights(place)] = records.checksum(folder / _weights(place))

    fit = Trainer(task, recipe, group.device, keep, group)
    made_here = [one for one in (folder, *folder.parents) if not one.exists()]
    checkpoint, made = folder / "checkpoint.pt", _made(group.device)
    if (state := _state(checkpoint, fit.device)) is not None and _there(
        folder, state.get("kept", {})
    ):
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
            if group.first and not fit.done and folder in made_here:  # refused at its first steps
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
    """The metrics of an epoch, and beside them the score on validation data, which is not recorded.

    A score that fails does not end the training: "validation" then says why there is none.
    """
    found: object
    try:
        found = fit.validation()
    except Exception as problem:  # the task's data and its score may be the user's own
        found = f"no validation score ({type(problem).__name__}: {problem})"
    return {**metrics, "validation": found}


def _take_back(folder: Path, made_here: list[Path]) -> None:
    """Remove what a training that was refused had written, and those folders that it had made and
    that are empty now.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for one in made_here[1:]:
        with suppress(OSError):  # another training may have begun there
            one.rmdir()


def _agree(group: RankGroup, folder: Path, found: int) -> None:
    """All ranks go on from the same place: what they find in the folder is the same."""
    if not group.alike(found):
        raise UserError(
            f"the ranks find different things in {folder}: --home must be a folder that all of "
            "them see."
        )


def _finished(folder: Path) -> Run | None:
    """The run in `folder` if it is whole; a torn or altered one is done again."""
    try:
        run = open_run(folder)
    except records.Newer:
        raise
    except UserError:
        return None
    return run if run.whole() else None


def _weights(at: float | None) -> str:
    return "weights.safetensors" if at is None else f"weights-{at:g}.safetensors"


def _there(folder: Path, kept: dict[str, str]) -> bool:
    """Whether the weights that a stopped training had kept are still what they were; else it begins
    anew.
    """
    return all(
        (folder / name).is_file() and records.checksum(folder / name) == one
        for name, one in kept.items()
    )


def _state(checkpoint: Path, device: torch.device) -> dict[str, Any] | None:
    """What a stopped training left; nothing where that is torn, and training begins anew."""
    if not checkpoint.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location=device, weights_only=True)
    except Exception:  # a torn file makes torch and pickle raise what they like
        return None
    return state


def identity(recipe: Recipe, task: Task, device: str = "cpu", threads: int = 1) -> dict[str, Any]:
    """All that decides the bits of a training, as plain data; `records.identity` of it names the
    run's folder.

    `recipe` is resolved. Raises `UserError` for weights to start from that are not there.
    """
    recipe, start = for_task(recipe, task), None
    if recipe.start is not None:
        if not Path(recipe.start).is_file():
            raise UserError(f"{recipe.start}: no such file of weights.")
        start = records.checksum(Path(recipe.start))
    # a task of the user's own is its source, and one on files what is in them, wherever they lie
    parts = recipe.parts
    named = replace(recipe, start=start, task=parts.task.portable).plain()
    for later in _LATER:
        if getattr(recipe, later) == getattr(Recipe, later):
            del named[records.KEPT.get(later, later)]
    # a controller whose rule changed trains other bits from the same text
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
    """What to measure on a run: a sweep in the grammar of `measure`, on one part of the data or,
    where `examples` is not 0, the first so many of it, over chips of one purpose.
    """

    sweep: str
    part: str = "test"
    purpose: str = "test"
    chips: int = 20
    seed: int = 0
    batchnorm: str = "as-is"
    examples: int = 0

    def plain(self) -> dict[str, Any]:
        """As plain data, under the names that records keep. Entries that came later are left out at
        their defaults, so that what was measured keeps its name.
        """
        found = records.recorded(asdict(self))
        return (
            found
            if self.examples
            else {key: value for key, value in found.items() if key != "examples"}
        )

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> MeasurePlan:
        """The plan that `plain` came from."""
        return cls(**records.current(plain))


MeasurePlan.__init__ = renamed_arguments(draws="chips")(MeasurePlan.__init__)  # type: ignore[method-assign]


def measures(
    run: Run, plan: MeasurePlan, task: Task, at: float | None = None, bounded: bool = False
) -> tuple[Path, Path]:
    """Where what `plan` finds is kept: the note, with the checksum of the arrays, and the
    arrays.
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
    """Score and cross-entropy of `run`, at its end or at a checkpoint, under `plan`; measured once
    and kept in its folder.

    "score" and "loss" are [strength, chip]; "score by example" and "loss by example" are [strength,
    example], the means over chips; "equivalent" [strength] is the gaussian-filter-max strength that
    is as large on its weights; with `bounded` also "bounded" and "bounded by example", of 1 - the
    softmax probability of the label. Chips hold the arrays that the recipe says. A torn or altered
    record, and one of other data, is measured again. What a stopped measurement had found, up to
    `CHECKPOINT_EVERY` seconds before, is kept; where `leave()` says so, it is saved and `Left` is
    raised. Raises `NotFinite` for a network that is not finite without errors, unless `checks` is
    False (see `measure_all`).
    """
    task = task or run.task()
    note, file = measures(run, plan, task, at, bounded)
    if note.is_file():
        try:
            return records.read_arrays(file, records.read(note)["arrays"])
        except records.Newer:
            raise
        except UserError:
            pass  # made again below
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
    """The first examples of data, as many as are asked for."""
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
    """Write how far training moved each filter of `run`; returns the file of arrays and its
    checksum.

    The arrays are the fields of a `pacbayes.Displacement`, and "seen": how many of the training
    examples its start depends on.
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
    """What a measurement has found so far, saved every few seconds."""

    def __init__(self, note: Path, leave: Callable[[], bool]) -> None:
        super().__init__()
        self.note, self.arrays, self.leave = note, note.with_suffix(".safetensors"), leave
        self.saved, self.pause = time.monotonic(), CHECKPOINT_EVERY
        if note.is_file():
            try:
                arrays = records.read_arrays(self.arrays, records.read(note)["arrays"])
            except UserError:
                return  # torn or altered: measured again
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
