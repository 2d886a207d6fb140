"""The supervisor of a study: starts workers, replaces workers that die, and tells them to leave.

The supervisor does no work of the study itself and imports no torch. It learns how the study stands
from the study's folder, and how a worker ended from its exit code and from the file that the worker
wrote about its end (`ending`).

Relies on: workers claim their runs by leases, so a replacement takes up the run of the worker that
died. A worker writes its ending before it leaves; only a worker that was killed writes none.

Keeps: never more than `workers` processes at once. Deaths in a row are counted anew whenever a job
ends. However `supervise` returns or raises, no worker is left at work.
"""

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
LOOK = 0.5  # seconds between two looks into the folder
GLANCE = 0.1  # the same while the first worker plans the study
# How many times each worker may die while no run gets done. This is one time more than a run that
# kills its worker is tried.
PATIENCE = 6


class Stopped(RuntimeError):
    """The study cannot go on; finished runs are kept. `code` is the exit code that says why."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def mend(folder: Folder, tell: Callable[[str], None], retry: bool = False) -> None:
    """Forget the outcomes of jobs with a file that is torn, altered or gone, so that these jobs are
    done again; `tell` is told each such file. With `retry`, forget failed jobs too.
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
    job ended.

    `find()` returns the study's folder, which is at `path`, or None while no worker has planned the
    study: until then at most `first` workers are started. A worker that dies is replaced, until 6
    times `workers` have died in a row while no job ended. `tell` is told each job that failed or
    diverged, except the jobs in `told`. An interrupt asks the workers to leave and waits for them.

    Raises `Stopped` for a full disk, for workers that keep dying, and if all workers were asked to
    leave; `UserError` for a mistake of the user's that a worker found.
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
            # A look takes longer the larger the study is. With 200 times as long a pause, looking
            # takes less than 1% of a core.
            pause = max(LOOK, 200 * (time.monotonic() - looked))
            # Counted job by job, because two arms of one recipe share the names of their jobs.
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
        self.number = 0  # of the worker that is started next
        self.deaths = 0  # of workers in a row, since the last job that ended
        self.gone = 0  # workers that left on request

    def tend(self, jobs: int) -> None:
        """Take note of workers that have ended, and start others until there is one for each of the
        `jobs` that are left, or all places are taken.
        """
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
        """Go on after the end of one worker, or raise if the study cannot go on.

        The ending that the worker wrote counts for more than the exit code of its process: a
        library may crash the process while Python ends, after the worker's work is done.
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
        """Ask the workers that are still at work to leave, and kill those that have not left after
        `patience` seconds.
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
                log.unlink(missing_ok=True)  # it is empty, or of a worker that ended well
            self._note(place).unlink(missing_ok=True)

    def _take(self, place: int) -> Ending | None:
        """The ending that a worker wrote, if any. Its file is removed."""
        note = self._note(place)
        found = read_ending(note)
        note.unlink(missing_ok=True)
        return found

    def _log(self, number: int) -> Path:
        """The file that takes what a worker prints, which is for people."""
        return self.path / "logs" / f"{os.getpid()}-{number}.log"

    def _note(self, number: int) -> Path:
        """The file in which a worker says how it ended."""
        return self._log(number).with_suffix(".json")


def _pace(done: int, left: int, seconds: float) -> str:
    """How long the rest takes at the pace so far. This is mostly too long, because the longest runs
    come first.
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
    """Why a worker died: in its own words, in those of the engine, or by the signal that killed
    it.
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
    """The message for a full disk on which the worker could not write its own."""
    return (
        f"a file below {path}: the disk is full or broken. Nothing is lost: make room, call again."
    )


def _printed(log: Path) -> str:
    """Where to read what a worker printed, for a message."""
    return f"what is in {log}" if log.is_file() and log.stat().st_size else "nothing"
