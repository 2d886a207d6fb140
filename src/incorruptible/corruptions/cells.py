"""Cells that someone measured, from a CSV file: the conductance that each cell was programmed to,
and the conductance that was read from it.

The user's own memory device begins here: `fitting` fits curves to these cells, and
`devices.Measured` is the device with these errors.

Relies on: the first line of the file names its columns, and conductances are in uS.
Keeps: cells come sorted by time and then by target, whatever the order of the lines, and every
mistake in the file is a `UserError` that names the file and, where there is one, the line.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..specs.durations import Seconds, seconds

MIN_CELLS = 30  # at each time: a spread of fewer is known to no better than a quarter
MIN_TARGETS = 4  # at each time: with fewer a curve is a guess
LARGEST = 1e6  # uS
_COLUMNS = ("target", "measured", "time")


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells that were read at one time: `target` and `measured` conductance [n] in uS, sorted by
    target. `time` is None where the file has no times.
    """

    target: NDArray[np.float64]
    measured: NDArray[np.float64]
    time: Seconds | None


def content_of(file: str) -> bytes:
    """The bytes of `file`. Raises `UserError` where it cannot be read."""
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file; a CSV with the columns target and measured (uS) is needed."
        ) from None
    except OSError as problem:
        raise UserError(f"{file} cannot be read: {problem.strerror}.") from None


def sha_of(content: bytes) -> str:
    """The first 8 digits of the content's SHA-256, as `sha256sum` prints it.

    >>> sha_of(b"")
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()[:8]


def read(content: bytes, file: str) -> tuple[Cells, ...]:
    """The cells at each time, earliest first.

    The first line names the columns: `target` and `measured` in uS, and `time`, in seconds or with
    its unit ("1d"), where cells were read at several times. Other columns are not looked at, and
    each line is a cell of its own. Raises `UserError`, with file and line, for a missing column, a
    gap, a text in place of a number, a number that is negative or not finite, and for too few cells
    or targets.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(
            f"{file} is no text: a CSV with the columns target and measured (uS) is needed."
        ) from None
    by_time: dict[Seconds | None, list[tuple[float, float]]] = {}
    for time, target, measured in _rows(text, file):
        by_time.setdefault(time, []).append((target, measured))
    if not by_time:
        raise UserError(f"{file} has no cells: at least {MIN_CELLS} are needed, one a line.")
    found = []
    for time in sorted(by_time, key=lambda time: time or 0.0):
        pairs = np.array(sorted(by_time[time]), dtype=float)
        when = "" if time is None else f" at {time}"
        if len(pairs) < MIN_CELLS:
            raise UserError(f"{file}: {len(pairs)} cells{when}: at least {MIN_CELLS} are needed.")
        if len(np.unique(pairs[:, 0])) < MIN_TARGETS:
            raise UserError(
                f"{file}: {len(np.unique(pairs[:, 0]))} different targets{when}: at least "
                f"{MIN_TARGETS} are needed."
            )
        found.append(Cells(pairs[:, 0], pairs[:, 1], time))
    if len(found) > 1 and not found[0].time:
        raise UserError(
            f"{file}: time 0 among others: the fit is linear in log time, which has no 0; write "
            "how long after programming the first read was."
        )
    return tuple(found)


def _rows(text: str, file: str) -> Iterator[tuple[Seconds | None, float, float]]:
    reader = csv.reader(text.splitlines())
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        places = _places(head, file)
        for row in reader:
            where = f"{file} line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(head):
                raise UserError(
                    f"{where}: {len(row)} values where the first line names {len(head)} columns."
                )
            cells = {name: row[place].strip() for name, place in places.items()}
            gaps = [name for name, cell in cells.items() if not cell]
            if gaps:
                raise UserError(
                    f"{where}: {gaps[0]} is empty; leave the line out if the cell was not read."
                )
            time = _time(cells["time"], where) if "time" in cells else None
            yield time, _conductance(cells, "target", where), _conductance(cells, "measured", where)
    except csv.Error as problem:
        raise UserError(f"{file} line {reader.line_num} is no CSV: {problem}.") from None


def _places(head: list[str], file: str) -> dict[str, int]:
    if not any(head):
        raise UserError(
            f"{file} line 1 is empty: it must name the columns: target,measured or "
            "target,measured,time."
        )
    twice = [name for name, count in Counter(head).items() if count > 1 and name in _COLUMNS]
    if twice:
        raise UserError(f"{file} line 1: two columns are called {twice[0]}.")
    missing = [name for name in ("target", "measured") if name not in head]
    if missing:
        raise UserError(
            f"{file} line 1: no column {missing[0]}: target and measured (uS), with commas "
            f"between, are needed, and the line is {', '.join(head)!r}."
        )
    return {name: head.index(name) for name in _COLUMNS if name in head}


def _conductance(cells: dict[str, str], name: str, where: str) -> float:
    try:
        value = float(cells[name])
    except ValueError:
        raise UserError(
            f"{where}: {name} {cells[name]!r} is no number; a conductance in uS is needed."
        ) from None
    if not math.isfinite(value):
        raise UserError(f"{where}: {name} {cells[name]!r}: a finite conductance in uS is needed.")
    if value < 0:
        raise UserError(
            f"{where}: {name} {cells[name]}: a conductance is not negative; write 0 for a cell "
            "that reads below 0."
        )
    if value > LARGEST:
        raise UserError(
            f"{where}: {name} {cells[name]}: no memory cell has more than {LARGEST:g} uS; is the "
            "number in uS?"
        )
    return value


def _time(text: str, where: str) -> Seconds:
    value: str | float = text
    with suppress(ValueError):
        value = float(text)
    try:
        return seconds(value)
    except UserError as problem:
        raise UserError(f"{where}: {problem}") from None
