"""Charts of what networks withstand: each corruption that a claim is about, over its strengths and
over time.

Relies on: a claim by the rule `withstands` says under which corruptions it is judged (`on`); the
time of a corruption stands in its name, or in its conditions.
Keeps: the scores of one corruption at a time are in memory; validation chooses the arm of each
point.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..plots import Chart, Line, Lines
from ..specs.durations import seconds
from ..studies.evidence import Arm, Lacking, best, matching, shown_in
from ..studies.folder import Folder, matches
from ..studies.outcomes import Outcomes
from ..studies.results import mean

_Mark = tuple[float, float, float, float]  # x, low, estimate, high
_Panels = dict[str, dict[str, list[_Mark]]]  # by corruption, then by title


def robustness_charts(folder: Folder) -> list[Chart]:
    """For each network of a claim by the rule `withstands`, the score over the time since
    programming and over the strength.

    Each corruption has a panel, and each group of arms a line. At each point of a line, validation
    chooses the best arm of the group. Claims that do not say under which corruptions they are
    judged are left out.
    """
    claims = [
        one
        for one in folder.plan["definition"]["claims"]
        if one["rule"] == "withstands" and one.get("on")
    ]
    networks = list(
        dict.fromkeys(network for claim in claims for network in claim["fields"]["networks"])
    )
    over_time: dict[str, _Panels] = {network: {} for network in networks}
    over_rate: dict[str, _Panels] = {network: {} for network in networks}
    outcomes = Outcomes(folder)
    for place, noise in enumerate(folder.plan["noises"]):
        about = [one for one in claims if matches(noise["corruption"], one["on"])]
        tests = [s for s in noise["strengths"] if s > 0]
        if not about or not tests:
            continue
        # Validation of all arms, test scores of those that validation chooses.
        found = outcomes.whole(place)
        family, time = _timed(noise)
        for network in networks:
            for title, own in _groups(about, network, found).items():
                if time is not None:
                    panel = over_time[network].setdefault(f"{family}, at\u00a0{tests[0]:g}", {})
                    panel.setdefault(title, []).append(_at(own, tests[0], time))
                else:
                    panel = over_rate[network].setdefault(family, {})
                    panel.setdefault(title, []).extend(_at(own, s, s) for s in tests)
        for arm in found:
            arm.drop()
    charts = []
    for network in networks:
        lone = "" if len(networks) == 1 else network.strip().rstrip(":")
        charts += _chart(
            folder,
            "withstanding-time",
            lone,
            "over time, at the first strength tested",
            "time after programming",
            over_time[network],
        )
        x = "test strength, in the corruption's unit"
        charts += _chart(
            folder, "withstanding-rate", lone, "over its strengths", x, over_rate[network]
        )
    return charts


def _at(arms: Sequence[Arm], strength: float, x: float) -> _Mark:
    low, estimate, high = mean(best(arms, strength), strength)
    return x, low, estimate, high


def _timed(noise: dict[str, Any]) -> tuple[str, float | None]:
    """The corruption without its time, and the time in seconds; None where it has no time."""
    corruption = str(noise["corruption"])
    found = re.search(r":time=([^:|)]+)", corruption)
    said = found or re.search(r"(\S+) after programming", noise.get("conditions", ""))
    if said is None or float(seconds(said[1])) == 0:
        return corruption, None
    return corruption.replace(found[0], "") if found else corruption, float(seconds(said[1]))


def _groups(
    claims: Sequence[dict[str, Any]], network: str, arms: Sequence[Arm]
) -> dict[str, list[Arm]]:
    """The arms of one network by the title of their group: the hardened arms, and each group that
    they are compared with.

    A group that several claims name appears once. Where claims give one title to two groups, the
    second group goes by its method.
    """
    found: dict[str, list[Arm]] = {}
    for claim in claims:
        fields = claim["fields"]
        if network not in fields["networks"]:
            continue
        for title, *names in (("hardened", *fields["hardened"]), *fields["against"]):
            try:
                own = matching(arms, *(network + name for name in names))
            except Lacking:
                continue
            if own not in found.values():
                methods = " or ".join(dict.fromkeys(arm.kind for arm in own))
                found.setdefault(title if title not in found else methods, own)
    return found


def _chart(
    folder: Folder, name: str, network: str, how: str, x: str, panels: _Panels
) -> list[Chart]:
    score = folder.plan["score"]
    factor, _, unit, _ = shown_in(score["unit"])
    drawn: dict[str, list[Line]] = {}
    for family, groups in panels.items():
        for title, places in groups.items():
            at, low, middle, high = np.array(sorted(places)).T
            line = Line(at, factor * middle, title, (factor * low, factor * high))
            drawn.setdefault(family.replace(":", ", "), []).append(
                line
            )  # a title can be wrapped at a space
    if not drawn:
        return []
    shown = {float(x) for curves in drawn.values() for line in curves for x in line.points[0]}
    ticks = {one: str(seconds(one)) for one in shown} if x.startswith("time") else None
    return [
        Lines(
            "-".join([name, *re.findall(r"\w+", network)]),
            f"What networks withstand, {how}" + (f": {network}" if network else ""),
            drawn,
            x,
            f"{score['name']} ({unit})",
            caption="each line: of its arms the one that is best on validation under that very "
            "corruption; bands: 95%, crossed seeds x examples",
            alt=f"{score['name']} of hardened networks and of others under each corruption.",
            log_x=True,
            share_y=False,
            ticks=ticks,
        )
    ]
