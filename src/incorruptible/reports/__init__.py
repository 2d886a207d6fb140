"""What a study found, as figures, as one HTML page, and as a folder to keep beside code.

`report` writes the page, `figures` the charts as files, `export` the folder, and `summarise` a
summary for programs. All of them read the folder of a study whose runs are finished, at least for
one arm; nothing is trained or measured here.

    report("runs/studies/digits")  # writes report.html into that folder and returns its path

Relies on: `studies.results` decides every verdict and computes every interval; this room only
chooses what stands where. Keeps: equal studies give equal pages but for the facts on how they were
made; an arm whose seeds are not all finished is left out of figures and claims, and the page says
so.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown
from ..files import records
from ..plots import Chart, save
from ..studies.evidence import MARGIN, Arm, Verdict, shown_in
from ..studies.folder import Folder, find, named
from ..studies.ranges import tabulated
from ..studies.results import arms, conclude, findings, missing, summary
from .charts import charts, shortfalls
from .exporting import export as write_folder
from .landscapes import landscapes
from .page import Finding, Page, Section, Table, check, write
from .provenance import how_made, recipe_text
from .robustness import robustness_charts
from .theory import ABOUT, theory_charts

__all__ = ["check", "export", "figures", "report", "study_page", "summarise"]

SECTIONS = {
    "What noise does": ("accuracy", "crossover", "chips"),
    "What networks withstand": ("withstanding",),
    "Which training strength to choose": ("map", "strength", "gap", "shortfall"),
    "What happens in training": (
        "curves",
        "gradient",
        "tolerated",
        "sharpness",
        "slices",
        "surface",
    ),
    "What the theory says": ("theory",),
}
TEXTS = {"What the theory says": ABOUT}
# These rules take each interval by itself, without Holm, and never say "equivalent".
ALONE = ("shortfall", "carried", "uncollapsed")


def figures(folder: Folder, target: Path, formats: Sequence[str]) -> list[Path]:
    """Draw every chart of the study into the folder `target`, and return the paths.

    Raises `UserError` for a format that does not exist, and where no arm is finished.
    """
    for one in formats:
        if one not in ("pdf", "svg", "png"):
            raise unknown("format", one, ["pdf", "svg", "png"])
    found = _whole(folder)
    return [
        path
        for chart in _charts(folder, found)
        for path in save(chart, target / chart.name, tuple(formats))
    ]


def report(
    study: str | Path,
    out: str | Path | None = None,
    *,
    home: str | Path = "runs",
    command: str | None = None,
) -> Path:
    """Write the report of a study, one HTML page that needs no other file, and return its path.

    `study` is the folder of a study, or a study as the command line takes it: a shipped study's
    name, or the path of a TOML file, begun under `home`. The page is `out`, or report.html in the
    study's folder. At its end stands `command`, which makes the page again; without one, this is
    the line for `incorruptible report`.

        inc.report("runs/studies/digits")
        inc.report("digits", "page.html", home="runs")

    This takes seconds, and the package plotly. Raises `UserError` if the study was not begun there,
    if no arm is finished, if plotly is missing, or if `out` does not end in .html.
    """
    check()
    if (Path(study) / "study.json").is_file():
        place = Path(study).absolute()
        home, study = Path(os.path.relpath(place.parent.parent)), place.name
    folder = find(Path(home), named(str(study)), str(study))
    target = folder.path / "report.html" if out is None else Path(out)
    if target.suffix != ".html" or target.is_dir():
        raise UserError(f"{target}: the page needs the name of an .html file.")
    again = ["incorruptible", "report", str(study), "--home", str(home)]
    write(study_page(folder, command or shlex.join(again)), target)
    return target


def study_page(folder: Folder, command: str) -> Page:
    """The content of the report. `command` is the line that makes the page again."""
    found = _whole(folder)
    definition, noise = folder.plan["definition"], folder.plan["noises"][0]
    verdicts = conclude(folder, found)
    drawn = _charts(folder, found)
    strengths = [f"{s:g}" for s in noise["strengths"] if s > 0] or [
        f"{s:g}" for s in noise["strengths"]
    ]
    return Page(
        title=definition["title"],
        question=definition["question"],
        summary=_summary(folder, found),
        findings=[_finding(one) for one in verdicts],
        sections=[
            _section(title, names, drawn)
            for title, names in SECTIONS.items()
            if _pick(names, drawn)
        ],
        tables=_tables(folder),
        recipes=[(arm["name"], recipe_text(arm)) for arm in definition["arms"]],
        facts=how_made(folder),
        command=command,
        strengths=strengths,
        strength_unit=f"{noise['unit']}, {noise['corruption']}",
    )


def _whole(folder: Folder) -> list[Arm]:
    found = arms(folder)
    if not found:
        raise UserError(
            f"no arm of {folder.plan['definition']['name']} is finished yet: incorruptible status "
            "shows where it stands."
        )
    return found


def _charts(folder: Folder, found: Sequence[Arm]) -> list[Chart]:
    return [
        *charts(folder, found),
        *shortfalls(folder, found),
        *robustness_charts(folder),
        *landscapes(folder, found),
        *theory_charts(folder, found),
    ]


def _finding(verdict: Verdict) -> Finding:
    return Finding(verdict.claim, verdict.word, verdict.text, [row.plain() for row in verdict.rows])


def _summary(folder: Folder, found: Sequence[Arm]) -> list[str]:
    definition = folder.plan["definition"]
    test, noise = definition["test"], folder.plan["noises"][0]
    seeds, n = (
        len(found[0].test),
        " or ".join(map(str, sorted({arm.test.shape[2] for arm in found}))),
    )
    more = len(folder.plan["noises"]) - 1
    others = (
        f" and under each of {more} other corruptions"
        if more > 1
        else " and another corruption"
        if more
        else ""
    )
    lines = [
        f"{len(found)} arms, {seeds} seeds each; {test['draws']} test chips under "
        f"{noise['corruption']}{others}, {n} test examples; {definition['selection']['draws']} "
        "other chips and the validation data decide every choice of strength and schedule. "
        "Intervals are 95%, over crossed seeds and examples. The tables of evidence show p before "
        "Holm's correction. Words come after it, over the rows of a question, but for those rules "
        f"that take each interval by itself ({', '.join(ALONE)}).",
        f"A claim is supported, contradicted, {_equivalent(folder)}, undecided, or conditional "
        "where its rows disagree.",
    ]
    if any(claim["rule"] == "withstands" for claim in definition["claims"]):
        lines[-1] += (
            " Of what networks withstand, the first question of each network decides; the others "
            "stand beside it."
        )
    lacking = missing(folder)
    if lacking:
        said = [
            f"{name} ({', '.join(f'{count} {end}' for end, count in ends.items())})"
            for name, ends in lacking.items()
        ]
        lines.append(
            "Not in the figures and claims, because not all seeds are finished: "
            + "; ".join(said)
            + "."
        )
    return lines


def _equivalent(folder: Folder) -> str:
    """What "equivalent" means in this study: the margins of its claims, in the score's unit."""
    shown = shown_in(folder.plan["score"]["unit"])
    margins = {
        claim["fields"].get("margin", MARGIN)
        for claim in folder.plan["definition"]["claims"]
        if claim["rule"] not in ALONE
    }
    return (
        "equivalent (within "
        f"{' or '.join(f'{shown.factor * one:g}' for one in sorted(margins or {MARGIN}))} "
        f"{shown.points})"
    )


