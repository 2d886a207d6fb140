"""The chart of how far one run falls short of what was tuned for each test strength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..drawing import Chart, Line, Lines
from ..studies.evidence import Arm
from ..studies.folder import Folder
from ..studies.results import conclude

__all__ = ["shortfalls"]


def shortfalls(folder: Folder, arms: Sequence[Arm]) -> list[Chart]:
    """One chart for all claims by the rule `shortfall`, a panel for each of their groups; nothing without such a claim."""
    noise, score = folder.plan["noises"][0], folder.plan["score"]
    factor, unit = (100, "points") if score["unit"] == "fraction" else (1, score["unit"])
    rules = {one["name"]: one for one in folder.plan["definition"]["claims"] if one["rule"] == "shortfall"}
    panels: dict[str, list[Line]] = {}
    for one in conclude(folder, arms) if rules else []:
        rows = [row for row in one.rows if row.difference is not None and one.claim in rules]
        for title in dict.fromkeys(row.question for row in rows):
            own = [row for row in rows if row.question == title]
            low, middle, high = (
                factor * np.array([getattr(row.difference.interval, side) for row in own])  # type: ignore[union-attr]
                for side in ("low", "estimate", "high")
            )
            panels.setdefault(title, []).append(Line([float(row.at) for row in own], middle, one.claim, (low, high)))
    if not panels:
        return []
    fields = next(iter(rules.values()))["fields"]
    return [
        Lines(
            "shortfall",
            "One run against the arm that was tuned hardest for each test strength",
            panels,
            f"test strength, {noise['unit']}",
            f"ahead of tuned ({unit})",
            caption="each seed's checkpoint is chosen on its own validation data, the tuned arm by its mean over all seeds; bands: "
            f"95%, crossed seeds x examples; target: within {factor * fields['target']:g} {unit}",
            alt="Where a line lies above 0, one run that was not tuned is ahead of the best of all tuned arms.",
            levels={"as good": 0.0, "target": -factor * fields["target"]},
            share_y=False,
        )
    ]
