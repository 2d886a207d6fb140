"""`incorruptible report`, `figures` and `export`: what a study found, to look at and to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .study import StudyName
from .targets import DebugOption, HomeOption
from .terminal import command, put


def report(
    name: StudyName,
    home: HomeOption = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write [report.html in the study's folder]."),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Write one self-contained HTML page: question, verdicts and their evidence, interactive
    figures, every recipe.
    """
    from ..reports import report as write

    put(str(write(name, out, home=home, command=command())))


def export(
    name: StudyName,
    home: HomeOption = Path("runs"),
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to write [results/STUDY].")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Write what a study found as a folder to keep beside code: text with verdicts and tables, CSV,
    JSON, figures.
    """
    from ..reports import export as write
    from ..studies.folder import find, named

    folder = find(home, named(name), name)
    for path in write(folder, out or Path("results") / named(name)):
        put(str(path))


def figures(
    name: StudyName,
    home: HomeOption = Path("runs"),
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="The format of the figures: pdf, svg or png [png]. May be given several times.",
            metavar="FORMAT",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The folder to draw into [figures in the study's folder]."),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Draw a study's figures: score against strength, maps, crossover, training curves, chips with
    the yield line.
    """
    from ..reports import figures as draw
    from ..studies.folder import find, named

    folder = find(home, named(name), name)
    for path in draw(folder, out or folder.path / "figures", formats or ["png"]):
        put(str(path))
