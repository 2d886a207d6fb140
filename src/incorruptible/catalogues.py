"""Everything that has a name, with its unit and one line."""

from __future__ import annotations

from dataclasses import fields
from inspect import getdoc
from typing import Any

from . import corruptions, networks, objectives, strengths, tasks
from .corruptions import Corruption

__all__ = ["catalogues"]

MADE_OF_OTHERS = {  # and of files: name, unit, summary
    "measured": (
        "measured:file=...",
        "multiple of the error as measured (1 = nominal)",
        "cells of one's own: g + s (shift(g) + spread(g) z), as fitted to a CSV with target and measured (uS), and time",
    ),
    "mixture": ("mixture(...)", "range of the inner one", "strength drawn from s low to s high for each chip"),
    "stored": ("stored(storage|fault|...)", "the faults'", "a storage, and what goes wrong with it, in that order"),
}


def catalogues() -> dict[str, list[dict[str, str]]]:
    """For each catalogue one row for each member: name, unit, summary and, where there is one, source."""
    found: dict[str, list[dict[str, str]]] = {
        "corruptions": [],
        "objectives": [],
        "schedules": [],
        "tasks": [],
        "networks": [],
    }
    for name, make in corruptions.CATALOGUE.items():
        if name in MADE_OF_OTHERS:
            example = corruptions.EXAMPLES.get(name)
            source = corruptions.parse(example).source if example else "the file that it names"
            found["corruptions"].append(_row(*MADE_OF_OTHERS[name], source))
            continue
        one: Corruption = make()
        found["corruptions"].append(_row(name, one.unit, one.formula, one.source))
    for name, cls in objectives.CATALOGUE.items():
        needs = "(...)" if any(field.metadata.get("inner") for field in fields(cls)) else ""  # type: ignore[arg-type]
        found["objectives"].append(_row(name + needs, cls.unit, _summary(cls), cls.source))  # type: ignore[attr-defined]
    for name, schedule in strengths.CATALOGUE.items():
        found["schedules"].append(_row(name, "", _summary(schedule), ""))
    for name, task in tasks.CATALOGUE.items():
        found["tasks"].append(_row(name, "", _summary(task), ""))
    for name, network in networks.CATALOGUE.items():
        found["networks"].append(_row(name, "", _summary(network), ""))
    return found


def _row(name: str, unit: str, summary: str, source: str) -> dict[str, str]:
    return {"name": name, "unit": unit, "summary": summary, "source": source}


def _summary(thing: Any) -> str:
    """The first sentence or line of a docstring."""
    return (getdoc(thing) or "").split("\n")[0].rstrip(".:;")
