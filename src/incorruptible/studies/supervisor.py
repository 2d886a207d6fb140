"""Workers for a study: started, replaced when they die, and told to leave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..errors import UserError
from .ending import Ending, read_ending
from .folder import End, Folder, StudyJob
from .launch import Engine, Worker

LEFT = 75  # exit code of a worker that was asked to leave: EX_TEMPFAIL of sysexits.h
DISK_FULL = 74  # EX_IOERR
LOOK = 0.5  # seconds between two looks
GLANCE = 0.1  # seconds, while the study is being planned
# How many times each worker may die while no run gets done. This is one time more than a run that
# kills its worker is tried.
PATIENCE = 6


class Stopped(RuntimeError):
    """The study cannot go on as it is; what was finished is kept. `code` is the exit code that says
    why.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def mend(folder: Folder, tell: Callable[[str], None], retry: bool = False) -> None:
    """Have done again what is torn or altered, naming it; and what failed, where `retry` says
    so.
    """
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
    """Keep up to `workers` copies of `command` at work until every job has ended; returns how each
    did.

    `find()` is the study's folder as it stands, at `path`, or None while no worker has planned it:
    until then no more than `first` are started. A worker that dies is replaced, up to 6 times
    `workers` in a row without anything getting done; failures are told once, those of jobs in
    `told` not again. An interrupt asks the workers to leave and waits until they have. Raises
    `Stopped` for a full disk, for workers that keep dying, and where all have left on request;
    `UserError` for one that a worker found.
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
            # Under 1% of a core, however large the study.
            pause = max(LOOK, 200 * (time.monotonic() - looked))
            # Two arms of one recipe share their jobs' names.
            ended = sum(job.name in ends for job in folder.jobs)
            if ended != shown:
                crew.deaths, shown, before = 0, ended, ended if before < 0 else before
                progress(
                    shown,
                    len(folder.jobs),
                    _pace(shown - before, len(folder.jobs) - shown, time.monotonic() - begun),
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
        self,
        path: Path,
        engine: Engine,
        command: Sequence[str],
        size: int,
        tell: Callable[[str], None],
    ) -> None:
        self.path, self.engine, self.command, self.size, self.tell = (
            path,
            engine,
            command,
            size,
            tell,
        )
        self.workers: dict[int, Worker] = {}
        self.number = 0  # of the next one
        self.deaths = 0  # in a row, while nothing gets done
        self.gone = 0  # left on request

    def tend(self, jobs: int) -> None:
        """See to those that have ended, and have as many at work as there are jobs and places."""
        for place, worker in list(self.workers.items()):
            if (code := worker.poll()) is not None:
                del self.workers[place]
                self._ended(place, code, worker.fault)
        wanted = min(self.size - self.gone, jobs)
        if not self.workers and wanted <= 0:
            raise Stopped(
                "all workers were asked to leave; the same command goes on from here.", LEFT
            )
        while len(self.workers) < wanted:
            note = self._note(self.number)
            # An earlier supervisor whose process had the same number may have left a note.
            note.unlink(missing_ok=True)
            self.workers[self.number] = self.engine.start(
                [*self.command, "--ending", str(note.absolute())], self._log(self.number)
            )
            self.number += 1

    def _ended(self, place: int, code: int, fault: str) -> None:
        """Go on after the end of one worker, or raise where the study cannot.

        What the worker wrote counts, also where its process came to another end afterwards, as when
        a library crashes it while Python ends.
        """
        log = self._log(place)
        ending = self._take(place)
        exit_code, code = code, code if ending is None else ending.code
        if code == LEFT:
            self.gone += 1
        elif code == 0:
            if exit_code == 0:
                log.unlink(missing_ok=True)
        elif code == 2 and ending is not None:
            raise ending.mistake()
        elif code == DISK_FULL:
            raise Stopped(ending.message if ending else _disk(self.path), code)
        else:
            cause = _cause(code, ending, fault)
            self.deaths += 1
            self.tell(f"a worker died ({cause}); another takes its place.")
            if self.deaths >= PATIENCE * self.size:
                raise Stopped(
                    f"{self.deaths} workers died in a row, the last one by {cause}. It printed "
                    f"{_printed(log)}."
                )

    def dismiss(self, patience: float = 20.0) -> None:
        """Workers that are done leave by themselves; others are asked, and then not asked any
        more.
        """
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
            elif (log := self._log(place)).is_file() and (
                worker.poll() == 0 or not log.stat().st_size
            ):
                log.unlink(missing_ok=True)  # it said nothing, or nothing that is still of use
            self._note(place).unlink(missing_ok=True)

    def _take(self, place: int) -> Ending | None:
        """What that worker wrote about its end; the file goes."""
        note = self._note(place)
        found = read_ending(note)
        note.unlink(missing_ok=True)
        return found

    def _log(self, number: int) -> Path:
        """What it prints, which is for people."""
        return self.path / "logs" / f"{os.getpid()}-{number}.log"

    def _note(self, number: int) -> Path:
        """What it writes about its end."""
        return self._log(number).with_suffix(".json")


def _pace(done: int, left: int, seconds: float) -> str:
    """How long the rest takes if it goes on like this; the longest runs come first, so mostly
    less.
    """
    return (
        f"runs; about {left * seconds / done / 60:.1f} min left" if done >= 3 and left else "runs"
    )


def _report(folder: Folder, job: StudyJob, end: End, tell: Callable[[str], None]) -> None:
    try:
        message = folder.outcome(job, end)["message"]
    except UserError as problem:
        message = str(problem)
    tell(f"{folder.label(job)} {end}: {message}")


def _cause(code: int, ending: Ending | None, fault: str) -> str:
    """Why a worker died: what the worker wrote, what the engine says of it, or that a signal left
    it no time to say anything.
    """
    if ending is not None:
        return f"exit code {code}: {ending.message}"
    if fault:
        return fault
    return (
        f"signal {-code}, before it could say why"
        if code < 0
        else f"exit code {code}, and it did not say why"
    )


def _disk(path: Path) -> str:
    """What is said where the worker itself had no room to say it."""
    return (
        f"a file below {path}: the disk is full or broken. Nothing is lost: make room, call again."
    )


def _printed(log: Path) -> str:
    """Where to read what a worker printed."""
    return f"what is in {log}" if log.is_file() and log.stat().st_size else "nothing"
