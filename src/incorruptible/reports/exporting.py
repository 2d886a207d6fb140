"""What a study found, as a folder of small files to keep beside code: text, tables and figures.

Relies on: `Page` holds the text, tables and charts, as on the HTML page.
Keeps: equal studies give equal files but for machine and time; Markdown and HTML are escaped
in titles, questions, claims and cells; the path of the user's data is left out of the commands.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import UserError
from ..files import records
from ..plots import save
from ..studies.evidence import shown_in
from ..studies.folder import Folder
from ..studies.results import COLUMNS, listed
from .page import Finding, Page, Table


def export(folder: Folder, target: Path, page: Page, found: dict[str, Any]) -> list[Path]:
    """Write `page` and the summary `found` of a study into the folder `target`, and return the
    paths.

    README.md holds the question, the verdicts with their rows, the tables, the facts on how the
    study was made, and the commands. summary.json holds all numbers, results.csv the numbers of the
    tables, and figures/ every chart as PNG. Raises `UserError` for a target that is a file.
    """
    if target.is_file():
        raise UserError(f"--out {target} is a file; the name of a folder is needed.")
    charts = [chart for section in page.sections for chart in section.charts]
    written = [
        path for chart in charts for path in save(chart, target / "figures" / chart.name, ("png",))
    ]
    command = study_command(folder)
    records.write(target / "summary.json", {**found, "command": command})
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([COLUMNS, *listed(folder)])
    records.write_text(target / "results.csv", out.getvalue())
    commands = [
        command,
        shlex.join(
            ["incorruptible", "export", _typed(folder), "--out", f"results/{folder.path.name}"]
        ),
    ]
    records.write_text(target / "README.md", _readme(page, commands, charts))
    return [*written, *(target / one for one in ("summary.json", "results.csv", "README.md"))]


def study_command(folder: Folder) -> str:
    """The command that makes the study again, with PATH in place of the path of the data."""
    given = {key: value for key, value in folder.plan["overrides"].items() if value is not None}
    if "data" in given:
        given["data"] = re.sub(r"^(parquet|folder):.*", r"\1:PATH", given["data"])
    more = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return shlex.join(["incorruptible", "study", _typed(folder), *more])


def _typed(folder: Folder) -> str:
    """The study as it is typed: a shipped study by its name, another by the name of its file."""
    name = folder.path.name
    # `studies.spec` knows the shipped studies, but imports torch.
    known = resources.files("incorruptible.studies") / "shipped" / f"{name}.toml"
    return name if known.is_file() else known.name


def _readme(page: Page, commands: Sequence[str], charts: Sequence[Any]) -> str:
    asked = [page.question] if page.question != page.title else []
    parts = [
        f"# {_plain(page.title)}",
        *map(_plain, asked),
        "```sh\n" + "\n".join(commands) + "\n```",
        *page.summary,
    ]
    parts += ["## Verdicts", *(_finding(one) for one in page.findings)] if page.findings else []
    parts += [
        text
        for table in page.tables
        for text in (f"## {table.title}", _table(table), table.note)
        if text
    ]
    parts += (
        ["## Figures", *(f"![{chart.name}](figures/{quote(chart.name)}.png)" for chart in charts)]
        if charts
        else []
    )
    parts += ["## Made with", _rows(("what", "value"), page.facts)]
    return "\n\n".join(parts) + "\n"


def _finding(one: Finding) -> str:
    body = []
    for row in one.rows:
        body.append(
            [
                row["question"],
                row["at"],
                row["left"],
                row["right"],
                _difference(row),
                row["word"],
                row["note"],
            ]
        )
    head = ("question", "at", "left", "right", "left - right", "word", "note")
    return f"**{_plain(one.name)}: {one.word}.** {_plain(one.text)}\n\n{_rows(head, body)}"


def _difference(row: Any) -> str:
    if "difference" not in row:
        return ""
    factor, digits, _, unit = shown_in(row["unit"])
    low, middle, high = (factor * row[key] for key in ("low", "difference", "high"))
    return f"{middle:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f}) {unit}"


def _table(table: Table) -> str:
    return _rows(table.columns, table.rows)


def _rows(head: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    lines = [
        list(head),
        ["---"] * len(head),
        *([("" if cell is None else str(cell)) for cell in row] for row in body),
    ]
    return "\n".join(
        "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _plain(text: str) -> str:
    """The text on one line, with emphasis, code and HTML of Markdown escaped."""
    return re.sub(r"([\\`*<])", r"\\\1", " ".join(text.split()))
