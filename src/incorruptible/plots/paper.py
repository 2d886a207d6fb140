"""Charts on paper: matplotlib figures, and their files in PNG, SVG and PDF.

Relies on: figures are drawn by the Agg canvas, without pyplot, so that no window and no state of
matplotlib is touched.
Keeps: one chart has the same bytes whenever it is drawn; a file is written whole or not at all; no
figure is wider than the space between the margins of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files.records import write_atomically
from .charts import COLOURS, Bars, Chart, Heat, Line, Lines, grid, log_ticks, whole, wrapped

MARKERS = "osD^vP*X"  # tell curves apart in a grey print
# Dashes tell lines apart where there are more lines than colours.
DASHES: tuple[Any, ...] = (
    "-",
    ":",
    "-.",
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
)
WIDE = 7.2  # inches between the margins of an A4 or letter page
FEW = 6  # the legend of so many curves finds room inside the axes
INK, MUTED = "#222222", "#5A5A5A"
STYLE: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.8,  # long enough to show a dash beside a marker
    "svg.hashsalt": "incorruptible",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
}
# Without these entries, dates and versions would make two files of one chart differ.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def draw(chart: Chart) -> Any:
    """Draw `chart` as a matplotlib figure that fits on a page."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        match chart:
            case Lines():
                return _lines(chart)
            case Heat():
                return _heat(chart)
            case Bars():
                return _bars(chart)


def save(figure: Any, path: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write a chart or a figure in each of `formats`, and return the paths.

    Each file has the name of `path` with the ending of its format. An ending of `path` that names a
    format is replaced; any other dot belongs to the name. A file is written whole or not at all.
    One chart gives the same bytes whenever it is drawn. PNG has 200 dots an inch.
    """
    from matplotlib import rc_context

    drawn = draw(figure) if isinstance(figure, Chart) else figure
    written = []
    stem = path.stem if path.suffix.removeprefix(".") in _METADATA else path.name
    with rc_context(STYLE):
        for kind in formats:
            target = path.with_name(f"{stem}.{kind}")

            def fill(temporary: Path, kind: str = kind) -> None:
                drawn.savefig(temporary, format=kind, dpi=200, metadata=_METADATA[kind])

            write_atomically(target, fill)
            written.append(target)
    return written


def page(count: int, columns: int, height: float, share_y: bool) -> tuple[Any, list[Any], int]:
    """Make a figure of `count` panels. Returns it, its axes, and the number of panels in a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down, across = grid(count, min(columns, 3))
    figure = Figure(figsize=(WIDE if across > 1 else 5.4, height * down + 0.3))
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False, sharey=share_y).flat
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, list(axes[:count]), across


def _title(chart: Lines | Bars, panel: str) -> str:
    return f"test strength {panel}" if chart.selector else panel


def caption(figure: Any, text: str) -> None:
    """Write `text` in small print below the panels."""
    if text:
        # Letters at 7 points are .053 inches wide on average, and capitals and digits are wider.
        width = int(figure.get_figwidth() * 18)
        figure.supxlabel(
            "\n".join(wrapped(text, width)), x=0.01, ha="left", fontsize=7, color=MUTED
        )


