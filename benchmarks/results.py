"""The files of a run: one JSON file for each group, a table of all groups, and a figure."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from incorruptible.errors import UserError
from incorruptible.files import records

from .rows import PROCESSOR, WALL, Row, row_of
from .targets import verdict_of

__all__ = ["BEGIN", "END", "Kept", "keep", "kept", "put_into", "table", "writable"]

BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"


class Kept:
    """One group as its file holds it."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.group: str = data["group"]
        self.what: str = data["what"]
        self.rows: list[Row] = [row_of(one) for one in data["rows"]]
        self.absent: list[str] = data["absent"]
        self.made: dict[str, Any] = data["made"]
        self.load: tuple[float | None, float | None] = (data["load"]["before"], data["load"]["after"])


def keep(folder: Path, group: str, data: dict[str, Any]) -> None:
    """Write one group's file, whole or not at all."""
    records.write(folder / f"{group}.json", {"group": group, **data})


def kept(folder: Path, groups: Sequence[str], every: bool = False) -> list[Kept]:
    """The results of those groups in `folder`, in their order. Raises `UserError` for none, and with `every` unless all are there."""
    found = [Kept(records.read(path)) for name in groups if (path := folder / f"{name}.json").is_file()]
    lacking = [name for name in groups if name not in {one.group for one in found}]
    if not found or (every and lacking):
        raise UserError(f"{folder} holds no results of {', '.join(lacking)}: run without --read first.")
    return found


def table(found: Sequence[Kept]) -> str:
    """The results in Markdown: the conditions, then a table for each group."""
    lines = []
    for facts in {_where(one.made): one.made for one in found}.values():
        lines += [_where(facts), ""]
    for one in found:
        made, (before, after) = one.made, one.load
        told = [
            f"{made['date'][:10]}, commit {made['commit'] or 'unknown'}",
            f"load {_number(before)} before and {_number(after)} after",
        ]
        lines += [f"### {one.group}", "", f"{one.what[0].upper()}{one.what[1:]}. {', '.join(told)}.", ""]
        for unit in dict.fromkeys(row.unit for row in one.rows):
            rows = [row for row in one.rows if row.unit == unit]
            lines += [f"| {unit} | clock | median [95%] | n | target | one takes |", "|---|---|---|---|---|---|"]
            lines += [_line(row) for row in rows] + [""]
        lines += [f"- not measured: {text}" for text in one.absent] + ([""] if one.absent else [])
    return "\n".join(lines).rstrip("\n") + "\n"


def _where(made: dict[str, Any]) -> str:
    peers = ", ".join(f"{name} {version or 'absent'}" for name, version in made["peers"].items())
    return (
        f"{made['machine']} ({made['instructions']}), {made['memory_gib']} GiB; {made['system']}; Python {made['python']}, "
        f"torch {made['torch']}, numpy {made['numpy']}, incorruptible {made['incorruptible']}; {peers}."
    )


def _line(row: Row) -> str:
    verdict = verdict_of(row)
    target = "" if verdict is None else f"{verdict.upper:g}, {verdict.word}"
    interval = f"{row.middle:.3f}"
    if row.clock != "counted" and not math.isnan(row.low):
        interval += f" [{row.low:.3f}, {row.high:.3f}]"
    clock = {PROCESSOR: "processor", WALL: "wall"}.get(row.clock, row.clock)
    clock += f", {row.threads} threads" if row.threads > 1 else ""
    takes = "" if row.seconds is None else _duration(row.seconds)
    return f"| {row.what} (`{row.variant}`) | {clock} | {interval} | {row.n} | {target} | {takes} |"


def _number(value: float | None) -> str:
    return "unknown" if value is None or math.isnan(value) else f"{value:.3f}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def writable(out: Path, page: Path | None) -> None:
    """Make the folder `out`. Raises `UserError` if it cannot be written, or if `page` has no place for the table."""
    if page is not None:
        _marked(page)
    for folder in [out] if page is None else [out, page.parent]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as problem:
            raise UserError(f"{folder}: {problem.strerror}; a folder to write in is needed.") from None


def put_into(page: Path, text: str) -> None:
    """Put the table between the two marks of a page. Raises `UserError` if the page lacks them."""
    before = _marked(page)
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    records.write_text(page, pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n{END}", before))


def _marked(page: Path) -> str:
    """The text of a page with both marks. Raises `UserError` if the page lacks them."""
    try:
        before = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{page}: no such file.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{page}: {getattr(problem, 'strerror', None) or 'no text'}.") from None
    if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(BEGIN) > before.index(END):
        raise UserError(f"{page} is to hold the lines {BEGIN} and {END}, once each: the table goes between them.")
    return before
