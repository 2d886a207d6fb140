"""A study's folder: what is to be done, and what has come of it; read and written without torch."""

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
    """One unit of work: an arm's seed, trained in the run's folder and measured. `name` names its
    outcome.
    """

    arm: int
    seed: int
    run: str
    name: str


@dataclass(frozen=True)
class Folder:
    """`home`/studies/NAME, whose `plan` is what study.json holds."""

    home: Path
    path: Path
    plan: dict[str, Any]

    @cached_property
    def jobs(self) -> tuple[StudyJob, ...]:
        """Everything that is to be done, the longest first."""
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
        """Where its run is."""
        return self.home / "trained" / job.run

    def ends(self) -> dict[str, End]:
        """How each job ended that has: by its name. One look into one folder, however many there
        are.
        """
        found: dict[str, End] = {}
        known: dict[str, End] = {f"{end}.json": end for end in ENDS}
        for name in _names(self._outcomes):
            job, _, rest = name.partition(".")
            if rest in known:
                found[job] = known[rest]
        return {job.name: found[job.name] for job in self.jobs if job.name in found}

    def outcome(self, job: StudyJob, end: End) -> dict[str, Any]:
        """What came of it. Raises `UserError` for a record that is torn or altered."""
        # A study has thousands of outcomes, and making a Path for each takes a fifth of the time.
        return records.read(f"{self._outcomes}/{job.name}.{end}.json")

    def write(self, job: StudyJob, end: End, found: dict[str, Any]) -> None:
        """Note how a job ended; whatever was noted before is replaced."""
        records.write(
            self._outcome(job, end), {"arm": self.arms[job.arm]["name"], "seed": job.seed, **found}
        )
        for other in ENDS:
            if other != end:
                self._outcome(job, other).unlink(missing_ok=True)

    def forget(self, job: StudyJob, end: End) -> None:
        """Have it done again."""
        self._outcome(job, end).unlink(missing_ok=True)

    def altered(self) -> Iterator[tuple[StudyJob, End, str]]:
        """Every job with a file that is torn, altered or gone, and which; reads all files that
        finished jobs left.
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
    """The name of a checkpoint's arm or measure; of those at the end, `name` itself."""
    return name if at is None else f"{name} @{at:g}"


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns, in which * stands for anything, is the name's."""
    return any(name == one or fnmatchcase(name, one) for one in patterns)


def named(text: str) -> str:
    """The name of the study that `text`, a shipped name or the path of a TOML file, stands for; the
    file is not read.

    Raises `UserError` for one that could be no folder's.
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
            f"{text}: the file's name is the study's, and of letters, digits, dots, dashes and "
            "underscores."
        )
    return name


def find(home: Path, name: str, text: str) -> Folder:
    """The folder of a study that was begun. Raises `UserError` where it was not."""
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
