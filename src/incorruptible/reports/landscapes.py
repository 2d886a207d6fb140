"""The charts of the landscapes that `incorruptible landscape` kept in the folders of runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..diagnostics.charts import around
from ..errors import UserError
from ..files import records
from ..plots import Chart, Line, Lines
from ..studies.evidence import Arm
from ..studies.folder import Folder
from .charts import over_seeds


def landscapes(folder: Folder, arms: Sequence[Arm]) -> list[Chart]:
    """The sharpness over training, and for each arm the slices and the surface of one run.

    Arms without a landscape are left out; without any landscape there is no chart.
    """
    around_: list[Chart] = []
    panels: dict[str, list[Line]] = {}
    units: dict[str, str] = {}
    seeds = set()
    for place, arm in enumerate(arms):
        found = _kept(folder, arm.name)
        if not found:
            continue
        seeds.add(len(found))
        around_ += [_of(chart, arm.name) for chart in around(found[0])]
        steps = [look["step"] for look in found[0]["looks"]]
        scale = found[0]["scale"]
        for name, where in (("noise", f"per {scale}"), ("weights", "per unit of the weights")):
            for key, title in (("top", "top eigenvalue"), ("trace", "trace")):
                values = np.array(
                    [[look["sharpness"][name][key] for look in one["looks"]] for one in found],
                    dtype=float,
                )
                panel = f"{title}, {where}"
                panels.setdefault(panel, []).append(
                    over_seeds(steps, values, arm.name, colour=place)
                )
                units[panel] = "nats" if name == "noise" else "nats per squared unit"
    if not panels:
        return []
    low, high = min(seeds), max(seeds)
    return [
        Lines(
            "sharpness",
            "Sharpness of the clean loss, over training",
            panels,
            "optimiser step",
            list(units.values()),
            caption=f"Hessian of the training loss, as incorruptible landscape kept it; {low}"
            f"{f' to {high}' if high > low else ''} seed{'s' if high > 1 else ''} an arm; bands: "
            "two standard errors over seeds",
            alt="Top eigenvalue and trace of the Hessian over training, in the noise's scale and "
            "in units of the weights.",
            log_x=True,
            share_y=False,
            columns=2,
        ),
        *around_,
    ]


def _of(chart: Chart, arm: str) -> Chart:
    """The chart under the name of the arm."""
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", arm).strip("-")
    return replace(chart, name=f"{chart.name}-{slug}", title=f"{chart.title}: {arm}, one seed")


def _kept(folder: Folder, name: str) -> list[dict[str, Any]]:
    """The landscapes of the arm's runs. A run that was looked at at other steps than the first run
    is left out, because the steps are one axis.
    """
    found: list[dict[str, Any]] = []
    for job in folder.jobs:
        if folder.arms[job.arm]["name"] != name:
            continue
        try:
            record = records.read(folder.trained(job) / "landscape" / "landscape.json")
        except UserError:
            continue  # there is no landscape, or its file is torn; the verb makes it anew
        looks = [look["step"] for look in record["looks"] if "step" in look]
        if looks and (not found or looks == [look["step"] for look in found[0]["looks"]]):
            found.append(record)
    return found
