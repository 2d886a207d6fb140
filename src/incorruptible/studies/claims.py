"""The claims of a study: how they are read from its file, and checked against what it tests.

A claim is an entry of [[claims]] with a name, a text, a rule, and the fields of the rule.

Relies on: a rule is a dataclass, whose fields are the entries of a claim; the fields `strengths`,
`small`, `large`, `margin` and `statistic` mean the same in every rule that has them.
Keeps: no mistake of the user raises here. Each goes to the function `fault` with its place, so that
the user reads of all mistakes of a file at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from ..corruptions import Sweep
from ..errors import unknown
from .folder import matches
from .rules import CATALOGUE as RULES
from .rules import Rule

NoteFault = Callable[[Sequence[str | int], object], None]  # notes what is wrong at a place
Built = Callable[..., Any]  # makes a rule from plain data, or notes why not


@dataclass(frozen=True)
class Claim:
    """A statement and the rule that decides whether it holds.

    `on` are patterns of the corruptions that the statement is about. Without any, the statement is
    about the study's first corruption.
    """

    name: str
    text: str
    rule: str
    decide: Rule
    on: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The claim as a study's plan keeps it."""
        fields = asdict(self.decide)  # type: ignore[call-overload]
        found = {"name": self.name, "text": self.text, "rule": self.rule, "fields": fields}
        return {**found, "on": list(self.on)} if self.on else found


def read_claims(
    entries: Any, names: Sequence[str], corruptions: Sequence[str], fault: NoteFault, built: Built
) -> tuple[Claim, ...]:
    """Read the claims that `entries` declare about arms of these names under these corruptions.

    Every mistake goes to `fault` with its place. `built` makes a rule from plain data.
    """
    found: dict[str, Claim] = {}
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        fault(("claims",), "each claim is one of [[claims]]")
        return ()
    for place, entry in enumerate(entries):
        path = ("claims", place)
        for key in ("name", "text", "rule"):
            if not isinstance(entry.get(key), str) or not entry[key].strip():
                fault((*path, key), f'{key} = "..." is needed')
        rule = entry.get("rule")
        if not isinstance(rule, str) or rule not in RULES:
            if isinstance(rule, str):
                fault((*path, "rule"), unknown("rule", rule, RULES))
            continue
        own = {
            key: value for key, value in entry.items() if key not in ("name", "text", "rule", "on")
        }
        on = tuple(str(one) for one in as_list(entry.get("on", [])))
        for one in on:
            if corruptions and not any(matches(corruption, [one]) for corruption in corruptions):
                fault(
                    (*path, "on"),
                    unknown("corruption among those that are tested", one, corruptions),
                )
        listed = {
            key: [value] if key in ("left", "right") and isinstance(value, str) else value
            for key, value in own.items()
        }
        decide = built(RULES[rule], listed, path, f"entry of a claim by {rule!r}")
        if decide is None:
            continue
        for need in decide.needs():
            if names and not any(need == name or fnmatchcase(name, need) for name in names):
                fault(path, unknown("arm", need, names))
        name = str(entry.get("name"))
        if name in found:
            fault((*path, "name"), f"{name!r} is a claim already")
        found[name] = Claim(name, " ".join(str(entry.get("text")).split()), rule, decide, on)
    return tuple(found.values())


def check_strengths(
    entries: Any, claims: Sequence[Claim], looks: Sequence[tuple[Sweep, str, str]], fault: NoteFault
) -> None:
    """Check that the study tests the strengths that its claims name.

    A strength must be tested under every corruption that the claim is about; `looks` are those of
    `Test.looks`. Every mistake goes to `fault` with its place.
    """
    sweeps = [(name, sweep.strengths) for sweep, _, name in looks]
    for place, entry in enumerate(entries if sweeps and claims else []):
        claim = next((one for one in claims if one.name == entry.get("name")), None)
        about = [strengths for name, strengths in sweeps if claim and matches(name, claim.on)] or [
            sweeps[0][1]
        ]
        tested = tuple(s for s in about[0] if all(s in strengths for strengths in about))
        for key in ("strengths", "small", "large") if claim is not None else ():
            fit = [s for s in tested if s > 0 or key == "strengths"]
            for one in getattr(claim and claim.decide, key, ()):
                if one not in fit:
                    said = ", ".join(f"{s:g}" for s in fit)
                    fault(("claims", place, key), f"{one:g} is not tested; tested are {said}")
        if getattr(claim and claim.decide, "statistic", "") == "area":
            asked = getattr(claim and claim.decide, "strengths", ())
            if len(set(asked or tested)) < 2:
                key = "strengths" if asked else "statistic"
                fault(("claims", place, key), "an area needs at least 2 different strengths")
        margin = getattr(claim.decide, "margin", 1.0) if claim is not None else 1.0
        if not margin > 0:
            fault(("claims", place, "margin"), f"{margin:g}: a number above 0 is needed")


def as_list(value: Any) -> list[Any]:
    """The list `value`, or a list with `value` alone."""
    return list(value) if isinstance(value, list | tuple) else [value]
