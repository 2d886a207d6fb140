"""One worker: claims runs of a study in a shared folder and does them, until all are done or the
worker is asked to leave.

A *job* is one seed of one arm: the worker trains its run, measures it, and writes its outcome
("finished", "diverged" or "failed"). Many workers do so at the same time; they talk to each other
through files only.

Relies on: equal recipes give equal bits, and every file of a run is written whole or not at all. So
two workers that train the same run by mistake, after one of them stood still and lost its lease, do
no harm. Training and measuring save checkpoints, from which the next worker goes on.

Keeps: a job is done under the lease of its run, and its outcome is looked at again under the lease,
so a job that another worker finished meanwhile is not repeated. A job whose workers died
`DEATHS` times in a row without progress is given up as failed. A full disk is never recorded as the
failure of a job.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from types import FrameType
from typing import Any

from ..errors import NotFinite, UserError, disk_failed
from ..files import records
from ..runs import Left, MeasurePlan, Run, displaced, measured, measures, train
from ..training.recipe import parse
from .folder import Folder, StudyJob, at_checkpoint
from .leases import Lease, Leases
from .plan import Tasks

GRACE = 8  # seconds in which an epoch may come to its end before the worker leaves
DEATHS = 5  # workers in a row that may die on a run without progress
PAUSE = 0.5  # seconds between two looks while other workers hold every run that is left


class Leaving(BaseException):
    """Raised where the worker is when it must leave at once; the last checkpoint stands.

    It is no `Exception`, so that no handler for failures of a job takes it for one.
    """


class Changed(UserError):
    """A task of the user's own has changed since the study was begun."""


class _Asked:
    """Whether somebody asked this process to leave."""

    def __init__(self) -> None:
        self.yes = False

    def __call__(self) -> bool:
        return self.yes


@contextmanager
def leaving() -> Iterator[Callable[[], bool]]:
    """Takes the signals TERM, INT, USR1 and USR2 as requests to leave, and yields a function that
    says whether a request has come.

    If the code does not leave within 8 seconds, or a second request comes, `Leaving` is raised at
    the place where the code is. The earlier handlers are back after the block.
    """
    asked = _Asked()

    def hear(number: int, frame: FrameType | None) -> None:
        if asked.yes:
            raise Leaving
        asked.yes = True
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(GRACE)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.signal(number, hear) for number in numbers]
    try:
        yield asked
    finally:
        signal.alarm(0)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _late(number: int, frame: FrameType | None) -> None:
    raise Leaving


def work(
    folder: Folder,
    tasks: Tasks,
    *,
    device: str = "cpu",
    leave: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda line: None,
) -> bool:
    """Do the jobs of a study that no other worker is doing. Returns True once all jobs are done, by
    whomever, and False if the worker was asked to leave before.

    A failure of the user's own code (a task that raises) is recorded, and the job is not tried
    again. A full disk raises `OSError`, and nothing is recorded. While other workers hold all jobs
    that are left, this worker waits, in case one of the others dies.
    """
    with Leases(folder.home / "leases") as leases:
        while not leave():
            ends = folder.ends()
            todo = [job for job in folder.jobs if job.name not in ends]
            if not todo:
                return True
            if not _next(folder, todo, leases, tasks, device, leave, tell):
                time.sleep(PAUSE)
    return False


def _next(
    folder: Folder,
    todo: list[StudyJob],
    leases: Leases,
    tasks: Tasks,
    device: str,
    leave: Callable[[], bool],
    tell: Callable[[str], None],
) -> bool:
    """Do the first job that can be claimed; False if there was none."""
    held = {holder.name for holder in leases.holders()}
    # Jobs that nobody seems to hold come first. The others may have a dead holder.
    for job in sorted(todo, key=lambda job: job.run in held):
        lease = leases.claim(job.run)
        if lease is None:
            continue
        with lease:
            if job.name in folder.ends():
                return True  # somebody finished it between our look and our claim
            lease.note(
                study=folder.path.name,
                arm=folder.arms[job.arm]["name"],
                seed=job.seed,
                at_once=True,
            )
            if lease.deaths >= DEATHS:
                text = (
                    f"its worker died {lease.deaths} times in a row before an epoch was done (out "
                    "of memory?)"
                )
                folder.write(job, "failed", {"message": text})
                return True
            tell(folder.label(job))
            try:
                _do(folder, job, lease, tasks, device, leave)
            except Changed:
                raise
            except Left:
                pass
            except OSError as problem:
                if disk_failed(problem):
                    raise
                _failed(folder, job, problem)
            except Exception as problem:
                _failed(folder, job, problem)
        return True
    return False


def _do(
    folder: Folder,
    job: StudyJob,
    lease: Lease,
    tasks: Tasks,
    device: str,
    leave: Callable[[], bool],
) -> None:
    began = time.monotonic()
    recipe = parse(folder.arms[job.arm]["recipe"] | {"seed": job.seed})
    threads = folder.plan["frame"]["threads"]

    def tell(epoch: int, epochs: int, metrics: dict[str, Any]) -> None:
        lease.note(epoch=epoch, epochs=epochs)
        lease.progressed()

    task = tasks(recipe.task)
    run = train(
        recipe,
        folder.home / "trained",
        device=device,
        threads=threads,
        task=task,
        progress=tell,
        leave=leave,
    )
    trained = time.monotonic()
    if run.folder.name != job.run:
        raise Changed(
            f"{recipe.task} has changed since this worker began: give the same command again."
        )
    if run.record["metrics"][-1]["loss"] is None:
        _diverged(folder, job, run, "its loss is not finite", trained - began)
        return
    lease.progressed()
    arrays: dict[str, list[str]] = {}
    bounds = folder.plan.get("bounds", False)
    for (key, plan), at in product(folder.plan["plans"].items(), (None, *recipe.checkpoints)):
        one = MeasurePlan.of(plan)
        lease.note(measuring=one.part)
        try:
            measured(
                run, one, task, at=at, threads=threads, device=device, leave=leave, bounded=bounds
            )
        except NotFinite as problem:  # the last loss was finite, but the network after it is not
            _diverged(folder, job, run, str(problem), trained - began)
            return
        file = measures(run, one, task, at, bounds)[1]
        arrays[at_checkpoint(key, at)] = [
            str(file.relative_to(folder.home)),
            records.checksum(file),
        ]
        lease.progressed()
    if bounds:
        file, digest = displaced(run, task, threads=threads)
        arrays["displacement"] = [str(file.relative_to(folder.home)), digest]
    found = {
        "run": job.run,
        "files": _files(folder, run) | dict(arrays.values()),
        "measures": arrays,
        "seconds": {"train": trained - began, "measure": time.monotonic() - trained},
    }
    folder.write(job, "finished", found)


def _diverged(folder: Folder, job: StudyJob, run: Run, message: str, seconds: float) -> None:
    """Record that the training of `job`, which took `seconds`, left a network that is not
    finite.
    """
    found = {"run": job.run, "files": _files(folder, run), "seconds": {"train": seconds}}
    folder.write(job, "diverged", {"message": message, **found})


def _files(folder: Folder, run: Run) -> dict[str, str]:
    files = (run.folder / "run.json", *map(run.file, (None, *run.recipe.checkpoints)))
    return {str(file.relative_to(folder.home)): records.checksum(file) for file in files}


def _failed(folder: Folder, job: StudyJob, problem: Exception) -> None:
    message = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
    folder.write(job, "failed", {"message": message, "traceback": traceback.format_exc()})
