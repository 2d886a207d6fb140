"""`incorruptible list`: the catalogues of everything that a user can name, with units and one line
for each member.

Relies on: the first line of a member's docstring says what the member is.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields, is_dataclass
from inspect import getdoc, getmodule
from typing import Annotated, Any

import typer

from ..errors import unknown
from ..specs.grammar import written
from .targets import DebugOption, JsonOption
from .terminal import put, put_json

# Corruptions that are made of others or of a file, and so have no unit and formula of their own:
# how they are written, unit, summary.
MADE_OF_OTHERS = {
    "measured": (
        "measured:file=...",
        "multiple of the error as measured (1 = nominal)",
        "cells of your own: g + s (shift(g) + spread(g) z), fitted to a CSV with target and "
        "measured (uS), and time",
    ),
    "mixture": (
        "mixture(...)",
        "range of the inner one",
        "strength drawn from s low to s high for each chip",
    ),
    "stored": (
        "stored(storage|fault|...)",
        "the faults'",
        "a storage, and then the faults that strike it, in their order",
    ),
}


def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A catalogue (corruptions, objectives, schedules, tasks, networks, studies or "
            "rules), "
            "or one member by its name [all catalogues]."
        ),
    ] = None,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the catalogues, with units and one line for each member."""
    every = catalogues()
    if what is not None and what not in every:
        _list_one(what, every, json_)
        return
    chosen = {name: rows for name, rows in every.items() if what in (None, name)}
    if json_:
        put_json(chosen)
        return
    for name, rows in chosen.items():
        put(f"{name}:")
        widths = [max(len(row[key]) for row in rows) for key in ("name", "unit")]
        for row in rows:
            put(
                f"  {row['name']:<{widths[0]}}  {row['unit']:<{widths[1]}}  {row['summary']}".rstrip()
            )


def _list_one(name: str, every: dict[str, list[dict[str, str]]], json_: bool) -> None:
    """Print one member: what it is, its unit and source, and its fields with their defaults."""
    from .. import objectives, schedules, tasks
    from ..corruptions import CATALOGUE, EXAMPLES, Device, parse
    from ..tasks import networks

    families: dict[str, dict[str, Any]] = {
        "corruption": CATALOGUE,
        "objective": objectives.CATALOGUE,
        "schedule": schedules.CATALOGUE,
        "task": tasks.CATALOGUE,
        "network": networks.CATALOGUE,
    }
    kind = next((kind for kind, family in families.items() if name in family), None)
    if kind is None:
        members = [member for family in families.values() for member in family]
        raise unknown("catalogue or member", name, [*every, *members])
    maker: Any = families[kind][name]
    cls = getattr(maker, "func", maker)
    found: dict[str, Any] = {"name": name, "kind": kind}
    if kind == "corruption" and name not in ("measured", *EXAMPLES):
        one = parse(name)
        found |= {"unit": one.unit, "formula": one.formula, "source": one.source}
        if isinstance(one, Device):
            found |= {"range": "{:g} to {:g} uS".format(*one.valid), "as it stands": one.conditions}
    elif kind == "objective":
        found |= {"unit": cls.unit, "source": cls.source}
    own = (
        [field for field in fields(cls) if field.init and not field.metadata.get("named")]
        if is_dataclass(cls)
        else []
    )
    found["fields"] = {
        field.name: "needed" if field.default is MISSING else written(field.default)
        for field in own
    }
    found["about"] = getdoc(cls) or ""
    if json_:
        put_json(found)
        return
    for key, value in found.items():
        if key == "fields" and value:
            put("fields: " + ", ".join(f"{field}={default}" for field, default in value.items()))
        elif key == "about":
            put(f"\n{value}")
        elif value:
            put(f"{key}: {value}")


def catalogues() -> dict[str, list[dict[str, str]]]:
    """For each catalogue the rows of its members: name, unit, summary, and source if there is
    one.
    """
    from .. import objectives, schedules, tasks
    from ..tasks import networks

    found: dict[str, list[dict[str, str]]] = {"corruptions": _corruptions(), "objectives": []}
    for name, cls in objectives.CATALOGUE.items():
        needs = "(...)" if any(field.metadata.get("inner") for field in fields(cls)) else ""  # type: ignore[arg-type]
        found["objectives"].append(_row(name + needs, cls.unit, _summary(cls), cls.source))  # type: ignore[attr-defined]
    for kind, members in (
        ("schedules", schedules.CATALOGUE),
        ("tasks", tasks.CATALOGUE),
        ("networks", networks.CATALOGUE),
    ):
        found[kind] = [_row(name, "", _summary(member), "") for name, member in members.items()]
    return found | _studies()


def _corruptions() -> list[dict[str, str]]:
    from ..corruptions import CATALOGUE, EXAMPLES, Corruption, parse

    found = []
    for name, make in CATALOGUE.items():
        if name in MADE_OF_OTHERS:
            source = parse(EXAMPLES[name]).source if name in EXAMPLES else "the file that it names"
            found.append(_row(*MADE_OF_OTHERS[name], source))
        else:
            one: Corruption = make()
            found.append(_row(name, one.unit, one.formula, one.source))
    return found


def _studies() -> dict[str, list[dict[str, str]]]:
    """One row for each study that travels with the package, and for each rule that decides a
    claim.
    """
    from ..studies.rules import CATALOGUE
    from ..studies.spec import shipped

    studies = {name: tomllib.loads(text)["question"] for name, text in shipped().items()}
    rules = {name: _summary(getmodule(rule), full=True) for name, rule in CATALOGUE.items()}
    return {
        kind: [{"name": name, "unit": "", "summary": summary} for name, summary in rows.items()]
        for kind, rows in (("studies", studies), ("rules", rules))
    }


def _row(name: str, unit: str, summary: str, source: str) -> dict[str, str]:
    return {"name": name, "unit": unit, "summary": summary, "source": source}


def _summary(thing: Any, full: bool = False) -> str:
    """The first line of a docstring: without the stop at its end, unless `full`."""
    line = (getdoc(thing) or "").split("\n")[0]
    return line if full else line.rstrip(".:;")
