"""`incorruptible demo`: the study `digits`, and its report."""

from __future__ import annotations

from pathlib import Path

import typer

from .study import Epochs, Seeds, Workers, run_study
from .targets import DebugOption, HomeOption, JsonOption
from .terminal import command, put, put_json


def demo(
    home: HomeOption = Path("runs"),
    workers: Workers = None,
    seeds: Seeds = None,
    epochs: Epochs = None,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Test the claims C1 to C4 of arXiv 2602.07320 on handwritten digits. This takes minutes on two
    cores.
    """
    from ..reports import check, report, summarise
    from ..studies.run import Changes, Launch

    check()  # not after minutes of work
    folder = run_study("digits", home, Launch(workers=workers), Changes(seeds, epochs))
    found = summarise(folder, home / "demo" / "summary.json", command())
    page = report(folder.path, home / "demo" / "report.html", command=command())
    if json_:
        put_json(found)
    else:
        for claim in folder.plan["definition"]["claims"]:
            put(f"{claim['name']}  {found[claim['name']]['verdict']:<12}  {claim['text']}")
        put(
            f"{len(found['seeds'])} seeds an arm, {len(found['arms'])} arms; evidence: "
            f"{page.with_name('summary.json')}"
        )
        put(f"report: {page}")
    if found["jobs"]["failed"]:
        raise typer.Exit(1)
