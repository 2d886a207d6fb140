"""`incorruptible list`: everything that has a name."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import unknown
from .options import Debug, Json
from .terminal import put, put_json

__all__ = ["list_"]


def list_(
    what: Annotated[
        str | None, typer.Argument(help="corruptions, objectives, schedules, tasks, networks, studies or rules [all].")
    ] = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """List the catalogues, with units and one line for each member."""
    from ..catalogues import catalogues
    from ..studies.shelves import shelves as study_shelves

    shelves = catalogues() | study_shelves()
    if what is not None and what not in shelves:
        raise unknown("catalogue", what, shelves)
    chosen = {name: rows for name, rows in shelves.items() if what in (None, name)}
    if json_:
        put_json(chosen)
        return
    for name, rows in chosen.items():
        put(f"{name}:")
        widths = [max(len(row[key]) for row in rows) for key in ("name", "unit")]
        for row in rows:
            put(f"  {row['name']:<{widths[0]}}  {row['unit']:<{widths[1]}}  {row['summary']}".rstrip())
