"""Horizontal bars with intervals, one for each name, to compare effects with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .charts import COLOURS
from .paper import MUTED, STYLE, caption, page

ROW, TALLEST = 0.2, 11.0  # inches: the height of a row, and of a page


def effects(
    names: Sequence[str], panels: Mapping[str, ArrayLike], text: str = "", marked: int = 0
) -> Any:
    """A matplotlib figure of horizontal bars, the first name on top, side by side for each panel.

    `panels` maps the label of an x axis, with its unit, to an array [names, 3] of (low, estimate,
    high); nan draws nothing. The last `marked` names have another colour. `text` is the caption.
    """
    from matplotlib import rc_context

    places = np.arange(len(names))
    colours = [COLOURS[0]] * (len(names) - marked) + [COLOURS[1]] * marked
    with rc_context(STYLE):
        figure, axes, _ = page(len(panels), 2, min(TALLEST, 0.9 + ROW * len(names)), True)
        for axis, (label, values) in zip(axes, panels.items(), strict=True):
            low, estimate, high = np.asarray(values, dtype=float).T
            axis.barh(places, estimate, height=0.66, color=colours, alpha=0.55)
            error = np.array([estimate - low, high - estimate])
            axis.errorbar(
                estimate, places, xerr=error, fmt="none", ecolor="#222222", elinewidth=1, capsize=2
            )
            axis.axvline(0, color=MUTED, linewidth=0.7)
            axis.set_xlabel(label)
            axis.locator_params(axis="x", nbins=6)
            axis.grid(axis="y", visible=False)
        axes[0].set_yticks(places, labels=names)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
        caption(figure, text)
    return figure
