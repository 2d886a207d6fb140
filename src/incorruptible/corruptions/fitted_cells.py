"""The user's own cells beside the device that was fitted to them: a table, plain data and a chart.

Relies on: `devices.fits` gives one fit for each measured time, in the order of
`device.fitted.times`.
Keeps: the device and its fits are only read, and all three forms state the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plots import Line, Lines
from . import Measured
from .devices import fits
from .fitting import CellFit

SHOWN = 400  # cells of one time in the chart
GROUPS = 12  # of cells, in the chart, where targets do not repeat


def rows(device: Measured) -> list[dict[str, Any]]:
    """For each measured time: how many cells there are, how Gaussian their errors are, and at each
    knot shift and spread with 95% intervals, in uS.
    """
    found = []
    for time, fit in zip(device.fitted.times, fits(device), strict=True):
        bounds = fit.bounds(fit.knots)
        places = [
            {
                "target": float(g),
                **{name: float(part[k]) for name, part in bounds._asdict().items()},
            }
            for k, g in enumerate(fit.knots)
        ]
        found.append(
            {
                "time": time,
                "cells": len(fit.error),
                "at_zero": int(fit.cut.sum()),
                "inside": fit.inside,
                "kurtosis": fit.kurtosis,
                "knots": places,
            }
        )
    return found


def report(device: Measured) -> str:
    """The same numbers as a table."""
    lines = []
    for one, time in zip(rows(device), device.fitted.times, strict=True):
        when = "" if time is None else f", {time} after programming"
        zero = f", {one['at_zero']} of them read as at or below 0" if one["at_zero"] else ""
        lines.append(f"{device.file}{when}: {one['cells']} cells{zero}")
        lines.append(
            f"{'target':>8}  {'mean shift':>10}  {'95% interval':<20}  {'spread':>8}  95% interval "
            "  (all uS)"
        )
        for row in one["knots"]:
            of_shift, of_spread = (
                f"{row[f'{name}_low']:.4f} to {row[f'{name}_high']:.4f}"
                for name in ("shift", "spread")
            )
            lines.append(
                f"{row['target']:>8.4g}  {row['shift']:>+10.4f}  {of_shift:<20}  "
                f"{row['spread']:>8.4f}  {of_spread}"
            )
        lines.append(
            f"within 1.96 spreads: {one['inside']:.1%} of cells (95% if Gaussian); kurtosis "
            f"{one['kurtosis']:.2f} (3 if Gaussian)"
        )
        lines.append("")
    return "\n".join(lines).rstrip()


def chart(device: Measured) -> Lines:
    """Cells and fits with 95% intervals: the shift in the upper panel, the spread in the lower one,
    and one colour for each time.
    """
    shifts: list[Line] = []
    spreads: list[Line] = []
    for place, (time, fit) in enumerate(zip(device.fitted.times, fits(device), strict=True)):
        when = "" if time is None else f" at {time}"
        at = np.union1d(np.linspace(fit.knots[0], fit.knots[-1], 100), fit.knots)
        bounds = fit.bounds(at)
        g, stds = _groups(fit)
        step = -(-len(fit.error) // SHOWN)
        shifts += [
            Line(
                at, bounds.shift, f"fit{when}", (bounds.shift_low, bounds.shift_high), colour=place
            ),
            Line(
                fit.target[::step], fit.error[::step], f"cells{when}", colour=place, scattered=True
            ),
        ]
        spreads += [
            Line(
                at,
                bounds.spread,
                f"fit{when}",
                (bounds.spread_low, bounds.spread_high),
                colour=place,
            ),
            Line(g, stds, f"cells{when}", colour=place, scattered=True),
        ]
    counts = ", ".join(str(len(fit.error)) for fit in fits(device))
    note = (
        f"{device.file} (sha {device.sha}): {counts} cells; points: single cells (at most {SHOWN} "
        "of a time), and the standard deviation of groups of cells; the fit takes a cell that "
        "reads 0 for one at or below 0; bands: 95% at each target on its own"
    )
    panels = {"mean shift": shifts, "spread": spreads}
    labels = ["measured - target (uS)", "standard deviation (uS)"]
    return Lines("fit", "", panels, "target (uS)", labels, note, share_y=False, columns=1)


def _groups(fit: CellFit) -> tuple[Any, Any]:
    """Mean target, and standard deviation around the fitted shift, of groups of cells: the cells
    of one target, or, where targets do not repeat, neighbours.
    """
    targets = np.unique(fit.target)
    if len(targets) == len(fit.knots):
        groups = [np.flatnonzero(fit.target == g) for g in targets]
    else:
        groups = np.array_split(np.arange(len(fit.target)), GROUPS)
    around = fit.error - fit.basis @ fit.shift
    stds = [around[group].std(ddof=1) for group in groups]
    return np.array([fit.target[group].mean() for group in groups]), np.array(stds)
