"""Figures from arrays, in PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .records import write_atomically

__all__ = ["Line", "lines", "save"]

# Okabe and Ito's colours, which people with colour blindness tell apart, and markers for whoever prints in grey
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = "osD^vP*X"
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "incorruptible",
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


class Line:
    """A curve: x and y, an optional band (low, high), a label, a dash pattern, a place to mark, and a colour's number."""

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        label: str,
        band: tuple[ArrayLike, ArrayLike] | None = None,
        dashed: bool = False,
        mark: int | None = None,
        colour: int | None = None,
    ) -> None:
        self.x, self.y, self.label = np.asarray(x, dtype=float), np.asarray(y, dtype=float), label
        self.band, self.dashed, self.mark, self.colour = band, dashed, mark, colour


def lines(
    panels: Mapping[str, Sequence[Line]],
    x: str,
    y: str | Sequence[str],
    *,
    caption: str = "",
    log_x: bool = False,
    levels: Mapping[str, float] | None = None,
    share_y: bool = True,
    columns: int = 3,
) -> Any:
    """One panel for each title, with its curves and bands; a matplotlib figure.

    `y` is one label, or one for each panel; `levels` draws named horizontal lines. The caption stands below.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(panels)
    across = min(columns, count)
    down = -(-count // across)
    with rc_context(_STYLE):
        figure = Figure(figsize=(max(5.2, 3.7 * across), 3.3 * down + 0.35))
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False, sharey=share_y)
        titles = [y] * count if isinstance(y, str) else list(y)
        for place, (axis, (title, curves)) in enumerate(zip(axes.flat, panels.items(), strict=False)):
            for i, line in enumerate(curves):
                number = i if line.colour is None else line.colour
                style = {"color": COLOURS[number % len(COLOURS)], "linestyle": "--" if line.dashed else "-"}
                crowded = len(line.x) > 20
                marker = "" if crowded else MARKERS[number % len(MARKERS)]
                axis.plot(line.x, line.y, label=line.label, marker=marker, markersize=3.5, linewidth=1.3, **style)
                if line.band is not None:
                    axis.fill_between(line.x, *line.band, color=style["color"], alpha=0.15, linewidth=0)
                if line.mark is not None:
                    axis.plot(
                        line.x[line.mark],
                        line.y[line.mark],
                        marker="o",
                        markersize=10,
                        fillstyle="none",
                        color=style["color"],
                    )
            for name, level in (levels or {}).items():
                axis.axhline(level, color="grey", linewidth=0.8, linestyle=":")
                axis.annotate(
                    name,
                    (0.99, level),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                    fontsize=7,
                    color="grey",
                )
            axis.set_title(title, fontsize=9, loc="left")
            axis.set_xlabel(x)
            if place % across == 0 or not share_y:
                axis.set_ylabel(titles[place])
            if log_x:
                axis.set_xscale("log")
                _label_points(axis, curves)
            if curves:
                axis.legend(fontsize=7)
        for axis in axes.flat[count:]:
            axis.set_visible(False)
        if caption:
            figure.supxlabel(caption, fontsize=7, color="#444444")
    return figure


def _label_points(axis: Any, curves: Sequence[Line]) -> None:
    """Few points on a logarithmic axis: label the points themselves, as far as their labels do not collide."""
    places = sorted({float(x) for line in curves for x in line.x if x > 0})
    if not 1 < len(places) <= 12:
        return
    width, shown = np.log(places[-1] / places[0]) / 9, [places[0]]
    for place in places[1:]:
        if np.log(place / shown[-1]) >= width:
            shown.append(place)
    axis.set_xticks(places, minor=True, labels=[""] * len(places))
    axis.set_xticks(shown, labels=[f"{place:g}" for place in shown])


def save(figure: Any, path: Path) -> list[Path]:
    """Write `figure` beside `path` as .png (200 dots an inch) and .svg, each whole or not at all; returns both paths."""
    from matplotlib import rc_context

    written = []
    with rc_context(_STYLE):
        for kind in ("png", "svg"):
            target = path.with_suffix(f".{kind}")
            metadata = {"Date": None} if kind == "svg" else {"Software": None}

            def fill(temporary: Path, kind: str = kind, metadata: dict[str, None] = metadata) -> None:
                figure.savefig(temporary, format=kind, dpi=200, metadata=metadata)

            write_atomically(target, fill)
            written.append(target)
    return written
