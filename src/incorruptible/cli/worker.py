"""`incorruptible worker`: one worker of a study, on this machine or on another one.

Relies on: the study's folder is shared by all workers. Keeps: a worker that was begun without
`--seeds`, `--epochs` and `--data` takes those with which the study was begun, so all workers plan
the same study.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from .study import StudyName
from .targets import DebugOption, HomeOption, device_of
from .terminal import answer, say


def worker(
    name: StudyName,
    home: HomeOption = Path("runs"),
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            help="The number of threads. It is part of a run's identity [as the study was begun, "
            "or 1].",
            min=1,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="The device that computes: cpu, cuda or cuda:N [as the study was begun, or cpu].",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", help="The number of seeds; 0 is the file's [as the study was begun]."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help="The epochs of the base recipe; 0 is the file's [as the study was begun].",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="The data, as for incorruptible study [as the study was begun]."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin again under other threads, device or versions.")
    ] = False,
    ending: Annotated[
        Path | None,
        typer.Option(
            "--ending",
            help="The file into which the worker writes, as JSON, how it ended.",
            hidden=True,
        ),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Claim runs of a study in a shared folder and do them, until all are done. Start workers in a
    second terminal, on another machine, or as one line of a Slurm array. On TERM, USR1 and USR2 a
    worker writes a checkpoint and leaves with exit code 75.
    """
    from ..studies.launch import watch_parent
    from ..studies.supervisor import LEFT

    watch_parent()
    with _noted(ending):
        if not _work(name, home, threads, device, seeds, epochs, data, force):
            say("incorruptible: left on request; what was done is kept.")
            raise typer.Exit(LEFT)


@contextmanager
def _noted(ending: Path | None) -> Iterator[None]:
    """Write into the file `ending`, if one is named, how the block ended. The supervisor that
    started this process reads the file.
    """
    from ..studies.ending import Ending, write_ending

    found = Ending(0)
    try:
        yield
    except typer.Exit as left:
        found = Ending(left.exit_code)
        raise
    except BaseException as problem:
        found = Ending.of(*answer(problem), problem)
        raise
    finally:
        if ending is not None:
            write_ending(ending, found)


def _work(
    name: str,
    home: Path,
    threads: int | None,
    device: str | None,
    seeds: int | None,
    epochs: int | None,
    data: str | None,
    force: bool,
) -> bool:
    """Do the study's jobs. True once all jobs are done, False if this worker was asked to leave
    before.
    """
    from ..files.records import read
    from ..studies.folder import named
    from ..studies.plan import Tasks, begin
    from ..studies.spec import load
    from ..studies.worker import Leaving, leaving, work
    from ..tasks import absolute_data

    try:
        with leaving() as leave:
            note = home / "studies" / named(name) / "study.json"
            overrides: dict[str, Any] = {
                "seeds": seeds or None,
                "epochs": epochs or None,
                **({"data": absolute_data(data)} if data else {}),
            }
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
                return work(
                    folder,
                    tasks,
                    device=device or folder.plan["frame"]["device"],
                    leave=leave,
                    tell=say,
                )
    except Leaving:
        return False
