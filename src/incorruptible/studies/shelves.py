"""The studies and rules that have a name."""

from __future__ import annotations

import tomllib
from inspect import getdoc, getmodule

from .definition import shipped
from .rules import CATALOGUE

__all__ = ["shelves"]


def shelves() -> dict[str, list[dict[str, str]]]:
    """One row for each study that travels with the package, and for each rule that decides a claim."""
    studies = {name: tomllib.loads(text)["question"] for name, text in shipped().items()}
    rules = {name: (getdoc(getmodule(rule)) or "").split("\n")[0] for name, rule in CATALOGUE.items()}
    return {"studies": _rows(studies), "rules": _rows(rules)}


def _rows(found: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "unit": "", "summary": summary} for name, summary in found.items()]
