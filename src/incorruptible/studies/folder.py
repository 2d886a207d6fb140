"""The folder of a study: the jobs that are to be done, and the outcome of each.

A *job* is one seed of one arm. The folder holds `study.json`, the plan with all jobs, and
`outcomes/JOB.END.json` for each job that has ended, where END is "finished", "diverged" or
"failed". The trained runs lie elsewhere, in `HOME/trained`, where studies share them.

Relies on: `records` writes a file whole or not at all. Keeps: a job has at most one outcome, apart
from the moment in which a new one replaces an old one. This module does not import torch, so that
tables of a study come at once.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..files import records

End = Literal["finished", "diverged", "failed"]
ENDS: tuple[End, ...] = ("finished", "diverged", "failed")


@dataclass(frozen=True)
class StudyJob:
    """One seed of one arm, to be trained and measured. `arm` is the arm's place in the plan, `run`
    the name of the run's folder, and `name` the name of the outcome.
    """

    arm: int
    seed: int
    run: str
    name: str


@dataclass(frozen=True)
class Folder:
    """The folder `home`/studies/NAME. `plan` is the content of its study.json."""

    home: Path
    path: Path
    plan: dict[str, Any]

    @cached_property
    def jobs(self) -> tuple[StudyJob, ...]:
        """All jobs, the longest first."""
        return tuple(StudyJob(*one) for one in self.plan["jobs"])

    @property
    def arms(self) -> list[dict[str, Any]]:
        """The arms as the definition has them: name, method, role, recipe."""
        found: list[dict[str, Any]] = self.plan["definition"]["arms"]
        return found

    def label(self, job: StudyJob) -> str:
        """Arm and seed, for people."""
        return f"{self.arms[job.arm]['name']}, seed {job.seed}"

    def trained(self, job: StudyJob) -> Path:
        """The folder of the job's run."""
        return self.home / "trained" / job.run

    def ends(self) -> dict[str, End]:
        """How each job ended, by the job's name; jobs that have not ended are left out. This lists
        one folder once, however many jobs there are.
        """
        found: dict[str, End] = {}
        known: dict[str, End] = {f"{end}.json": end for end in ENDS}
        for name in _names(self._outcomes):
            job, _, rest = name.partition(".")
            if rest in known:
                found[job] = known[rest]
        return {job.name: found[job.name] for job in self.jobs if job.name in found}

    def outcome(self, job: StudyJob, end: End) -> dict[str, Any]:
        """The recorded outcome. Raises `UserError` for a record that is torn or altered."""
        # A study has thousands of outcomes, and making a Path for each takes a fifth of the time.
        return records.read(f"{self._outcomes}/{job.name}.{end}.json")

    def write(self, job: StudyJob, end: End, found: dict[str, Any]) -> None:
        """Record how a job ended, in place of any earlier outcome."""
        records.write(
            self._outcome(job, end), {"arm": self.arms[job.arm]["name"], "seed": job.seed, **found}
        )
        for other in ENDS:
            if other != end:
                self._outcome(job, other).unlink(missing_ok=True)

    def forget(self, job: StudyJob, end: End) -> None:
        """Remove the outcome, so that the job is done again."""
        self._outcome(job, end).unlink(missing_ok=True)

    def altered(self) -> Iterator[tuple[StudyJob, End, str]]:
        """Each job with a file that is torn, altered or gone: the job, its end, and the file. This
        reads all files that jobs have recorded.
        """
        ends = self.ends()
        for job in self.jobs:
            if (end := ends.get(job.name)) is None:
                continue
            try:
                files = self.outcome(job, end).get("files", {})
            except UserError:
                yield job, end, str(self._outcome(job, end))
                continue
            for name, digest in files.items():
                file = self.home / name
                if not file.is_file() or records.checksum(file) != digest:
                    yield job, end, str(file)
                    break

    def _outcome(self, job: StudyJob, end: End) -> Path:
        return self._outcomes / f"{job.name}.{end}.json"

    @cached_property
    def _outcomes(self) -> Path:
        return self.path / "outcomes"


def at_checkpoint(name: str, at: float | None) -> str:
    """The name of an arm or measurement at the checkpoint `at`; at the end of training (None) it is
    `name` itself.
    """
    return name if at is None else f"{name} @{at:g}"


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether `name` fits one of the patterns, in which * stands for anything."""
    return any(name == one or fnmatchcase(name, one) for one in patterns)


def named(text: str) -> str:
    """The name of the study that `text` stands for: a shipped study's name, or the path of a TOML
    file. The file is not read.

    Raises `UserError` for a name that cannot be the name of a folder.
    """
    file = text.endswith(".toml")
    name = Path(text).stem if file else text
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        if not file:
            raise UserError(
                f"No study {text!r} here: the name of a shipped one, or the path of a .toml file, "
                "is needed."
            )
        raise UserError(
            f"{text}: the file's name is the study's name, and may hold letters, digits, dots, "
            "dashes and underscores."
        )
    return name


def find(home: Path, name: str, text: str) -> Folder:
    """The folder of the study `name`. Raises `UserError` if the study was not begun there. `text`
    is what the user typed, for the command that begins the study.
    """
    path = home / "studies" / name
    if not (path / "study.json").is_file():
        begun = sorted(
            one
            for one in _names(home / "studies")
            if (home / "studies" / one / "study.json").is_file()
        )
        there = f" Begun there: {', '.join(begun)}." if begun else ""
        begin = shlex.join(["incorruptible", "study", text, "--home", str(home)])
        raise UserError(f"no study {name!r} was begun in {home}.{there} To begin: {begin}.")
    return Folder(home, path, records.read(path / "study.json"))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - a Path for each of many thousands takes as long as reading half of them
    except FileNotFoundError:
        return []
