"""`incorruptible worker`: one unit of work, wherever it runs."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from .study import StudyName
from .targets import DebugOption, HomeOption, device_of
from .terminal import say

__all__ = ["worker"]


def worker(
    name: StudyName,
    home: HomeOption = Path("runs"),
    threads: Annotated[
        int | None, typer.Option("--threads", help="Part of a run's identity [the study's, at first 1].", min=1)
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda or cuda:N [the study's, at first cpu].")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="As for study [the study's; 0: the file's].")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="As for study [the study's; 0: the file's].")] = None,
    data: Annotated[str | None, typer.Option("--data", help="As for study [the study's].")] = None,
    force: Annotated[bool, typer.Option("--force", help="As for study.")] = False,
    debug: DebugOption = False,
) -> None:
    """Claim runs of a study in a shared folder and do them, until all are done: in a second terminal, on another machine, as
    one line of a Slurm array. TERM, USR1 and USR2 have it checkpoint and leave (exit code 75)."""
    from ..files.records import read
    from ..studies.folder import named
    from ..studies.launch import watch_parent
    from ..studies.plan import Tasks, begin
    from ..studies.spec import load
    from ..studies.supervisor import LEFT
    from ..studies.worker import Leaving, leaving, work
    from ..tasks import absolute_data

    watch_parent()
    try:
        with leaving() as leave:
            note = home / "studies" / named(name) / "study.json"
            overrides: dict[str, Any] = {"seeds": seeds or None, "epochs": epochs or None}
            overrides |= {"data": absolute_data(data)} if data else {}
            if seeds is None and epochs is None and data is None and note.is_file():
                overrides = read(note)["overrides"]
            if device is not None:
                device_of(device)
            with redirect_stdout(sys.stderr):
                tasks = Tasks()
                folder = begin(
                    load(name, **overrides),
                    home,
                    threads=threads,
                    device=device,
                    overrides=overrides,
                    tasks=tasks,
                    force=force,
                )
                done = work(folder, tasks, device=device or folder.plan["frame"]["device"], leave=leave, tell=say)
    except Leaving:
        done = False
    if not done:
        say("incorruptible: left on request; what was done is kept.")
        raise typer.Exit(LEFT)