def _pick(names: Sequence[str], drawn: Sequence[Chart]) -> list[Chart]:
    return [
        chart
        for name in names
        for chart in drawn
        if chart.name == name or chart.name.startswith(f"{name}-")
    ]


def _section(title: str, names: Sequence[str], drawn: Sequence[Chart]) -> Section:
    return Section(title, TEXTS.get(title, ""), _pick(names, drawn))


def _tables(folder: Folder) -> list[Table]:
    score = folder.plan["score"]
    shown = shown_in(score["unit"])
    every = list(findings(folder))
    found = []
    for noise in folder.plan["noises"]:
        own = [one for one in every if one.noise == noise["corruption"]]
        body = [
            [
                one.arm,
                *(shown.half(cell.interval) for cell in one.cells),
                str(one.cells[0].seeds),
            ]
            for one in own
        ]
        head = ["arm", *(f"{s:g}" for s in noise["strengths"]), "seeds"]
        title = f"Every arm: {score['name']} ({shown.unit}) under {noise['corruption']}"
        note = (
            "Mean over seeds, chips and examples, ± half of its 95% interval over crossed seeds "
            "and examples."
        )
        note += f" Strength: {noise['unit']}." + (
            f" {said}." if (said := noise.get("conditions")) else ""
        )
        found.append(Table(title, head, body, note, by_strength=True))
        whole = tabulated([one.whole for one in own if one.whole is not None], score["unit"])
        if whole is not None:
            found.append(Table(*whole))
    return found


def export(folder: Folder, target: Path) -> list[Path]:
    """Write a folder with the page as text, tables, figures and all numbers; see
    `exporting.export`.
    """
    made = study_page(folder, "")
    return write_folder(folder, target, made, _summary_of(folder))


def summarise(folder: Folder, target: Path, command: str) -> dict[str, Any]:
    """Write the study's summary as JSON, with the facts on how it was made, and return the summary.

    Each claim stands at the top, under its name.
    """
    found = {**_summary_of(folder), "command": command}
    records.write(target, found)
    return found


def _summary_of(folder: Folder) -> dict[str, Any]:
    found = summary(folder)
    claims = found.pop("claims")
    return {**claims, **found, "made": dict(how_made(folder))}
