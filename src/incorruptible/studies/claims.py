"""The claims of a study, as its file declares them."""

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
    """A statement and the rule that decides it; `on` are patterns of the corruptions that it is
    about, else the study's first.
    """

    name: str
    text: str
    rule: str
    decide: Rule
    on: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As a plan keeps it."""
        fields = asdict(self.decide)  # type: ignore[call-overload]
        found = {"name": self.name, "text": self.text, "rule": self.rule, "fields": fields}
        return {**found, "on": list(self.on)} if self.on else found


def read_claims(
    entries: Any, names: Sequence[str], corruptions: Sequence[str], fault: NoteFault, built: Built
) -> tuple[Claim, ...]:
    """The claims that `entries` declare about arms of these names under these corruptions; what is
    wrong goes to `fault`.
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
    """Whether what claims are about is tested at all, in every one of `looks` (`Test.looks`) that
    they are about.
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
    """A list of one where one came."""
    return list(value) if isinstance(value, list | tuple) else [value]
