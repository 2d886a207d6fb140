"""A whole study, from its file to the last run.

Workers do the planning too, so this module and the supervisor need no torch and start at once.

Relies on: each worker plans the study when it starts, and writes study.json, or touches it if it
stands already (`plan.begin`). Keeps: after a study that could not be planned no folder is left that
was not there before, and after a mistake of the user's no log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown
from ..files import records
from .folder import Folder, named
from .launch import CATALOGUE, cores, share
from .launch.protocol import Engine
from .supervisor import mend, supervise


@dataclass(frozen=True)
class Launch:
    """Where the runs of a study are made, and by how many processes.

    The `engine`, "local" or "ray", starts `workers` processes (by default one for each core) of
    `threads` threads each (by default cores / workers). `gpus`, the share of a GPU for each worker,
    and `address`, that of the cluster, are for Ray. Raises `UserError` for an unknown engine, and
    for options of Ray without Ray.
    """

    workers: int | None = None
    engine: str = "local"
    threads: int | None = None
    device: str | None = None
    gpus: float = 0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in CATALOGUE:
            raise unknown("engine", self.engine, CATALOGUE)
        if self.engine == "local" and (self.gpus or self.address):
            raise UserError("--gpus and --address are for --engine ray.")

    def started(self, threads: int, device: str) -> Engine:
        """The engine that starts workers of `threads` threads. Local workers for the `device` "cpu"
        see no GPU.
        """
        if self.engine == "local":
            return CATALOGUE["local"](threads=threads, device=device)
        return CATALOGUE["ray"](threads=threads, gpus=self.gpus, address=self.address)


@dataclass(frozen=True)
class Changes:
    """Changes to the study's file: the number of seeds, the epochs of the base recipe (other arms
    follow in proportion), and the data of image tasks. Raises `UserError` for fewer than 2 seeds or
    1 epoch.
    """

    seeds: int | None = None
    epochs: int | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 2:
            raise UserError(f"seeds {self.seeds}: at least 2 are needed, for intervals.")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs {self.epochs}: at least 1 is needed.")

    def words(self) -> list[str]:
        """The changes as options of a worker's command line."""
        said = ["--seeds", str(self.seeds or 0), "--epochs", str(self.epochs or 0)]
        return [*said, "--data", self.data] if self.data else said


def run(
    study: str,
    home: Path,
    launch: Launch = Launch(),
    changes: Changes = Changes(),
    *,
    retry: bool = False,
    force: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Folder:
    """Run `study`, a name or the path of a TOML file, to its end in the folder `home`. Runs that
    were done before are kept.

    `retry` does failed runs again. `force` begins again under other threads, device or versions.
    `progress(done, runs, about)` and `tell(line)` are called as the study goes on.

    Raises `UserError` for mistakes in the study or the request, and `Stopped` if the study cannot
    go on.
    """
    workers = cores() if launch.workers is None else launch.workers
    planned = _Planned(home, named(study), workers, retry, tell)
    threads = launch.threads or planned.frame.get("threads") or share(workers)
    where = str(Path(study).resolve()) if study.endswith(".toml") else study
    command = [sys.executable, "-m", "incorruptible", "worker", where]
    command += ["--home", str(home.resolve()), "--threads", str(threads), *changes.words()]
    command += ["--device", launch.device] if launch.device else []
    command += ["--force"] if force else []
    started = launch.started(threads, launch.device or planned.frame.get("device", "cpu"))
    try:
        supervise(
            planned,
            planned.path,
            started,
            command,
            workers,
            first=min(workers, planned.left),
            told=planned.ended,
            progress=progress,
            tell=tell,
        )
    except UserError:  # the error says everything, so the workers' logs are removed
        for log in (planned.path / "logs").glob(f"{os.getpid()}-*.log"):
            log.unlink(missing_ok=True)
        raise
    finally:
        started.close()
        # A worker that was killed may leave a half-written file.
        for pattern in (f"{os.getpid()}-*.json", f".{os.getpid()}-*.tmp"):
            for note in (planned.path / "logs").glob(pattern):
                note.unlink(missing_ok=True)
        planned.tidy()
    folder = planned()
    assert folder is not None  # all its jobs have ended
    return folder


class _Planned:
    """Called, returns the study's folder once a worker of this call has planned the study, and None
    before.

    A plan from an earlier call does not count until a worker has confirmed it by touching
    study.json: the study's file may have changed since.
    """

    def __init__(
        self, home: Path, name: str, workers: int, retry: bool, tell: Callable[[str], None]
    ) -> None:
        self.home, self.path, self.retry, self.tell = home, home / "studies" / name, retry, tell
        self.note = self.path / "study.json"
        self.there = [
            folder for folder in (self.path / "logs", *self.path.parents) if folder.exists()
        ]
        self.before = self.seen = self._stamp()
        self.folder: Folder | None = None
        self.frame: dict[str, Any] = {}
        self.ended: set[str] = set()
        self.left = workers  # jobs that have not ended, as far as is known
        if self.before is None:
            return
        try:
            known = Folder(home, self.path, records.read(self.note))
        except records.Newer:
            raise
        except UserError:
            tell(f"{self.note} is torn or altered: it is made again.")
            return
        self._mend(known)
        self.frame = known.plan["frame"]
        self.ended = set(known.ends())
        self.left = max(1, sum(job.name not in self.ended for job in known.jobs))

    def __call__(self) -> Folder | None:
        stamp = self._stamp()
        if stamp is not None and stamp != self.seen:
            self.seen = stamp
            found = Folder(self.home, self.path, records.read(self.note))
            if self.folder is None or found.plan != self.folder.plan:
                self._mend(found)
                self.folder = found
        return self.folder

    def tidy(self) -> None:
        """Remove the folders that were made for a study that could not be planned."""
        if self.note.is_file() or not self.path.is_dir():
            return
        for folder in (self.path / "logs", self.path, *self.path.parents):
            if folder in self.there or not folder.is_dir() or any(folder.iterdir()):
                return
            folder.rmdir()

    def _mend(self, folder: Folder) -> None:
        mend(folder, self.tell, self.retry)
        self.retry = False  # once

    def _stamp(self) -> int | None:
        try:
            return self.note.stat().st_mtime_ns
        except FileNotFoundError:
            return None
