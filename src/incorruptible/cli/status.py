"""`incorruptible status`: how many runs of a study are done, and what its workers are doing.

Relies on: `studies.status` reads the study's folder and its leases anew at every look. Keeps: the
verb only reads, so that it may be called at any time, by anyone who sees the folder.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .study import StudyName
from .targets import DebugOption, HomeOption, JsonOption
from .terminal import put, put_json

if TYPE_CHECKING:
    from ..studies.status import StudyStatus

STATES = ("finished", "running", "waiting", "diverged", "failed")


def status(
    name: StudyName,
    home: HomeOption = Path("runs"),
    once: Annotated[
        bool, typer.Option("--once", help="Print the table once, also on a terminal.")
    ] = False,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show where a study stands. On a terminal the table is live for as long as a worker works on
    the study; elsewhere it is printed once.
    """
    from ..studies.folder import find, named
    from ..studies.status import status_of

    folder = find(home, named(name), name)
    now = status_of(folder)
    if json_:
        put_json(
            {
                "study": now.study,
                "runs": now.totals,
                "workers": list(now.workers),
                "troubles": now.troubles,
            }
        )
    elif once or not sys.stdout.isatty() or not now.workers:
        put("\n".join(lines(now)))
    else:
        from rich.live import Live

        with Live(_table(now), refresh_per_second=4) as live:
            while now.workers and not now.over:
                time.sleep(1)
                now = status_of(folder)
                live.update(_table(now))


def lines(now: StudyStatus) -> list[str]:
    """The table as plain text."""
    width = max((len(line.arm) for line in now.lines), default=3)
    out = [f"{'arm':<{width}}  " + "  ".join(f"{state:>8}" for state in STATES)]
    for line in now.lines:
        counts = {**line.counts, "waiting": line.waiting}
        out.append(
            f"{line.arm:<{width}}  " + "  ".join(f"{counts[state] or '.':>8}" for state in STATES)
        )
    out.append(f"{'all':<{width}}  " + "  ".join(f"{now.totals[state]:>8}" for state in STATES))
    out += [_worker(worker) for worker in now.workers]
    out += [f"{message} ({runs[0]}{_more(runs)})" for message, runs in now.troubles.items()]
    return out


def _worker(worker: dict[str, Any]) -> str:
    at = f", measuring {worker['measuring']}" if "measuring" in worker else ""
    if not at and "epoch" in worker:
        at = f", epoch {worker['epoch']} of {worker['epochs']}"
    return f"{worker['worker']}: {worker['run']}{at}"


def _more(runs: tuple[str, ...]) -> str:
    return f" and {len(runs) - 1} more" if len(runs) > 1 else ""


def _table(now: StudyStatus) -> Any:
    """The table for a terminal. Arms whose seeds are all finished, or all waiting, are counted and
    not shown one by one.
    """
    from rich.console import Group
    from rich.table import Table

    table = Table(
        title=f"{now.study}: {now.totals['finished']} of {now.totals['all']} runs finished",
        box=None,
    )
    table.add_column("arm")
    for state in STATES:
        table.add_column(state, justify="right")
    quiet = dict.fromkeys(("finished", "waiting"), 0)
    for line in now.lines:
        counts = {**line.counts, "waiting": line.waiting}
        still = next((state for state in quiet if counts[state] == line.seeds), None)
        if still is not None:
            quiet[still] += 1
            continue
        table.add_row(line.arm, *(str(counts[state] or "") for state in STATES))
    for state, arms in quiet.items():
        if arms:
            table.add_row(f"({arms} arms {state})")
    table.add_row("all", *(str(now.totals[state]) for state in STATES))
    troubles = [f"{message} ({runs[0]}{_more(runs)})" for message, runs in now.troubles.items()]
    return Group(table, *map(_worker, now.workers), *troubles)