def _dash(number: int, dashed: bool) -> Any:
    return "--" if dashed else DASHES[number // len(COLOURS) % len(DASHES)]


def _lines(chart: Lines) -> Any:
    one = len(chart.panels) == 1
    figure, axes, across = page(
        len(chart.panels), chart.columns, 3.2 if one else 2.25, chart.share_y
    )
    numbers = chart.numbers()
    shown: dict[str, Any] = {}
    for place, (axis, (title, curves)) in enumerate(zip(axes, chart.panels.items(), strict=True)):
        for line in curves:
            shown.setdefault(line.label, _curve(axis, line, numbers[line.label]))
        for name, level in (chart.levels or {}).items():
            axis.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
            axis.annotate(
                name,
                (1, level),
                (0, 2),
                ("axes fraction", "data"),
                "offset points",
                ha="right",
                fontsize=7,
            )
        axis.set_title("\n".join(wrapped(_title(chart, title), 90 // across)), loc="left")
        axis.set_xlabel("\n".join(wrapped(chart.x, 90 // across)))
        if (limits := chart.limits(title)) is not None:
            _cut_off(axis, curves, numbers, *limits)
        if place % across == 0 or not chart.share_y:
            axis.set_ylabel("\n".join(wrapped(chart.y_labels()[place], 40)))
        if chart.log_x:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
            _label_points(axis, chart, curves)
        elif all(whole(line.points[0]) for line in curves):
            _whole_ticks(axis.xaxis)
    caption(figure, chart.caption)
    _legend(figure, axes, list(shown.values()))
    return figure


def _whole_ticks(axis: Any) -> None:
    axis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def _cut_off(
    axis: Any, curves: Sequence[Line], numbers: dict[str, int], low: float, high: float
) -> None:
    """End the y axis at these limits, with a triangle at the edge for each value above."""
    axis.set_ylim(low, high)
    for line in curves:
        x, y = line.points
        above = x[y > high]
        if len(above):  # an empty curve that is not clipped upsets the layout
            colour = COLOURS[numbers[line.label] % len(COLOURS)]
            axis.plot(above, [high] * len(above), "^", color=colour, markersize=5, clip_on=False)


def _legend(figure: Any, axes: Sequence[Any], curves: Sequence[Any]) -> None:
    """Place the legend: inside a lone panel for few curves, beside the panel for more, and above
    all panels for very many curves or several panels.
    """
    if len(axes) == 1 and 0 < len(curves) <= FEW:
        axes[0].legend(handles=curves)
    elif len(axes) == 1 and FEW < len(curves) <= 2 * FEW:
        figure.legend(handles=curves, loc="outside right upper")
    elif curves:
        widest = max(len(curve.get_label()) for curve in curves)
        down, across = grid(len(curves), int(18 * figure.get_figwidth()) // (widest + 8))
        figure.set_figheight(figure.get_figheight() + 0.17 * down)
        figure.legend(handles=curves, loc="outside upper left", ncols=across)


def _curve(axis: Any, line: Line, number: int) -> Any:
    x, y = line.points
    colour = COLOURS[number % len(COLOURS)]
    marker = "" if len(x) > 20 and not line.scattered else MARKERS[number % len(MARKERS)]
    dash = "none" if line.scattered else _dash(number, line.dashed)
    style = {"color": colour, "linestyle": dash, "linewidth": 1.4}
    (drawn,) = axis.plot(
        x, y, label=line.label, marker=marker, markersize=2 if len(x) > 40 else 3.5, **style
    )
    # A band over a single point would have no width, and could not be seen.
    if line.edges is not None and (line.scattered or len(x) == 1):
        axis.vlines(x, *line.edges, color=colour, linewidth=1)
    elif line.edges is not None:
        axis.fill_between(x, *line.edges, color=colour, alpha=0.15, linewidth=0)
    if line.mark is not None:
        axis.plot(
            x[line.mark], y[line.mark], marker="o", markersize=9, fillstyle="none", color=colour
        )
    return drawn


def _label_points(axis: Any, chart: Lines, curves: Sequence[Line]) -> None:
    places, shown = log_ticks(curves)
    if places:
        axis.set_xticks(places, minor=True, labels=[""] * len(places))
        axis.set_xticks(shown, labels=[chart.tick(place) for place in shown])


def _heat(chart: Heat) -> Any:
    from matplotlib import colormaps

    table = chart.table
    down, across = table.shape
    figure, (axis,), _ = page(1, 1, min(9.0, 1.0 + 0.24 * down), True)
    figure.set_figwidth(min(WIDE, max(5.4, 2.2 + 0.55 * across)))
    colours = colormaps["cividis"].with_extremes(bad=(1, 1, 1, 0))
    image = axis.imshow(np.ma.masked_invalid(table), cmap=colours, aspect="auto")
    axis.patch.set(hatch="////", edgecolor="#BBBBBB")
    axis.set_xticks(range(across), labels=chart.columns)
    axis.set_yticks(range(down), labels=chart.rows)
    axis.set(xlabel=chart.x, ylabel=chart.y)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for row, column in np.argwhere(np.isfinite(table)) if table.size <= 400 else ():
        light = image.norm(table[row, column]) > 0.55
        ink = INK if light else "white"
        axis.text(
            column, row, chart.text(row, column), ha="center", va="center", fontsize=7, color=ink
        )
    for row, column in chart.marks:
        for width, colour in ((3.2, "white"), (1.3, "black")):  # shows on every colour of the map
            axis.add_patch(_frame(column, row, linewidth=width, edgecolor=colour))
    bar = figure.colorbar(image, ax=axis, shrink=min(1.0, 0.5 + 1.5 / down), aspect=25, pad=0.02)
    bar.set_label(chart.value)
    bar.outline.set_visible(False)
    caption(figure, chart.caption)
    return figure


def _frame(column: int, row: int, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, clip_on=False, **style)


def _bars(chart: Bars) -> Any:
    key = max((len(panel) for panel in chart.panels.values()), default=0)
    figure, axes, across = page(len(chart.panels), 2, 2.0 + 0.16 * key, True)
    numbers = chart.numbers()
    for place, (axis, title) in enumerate(zip(axes, chart.panels, strict=True)):
        legend, bins = chart.legend(title), chart.bins(title)
        for label, counts in chart.counts(title).items():
            number = numbers[label]
            colour = COLOURS[number % len(COLOURS)]
            axis.stairs(counts, bins, fill=True, color=colour, alpha=0.25)
            axis.stairs(
                counts,
                bins,
                color=colour,
                linestyle=_dash(number, False),
                linewidth=1.2,
                label=legend[label],
            )
        for level in chart.levels.values():
            axis.axvline(level, color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
        for name, level in chart.levels.items():
            # The label stands on the side that has more room.
            right = level > sum(axis.get_xlim()) / 2
            shift, side = ((-3, -2), "right") if right else ((3, -2), "left")
            at = ("data", "axes fraction")
            axis.annotate(
                name, (level, 1), shift, at, "offset points", ha=side, va="top", fontsize=7
            )
        # The key stands above the axes, under the title, where it covers no bar
        axis.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.2,
            borderpad=0,
            labelspacing=0.25,
        )
        axis.set_title(_title(chart, title), loc="left", pad=5 + 10.5 * len(legend))
        axis.set_xlabel(chart.x)
        if place % across == 0:
            axis.set_ylabel(chart.y)
        axis.margins(y=0.15)
        _whole_ticks(axis.yaxis)
        axis.grid(axis="x", visible=False)
    caption(figure, chart.caption)
    return figure
