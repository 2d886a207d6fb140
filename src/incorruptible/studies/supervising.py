"""Workers for a study: started, replaced when they die, and told to leave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..engines import Engine, Worker
from ..errors import Mistake
from .folder import End, Folder, Job

__all__ = ["DISK_FULL", "LEFT", "Stopped", "mend", "supervise"]

LEFT = 75  # exit code of a worker that was asked to leave: EX_TEMPFAIL of sysexits.h
DISK_FULL = 74  # EX_IOERR
LOOK = 0.5  # seconds between two looks
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
    folder: Folder,
    engine: Engine,
    command: Sequence[str],
    workers: int,
    *,
    progress: Callable[[int, int, str], None],
    tell: Callable[[str], None],
) -> dict[str, End]:
    """Keep up to `workers` copies of `command` at work until every job has ended; returns how each did.

    A worker that dies is replaced, up to 6 times `workers` in a row without anything getting done; failures are told once. An
    interrupt asks the workers to leave and waits until they have. Raises `Stopped` for a full disk, for workers that keep
    dying, and where all have left on request; `Mistake` for one that a worker found.
    """
    crew: dict[int, Worker] = {}
    deaths, number, told, shown = 0, 0, set[str](), -1
    gone = 0  # workers that left on request
    begun, first = time.monotonic(), -1
    try:
        while True:
            looked = time.monotonic()
            ends = folder.ends()
            for job in folder.jobs:
                if ends.get(job.name, "finished") != "finished" and job.name not in told:
                    told.add(job.name)
                    _report(folder, job, ends[job.name], tell)
            pause = max(LOOK, 200 * (time.monotonic() - looked))  # under 1% of a core, however large the study
            ended = sum(job.name in ends for job in folder.jobs)  # two arms of one recipe share their jobs' names
            if ended != shown:
                deaths, shown, first = 0, ended, ended if first < 0 else first
                progress(
                    shown, len(folder.jobs), _pace(shown - first, len(folder.jobs) - shown, time.monotonic() - begun)
                )
            if shown == len(folder.jobs):
                return ends
            for place, worker in list(crew.items()):
                code = worker.poll()
                if code is None:
                    continue
                del crew[place]
                if code == LEFT:
                    gone += 1
                elif code == 0:
                    _log(folder, place).unlink(missing_ok=True)
                elif code == 2:
                    raise Mistake(_last(_log(folder, place)))
                elif code == DISK_FULL:
                    raise Stopped(_last(_log(folder, place)), code)
                else:
                    deaths += 1
                    tell(f"a worker died ({_cause(code)}); another takes its place.")
                    if deaths >= PATIENCE * workers:
                        raise Stopped(
                            f"{deaths} workers died in a row; the last one said: {_last(_log(folder, place))}"
                        )
            wanted = min(workers - gone, len(folder.jobs) - shown)
            if not crew and wanted <= 0:
                raise Stopped("all workers were asked to leave; the same command goes on from here.", LEFT)
            while len(crew) < wanted:
                crew[number] = engine.start(command, _log(folder, number))
                number += 1
            time.sleep(pause)
    finally:
        _dismiss(list(crew.values()))


def _dismiss(crew: list[Worker], patience: float = 20.0) -> None:
    """Workers that are done leave by themselves; others are asked, and then not asked any more."""
    for worker in crew:
        if worker.poll() is None:
            worker.leave()
    end = time.monotonic() + patience
    while any(worker.poll() is None for worker in crew) and time.monotonic() < end:
        time.sleep(0.05)
    for worker in crew:
        if worker.poll() is None:
            worker.kill()


def _pace(done: int, left: int, seconds: float) -> str:
    """How long the rest takes if it goes on like this; the longest runs come first, so mostly less."""
    return f"runs; about {left * seconds / done / 60:.1f} min left" if done >= 3 and left else "runs"


def _report(folder: Folder, job: Job, end: End, tell: Callable[[str], None]) -> None:
    try:
        message = folder.outcome(job, end)["message"]
    except Mistake as problem:
        message = str(problem)
    tell(f"{folder.label(job)} {end}: {message}")


def _log(folder: Folder, number: int) -> Path:
    return folder.path / "logs" / f"{os.getpid()}-{number}.log"


def _last(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1].removeprefix("incorruptible: ") if lines else "nothing"


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
