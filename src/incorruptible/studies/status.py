"""The status of a study, which can be looked at while the study runs. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .folder import ENDS, Folder
from .leases import Leases


@dataclass
class ArmStatus:
    """How many seeds of one arm are running, finished, diverged and failed."""

    arm: str
    seeds: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("running", *ENDS), 0))

    @property
    def waiting(self) -> int:
        """How many seeds have not been begun, or were left by a worker before their end."""
        return self.seeds - sum(self.counts.values())


@dataclass(frozen=True)
class StudyStatus:
    """The status of a study: `lines`, one for each arm; `workers`, each with its run; `troubles`,
    each message with the runs that ended by it.
    """

    study: str
    lines: tuple[ArmStatus, ...]
    workers: tuple[dict[str, Any], ...]
    troubles: dict[str, tuple[str, ...]]

    @property
    def totals(self) -> dict[str, int]:
        """How many runs are in each state, over all arms."""
        states = ("finished", "diverged", "failed", "running")
        found = {state: sum(line.counts[state] for line in self.lines) for state in states}
        return found | {
            "waiting": sum(line.waiting for line in self.lines),
            "all": sum(line.seeds for line in self.lines),
        }

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        return self.totals["running"] + self.totals["waiting"] == 0


def status_of(folder: Folder) -> StudyStatus:
    """The status of the study now. A run counts as running while its lease may be held."""
    with Leases(folder.home / "leases") as leases:
        holders = {holder.name: holder for holder in leases.holders() if holder.alive is not False}
    ends = folder.ends()
    lines = [ArmStatus(arm["name"], len(folder.plan["definition"]["seeds"])) for arm in folder.arms]
    workers: list[dict[str, Any]] = []
    troubles: dict[str, list[str]] = {}
    for job in folder.jobs:
        end = ends.get(job.name)
        if end is not None:
            lines[job.arm].counts[end] += 1
            if end != "finished":
                troubles.setdefault(f"{end}: {folder.outcome(job, end)['message']}", []).append(
                    folder.label(job)
                )
        elif job.run in holders:
            holder = holders[job.run]
            lines[job.arm].counts["running"] += 1
            workers.append(
                {"worker": f"{holder.host}:{holder.pid}", "run": folder.label(job), **holder.facts}
            )
    return StudyStatus(
        folder.plan["definition"]["name"],
        tuple(lines),
        tuple(workers),
        {k: tuple(v) for k, v in troubles.items()},
    )
