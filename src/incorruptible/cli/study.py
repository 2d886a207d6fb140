"""`incorruptible study`: trains and measures every arm of a study over its seeds.

Relies on: `studies.run.run` does the work and can be stopped at any time. Keeps: `--dry-run` writes
nothing, and leaves torch's number of threads as it was; the exit code is 1 where runs have failed,
and that of the stop where the study was stopped.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .targets import DebugOption, HomeOption, JsonOption, device_of
from .terminal import progress, put, put_json, say

if TYPE_CHECKING:
    from ..studies.folder import Folder
    from ..studies.run import Changes, Launch
    from ..studies.spec import Study

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="The name of a study, or the path of its TOML file.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="The number of workers [one for each core].", min=1)
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", help="Use this many seeds in place of the file's.")
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help="Train the base recipe for this many epochs, and the other arms in proportion.",
    ),
]
EngineName = Annotated[str, typer.Option("--engine", help="Where workers run: local or ray.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", help="The data of a study on images: hf:OWNER/NAME, parquet:PATH or folder:PATH."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        help="The number of threads of a worker. It is part of a run's identity [cores / workers].",
        min=1,
    ),
]


def study(
    name: StudyName,
    home: HomeOption = Path("runs"),
    workers: Workers = None,
    engine: EngineName = "local",
    threads: Threads = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="The device that computes: cpu, cuda or cuda:N [cpu]."),
    ] = None,
    gpus: Annotated[
        float,
        typer.Option(
            "--gpus",
            help="With --engine ray: the share of a GPU for each worker, such as 0.5.",
            min=0,
        ),
    ] = 0,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", help="With --engine ray: the address of the cluster [a local one]."
        ),
    ] = None,
    seeds: Seeds = None,
    epochs: Epochs = None,
    data: Data = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed runs again.")] = False,
    json_: JsonOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin again under other threads, device or versions.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Train and measure every arm of a study over its seeds, and decide its claims. The study may
    be killed at any time; the same command continues it.
    """
    if dry_run:
        from ..studies.spec import load

        with redirect_stdout(sys.stderr):  # what the user's own code prints is no result
            wanted = load(name, seeds=seeds, epochs=epochs, data=data)
        _dry(wanted, home, workers, threads, device_of(device or "cpu"), json_)
        return
    from ..studies.run import Changes, Launch

    folder = run_study(
        name,
        home,
        Launch(workers, engine, threads, device, gpus, address),
        Changes(seeds, epochs, data),
        retry=retry,
        force=force,
    )
    from ..studies.results import summary

    found = summary(folder)
    if json_:
        put_json(found)
    else:
        for claim, one in found["claims"].items():
            put(f"{claim}  {one['verdict']:<12}  {one['claim']}")
        put(_line(found))
        where = join([name, "--home", str(home)])
        say(f"next: incorruptible results {where}; incorruptible report {where}")
    if found["jobs"]["failed"]:
        raise typer.Exit(1)


def run_study(
    name: str,
    home: Path,
    launch: Launch,
    changes: Changes,
    retry: bool = False,
    force: bool = False,
) -> Folder:
    """Run a study as `studies.run.run` does, with its progress on the terminal."""
    from ..studies.folder import named
    from ..studies.run import run
    from ..studies.supervisor import Stopped

    try:
        with progress(named(name)) as tell:
            return run(
                name,
                home,
                launch,
                changes,
                retry=retry,
                force=force,
                progress=tell,
                tell=lambda line: say(f"incorruptible: {line}"),
            )
    except Stopped as problem:
        say(f"incorruptible: {problem}")
        raise typer.Exit(problem.code) from None


def _line(found: dict[str, Any]) -> str:
    jobs = found["jobs"]
    parts = [f"{jobs['finished']} of {jobs['all']} runs finished"]
    parts += [f"{jobs[end]} {end}" for end in ("diverged", "failed") if jobs[end]]
    return f"{len(found['seeds'])} seeds an arm, {len(found['arms'])} arms: {', '.join(parts)}"


def _dry(
    wanted: Study, home: Path, workers: int | None, threads: int | None, device: str, json_: bool
) -> None:
    import torch

    from ..studies.estimate import estimate
    from ..studies.launch import cores, share
    from ..studies.plan import Tasks

    workers = cores() if workers is None else workers
    before = torch.get_num_threads()
    torch.set_num_threads(threads or share(workers))
    try:
        with redirect_stdout(sys.stderr):
            seconds = estimate(wanted, Tasks(), device)
    finally:
        torch.set_num_threads(before)
    total = sum(seconds.values()) * len(wanted.seeds)
    runs = len(wanted.arms) * len(wanted.seeds)
    if json_:
        put_json(
            {
                "arms": seconds,
                "seeds": list(wanted.seeds),
                "runs": runs,
                "workers": workers,
                "seconds": total / workers,
            }
        )
        return
    width = max(len(name) for name in seconds)
    for design in wanted.arms:
        recipe = design.recipe
        put(
            f"{design.name:<{width}}  {len(wanted.seeds)} x {_time(seconds[design.name]):>8}  "
            f"{recipe.objective} at {recipe.strength}, {recipe.epochs} epochs"
        )
    put(
        f"{runs} runs: {len(wanted.arms)} arms x {len(wanted.seeds)} seeds; about "
        f"{_time(total / workers)} with {workers} workers here (a dozen steps and a chip of each "
        f"kind were timed; what is finished below {home} is not taken off)"
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
