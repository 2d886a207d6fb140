"""Charts of what networks withstand: each corruption that a claim is about, over its strengths and over time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..drawing import Chart, Line, Lines
from ..durations import seconds
from ..studies.evidence import Arm, Lacking, best
from ..studies.folder import Folder, matches
from ..studies.results import arms as arms_under
from ..studies.results import mean
from ..studies.rules.ahead import matching

__all__ = ["withstanding"]


def withstanding(folder: Folder, arms: Sequence[Arm]) -> list[Chart]:
    """Two charts for each claim by the rule `withstands`, or one: accuracy over rates, and over times since programming; a panel
    for each corruption, a line for each group of arms, of which validation chooses the best at each place."""
    claims = [one for one in folder.plan["definition"]["claims"] if one["rule"] == "withstands" and one.get("on")]
    over_time: dict[str, dict[str, list[_Place]]] = {}
    over_rate: dict[str, dict[str, list[_Place]]] = {}
    for place, noise in enumerate(folder.plan["noises"]):
        about = [one for one in claims if matches(noise["corruption"], one["on"])]
        tests = [s for s in noise["strengths"] if s > 0]
        if not about or not tests:
            continue
        found = arms_under(folder, place)
        family, time = _timed(noise["corruption"])
        for title, names in _groups(about):
            try:
                own = matching(found, names)
            except Lacking:
                continue
            if time is not None:
                over_time.setdefault(family, {}).setdefault(title, []).append(_at(own, tests[0], time))
            else:
                panel = over_rate.setdefault(family, {}).setdefault(title, [])
                panel += [_at(own, s, s) for s in tests]
    return [
        *_chart(
            folder,
            "withstanding-time",
            "over time, at the first strength tested",
            "seconds after programming",
            over_time,
        ),
        *_chart(folder, "withstanding-rate", "over its strengths", "test strength", over_rate),
    ]


_Place = tuple[float, float, float, float]  # x, low, estimate, high


def _at(arms: Sequence[Arm], strength: float, x: float) -> _Place:
    chosen = best(arms, strength)
    low, estimate, high = mean(chosen, strength)
    return x, low, estimate, high


def _timed(corruption: str) -> tuple[str, float | None]:
    """The corruption without its time, and that time in seconds."""
    found = re.search(r":time=([^:|)]+)", corruption)
    if found is None or float(seconds(found[1])) == 0:
        return corruption, None
    return corruption.replace(found[0], ""), float(seconds(found[1]))


def _groups(claims: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The hardened arms and each that they are held against: a title and names, each once."""
    found: dict[str, list[str]] = {}
    for claim in claims:
        fields = claim["fields"]
        found.setdefault("hardened", fields["hardened"])
        for title, *names in fields["against"]:
            found.setdefault(title, names)
    return list(found.items())


def _chart(folder: Folder, name: str, how: str, x: str, panels: dict[str, dict[str, list[_Place]]]) -> list[Chart]:
    score = folder.plan["score"]
    factor, unit = (100, "%") if score["unit"] == "fraction" else (1, score["unit"])
    drawn: dict[str, list[Line]] = {}
    for family, groups in panels.items():
        for title, places in groups.items():
            at, low, middle, high = np.array(sorted(places)).T
            drawn.setdefault(family, []).append(Line(at, factor * middle, title, (factor * low, factor * high)))
    if not drawn:
        return []
    return [
        Lines(
            name,
            f"What networks withstand, {how}",
            drawn,
            x,
            f"{score['name']} ({unit})",
            caption="each line: of its arms the one that is best on validation under that very corruption; bands: 95%, crossed "
            "seeds x examples",
            alt="Accuracy of hardened networks and of others under each corruption.",
            log_x=True,
            share_y=False,
        )
    ]
