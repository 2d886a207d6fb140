"""`incorruptible demo`: the claims, tested on digits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import Mistake
from .options import Debug, Force, Home, Json
from .terminal import command, progress, put, put_json

__all__ = ["demo"]


def demo(
    home: Home = Path("runs"),
    workers: Annotated[
        int | None, typer.Option("--workers", help="Worker processes [default: one for each core].")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds for each arm.")] = 8,
    epochs: Annotated[int, typer.Option("--epochs", help="Epochs of each training.")] = 40,
    json_: Json = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Test the claims C1 to C4 of arXiv 2602.07320 on handwritten digits; minutes on two cores."""
    from ..engines import cores
    from ..records import read

    folder = home / "demo"
    if (folder / "summary.json").is_file() and not force:
        before = read(folder / "summary.json")
        if (before["seeds"], before["epochs"]) != (seeds, epochs):
            raise Mistake(
                f"{folder} holds the summary of {before['seeds']} seeds and {before['epochs']} epochs; "
                "--force overwrites it, another --home keeps it."
            )
    workers = cores() if workers is None else workers
    from ..report import report
    from ..studies import conclude, study

    with progress("demo") as tell:
        found = study(home / "trained", seeds=seeds, epochs=epochs, workers=workers, progress=tell)
    summary = report(found, conclude(found), folder, command())
    if json_:
        put_json(summary)
        return
    for claim in ("C1", "C2", "C3", "C4"):
        put(f"{claim}  {summary[claim]['verdict']:<12}  {summary[claim]['claim']}")
    put(
        f"{found.seeds} seeds an arm, {len(found.arms)} arms; evidence: {folder / 'summary.md'}, figures: {folder / 'figures'}"
    )
