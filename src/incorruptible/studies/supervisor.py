"""Workers for a study: started, replaced when they die, and told to leave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..errors import UserError, UserErrors
from .folder import End, Folder, StudyJob
from .launch import Engine, Worker

__all__ = ["DISK_FULL", "LEFT", "Stopped", "mend", "supervise"]

LEFT = 75  # exit code of a worker that was asked to leave: EX_TEMPFAIL of sysexits.h
DISK_FULL = 74  # EX_IOERR
LOOK = 0.5  # seconds between two looks
GLANCE = 0.1  # seconds, while the study is being planned
SPOKEN = "incorruptible: "
PATIENCE = 6  # times each worker may die while nothing gets done: once more than a run that kills its worker is tried


class Stopped(RuntimeError):
    """The study cannot go on as it is; what was finished is kept. `code` is the exit code that says why."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def mend(folder: Folder, tell: Callable[[str], None], retry: bool = False) -> None:
    """Have done again what is torn or altered, naming it; and what failed, where `retry` says so."""
    for job, end, file in list(folder.altered()):
        tell(f"{file} does not match its checksum, or is gone: {folder.label(job)} is done again.")
        folder.forget(job, end)
    if retry:
        ends = folder.ends()
        for job in folder.jobs:
            if ends.get(job.name) == "failed":
                folder.forget(job, "failed")


def supervise(
    find: Callable[[], Folder | None],
    path: Path,
    engine: Engine,
    command: Sequence[str],
    workers: int,
    *,
    first: int | None = None,
    told: Iterable[str] = (),
    progress: Callable[[int, int, str], None],
    tell: Callable[[str], None],
) -> dict[str, End]:
    """Keep up to `workers` copies of `command` at work until every job has ended; returns how each did.

    `find()` is the study's folder as it stands, at `path`, or None while no worker has planned it: until then no more than
    `first` are started. A worker that dies is replaced, up to 6 times `workers` in a row without anything getting done;
    failures are told once, those of jobs in `told` not again. An interrupt asks the workers to leave and waits until they
    have. Raises `Stopped` for a full disk, for workers that keep dying, and where all have left on request; `UserError` for one
    that a worker found.
    """
    crew = _Crew(path, engine, command, workers, tell)
    known, shown, before = set(told), -1, -1
    begun = time.monotonic()
    try:
        while True:
            if (folder := find()) is None:
                crew.tend(first or workers)
                time.sleep(GLANCE)
                continue
            looked = time.monotonic()
            ends = folder.ends()
            for job in folder.jobs:
                if ends.get(job.name, "finished") != "finished" and job.name not in known:
                    known.add(job.name)
                    _report(folder, job, ends[job.name], tell)
            pause = max(LOOK, 200 * (time.monotonic() - looked))  # under 1% of a core, however large the study
            ended = sum(job.name in ends for job in folder.jobs)  # two arms of one recipe share their jobs' names
            if ended != shown:
                crew.deaths, shown, before = 0, ended, ended if before < 0 else before
                progress(
                    shown, len(folder.jobs), _pace(shown - before, len(folder.jobs) - shown, time.monotonic() - begun)
                )
            if shown == len(folder.jobs):
                return ends
            crew.tend(len(folder.jobs) - shown)
            time.sleep(pause)
    finally:
        crew.dismiss()


class _Crew:
    """The workers of one study: started, and replaced when they die."""

    def __init__(
        self, path: Path, engine: Engine, command: Sequence[str], size: int, tell: Callable[[str], None]
    ) -> None:
        self.path, self.engine, self.command, self.size, self.tell = path, engine, command, size, tell
        self.workers: dict[int, Worker] = {}
        self.number = 0  # of the next one
        self.deaths = 0  # in a row, while nothing gets done
        self.gone = 0  # left on request

    def tend(self, jobs: int) -> None:
        """See to those that have ended, and have as many at work as there are jobs and places."""
        for place, worker in list(self.workers.items()):
            if (code := worker.poll()) is not None:
                del self.workers[place]
                self._ended(code, self._log(place))
        wanted = min(self.size - self.gone, jobs)
        if not self.workers and wanted <= 0:
            raise Stopped("all workers were asked to leave; the same command goes on from here.", LEFT)
        while len(self.workers) < wanted:
            self.workers[self.number] = self.engine.start(self.command, self._log(self.number))
            self.number += 1

    def _ended(self, code: int, log: Path) -> None:
        if code == LEFT:
            self.gone += 1
        elif code == 0:
            log.unlink(missing_ok=True)
        elif code == 2:
            raise _mistake(log)
        elif code == DISK_FULL:
            raise Stopped(_said(log)[-1], code)
        else:
            self.deaths += 1
            self.tell(f"a worker died ({_cause(code)}); another takes its place.")
            if self.deaths >= PATIENCE * self.size:
                raise Stopped(f"{self.deaths} workers died in a row; the last one said: {_said(log)[-1]}")

    def dismiss(self, patience: float = 20.0) -> None:
        """Workers that are done leave by themselves; others are asked, and then not asked any more."""
        crew = list(self.workers.values())
        for worker in crew:
            if worker.poll() is None:
                worker.leave()
        end = time.monotonic() + patience
        while any(worker.poll() is None for worker in crew) and time.monotonic() < end:
            time.sleep(0.05)
        for place, worker in self.workers.items():
            if worker.poll() is None:
                worker.kill()
            elif (log := self._log(place)).is_file() and (worker.poll() == 0 or not log.stat().st_size):
                log.unlink(missing_ok=True)  # it said nothing, or nothing that is still of use

    def _log(self, number: int) -> Path:
        return self.path / "logs" / f"{os.getpid()}-{number}.log"


def _pace(done: int, left: int, seconds: float) -> str:
    """How long the rest takes if it goes on like this; the longest runs come first, so mostly less."""
    return f"runs; about {left * seconds / done / 60:.1f} min left" if done >= 3 and left else "runs"


def _report(folder: Folder, job: StudyJob, end: End, tell: Callable[[str], None]) -> None:
    try:
        message = folder.outcome(job, end)["message"]
    except UserError as problem:
        message = str(problem)
    tell(f"{folder.label(job)} {end}: {message}")


def _said(log: Path) -> list[str]:
    """The last thing that a worker said: a line, and those that belong to it."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    first = max((i for i, line in enumerate(lines) if line.startswith(SPOKEN)), default=len(lines) - 1)
    return [line.removeprefix(SPOKEN).strip() for line in lines[max(0, first) :]] or ["nothing"]


def _mistake(log: Path) -> UserError:
    """What a worker found wrong, in its own words."""
    head, *rest = _said(log)
    return UserErrors(head.rpartition(" has ")[0], rest) if rest else UserError(head)


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
