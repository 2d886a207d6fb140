"""What a chart shows, as plain data: numbers, names and units, without a library that draws.

Relies on: numpy alone, so that a page can be made without matplotlib.
Keeps: charts are frozen; one label has one colour and one marker in all panels; a chart has the
same legend and the same numbers on paper and on a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The colours of Okabe and Ito, which people with colour blindness can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
BINS = 30
SHARES = ("share", "fraction")  # labels of axes that go from 0 to 1


@dataclass(frozen=True, eq=False)
class Line:
    """A curve through the points `x`, `y` [n].

    `band` is (low, high), [n] each. `mark` is the index of a point to draw a ring around, `colour`
    the number of a colour in COLOURS. `scattered` leaves the points without a line; a band then
    becomes their error bars.
    """

    x: ArrayLike
    y: ArrayLike
    label: str
    band: tuple[ArrayLike, ArrayLike] | None = None
    dashed: bool = False
    mark: int | None = None
    colour: int | None = None
    scattered: bool = False

    @property
    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The arrays x and y [n]."""
        return np.asarray(self.x, dtype=float), np.asarray(self.y, dtype=float)

    @property
    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The lower and the upper edge [n] of the band, if there is one."""
        if self.band is None:
            return None
        low, high = self.band
        return np.asarray(low, dtype=float), np.asarray(high, dtype=float)

    def texts(self) -> list[str]:
        """Each value of y with its interval, as text."""
        values = [f"{value:.4g}" for value in self.points[1]]
        if self.edges is None:
            return values
        return [
            f"{value} ({low:.4g} to {high:.4g})"
            for value, low, high in zip(values, *self.edges, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Lines:
    """Curves in panels, each with its title; one label has one colour in all of them.

    `y` is one label, or one for each panel; `levels` are named horizontal lines. With `selector`
    the titles are test strengths: a page shows the panel of the strength that the reader chooses,
    and paper shows all panels. `ticks` name places on a logarithmic axis that are not shown as
    numbers.

    A y axis whose label is `share` or `fraction` goes from 0 to 1, and one whose label ends in (%)
    cuts off bands below 0 or above 100. `tops` say for some panels where their y axis, which then
    begins at 0, ends: a triangle at the upper edge stands for each value that lies above.
    """

    name: str
    title: str
    panels: Mapping[str, Sequence[Line]]
    x: str
    y: str | Sequence[str]
    caption: str = ""
    alt: str = ""
    log_x: bool = False
    levels: Mapping[str, float] | None = None
    share_y: bool = True
    columns: int = 3
    selector: bool = False
    ticks: Mapping[float, str] | None = None
    tops: Mapping[str, float] | None = None

    def limits(self, panel: str) -> tuple[float, float] | None:
        """Where the y axis of a panel begins and ends; None leaves that to the drawer.

        The panels of a selector have one axis, which stands still while the reader changes the
        panel. The ends of an axis keep a small distance from 0, 1 or 100%, where a line would lose
        half of its width.
        """
        label = dict(zip(self.panels, self.y_labels(), strict=True))[panel]
        if label in SHARES:
            return -0.02, 1.02
        if panel in (tops := self.tops or {}):
            return 0.0, tops[panel]
        low, high = self._span(list(self.panels) if self.share_y else [panel])
        beyond = label.endswith("(%)") and (low < 0 or high > 100)
        if not beyond and not (self.share_y and self.selector):
            return None
        pad = 0.05 * (high - low) or 1.0
        return (max(-2.0, low), min(102.0, high)) if beyond else (low - pad, high + pad)

    def _span(self, panels: Sequence[str]) -> tuple[float, float]:
        """The least and the largest of all values, ends of bands and levels of these panels."""
        lines = [line for panel in panels for line in self.panels[panel]]
        every = [part for line in lines for part in (line.points[1], *(line.edges or ()))]
        known = _finite(np.concatenate([*every, list((self.levels or {}).values())]))
        return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)

    def tick(self, place: float) -> str:
        """The label of that place on the x axis."""
        return (self.ticks or {}).get(place, f"{place:g}")

    def numbers(self) -> dict[str, int]:
        """The number of each label's colour: its own, or its place among the chart's labels."""
        lines = [line for curves in self.panels.values() for line in curves]
        labels = list(dict.fromkeys(line.label for line in lines))
        own = {line.label: line.colour for line in lines if line.colour is not None}
        return {label: own.get(label, place) for place, label in enumerate(labels)}

    def y_labels(self) -> list[str]:
        """The label of the y axis of each panel."""
        return [self.y] * len(self.panels) if isinstance(self.y, str) else list(self.y)


@dataclass(frozen=True, eq=False)
class Heat:
    """A table of values [rows, columns] as colours, with the first row on top.

    `value` says what the colours mean, with the unit. nan stands for no data, and `marks` are cells
    (row, column) to frame.
    """

    name: str
    title: str
    values: ArrayLike
    rows: Sequence[str]
    columns: Sequence[str]
    x: str
    y: str
    value: str
    marks: Sequence[tuple[int, int]] = ()
    caption: str = ""
    alt: str = ""

    @property
    def table(self) -> NDArray[np.float64]:
        """The values [rows, columns]."""
        return np.asarray(self.values, dtype=float)

    def text(self, row: int, column: int) -> str:
        """The text of a cell, "" for no data. The largest value of the table gets three digits."""
        largest = float(np.nanmax(np.abs(self.table), initial=0.0))
        places = max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 0
        value = self.table[row, column]
        return f"{value:.{places}f}" if np.isfinite(value) else ""


@dataclass(frozen=True, eq=False)
class Bars:
    """Histograms of raw values, one for each label in each panel. A panel's histograms share bins.

    `levels` are named vertical lines. With `selector` the titles of the panels are test strengths:
    a page shows the panel of the strength that the reader chooses.
    """

    name: str
    title: str
    panels: Mapping[str, Mapping[str, ArrayLike]]
    x: str
    y: str
    levels: Mapping[str, float]
    caption: str = ""
    alt: str = ""
    selector: bool = False

    def numbers(self) -> dict[str, int]:
        """The number of each label's colour: its place among the chart's labels."""
        labels = dict.fromkeys(label for panel in self.panels.values() for label in panel)
        return {label: place for place, label in enumerate(labels)}

    def bins(self, panel: str) -> NDArray[np.float64]:
        """The edges of the panel's bins: at most 30 bins, and no more than different values."""
        known = np.concatenate(
            [_finite(values) for values in self.panels[panel].values()] or [np.zeros(0)]
        )
        return np.histogram_bin_edges(known, max(1, min(BINS, len(np.unique(known)))))

    def counts(self, panel: str) -> dict[str, NDArray[np.int64]]:
        """The number of values of each label in each bin."""
        bins = self.bins(panel)
        return {
            label: np.histogram(_finite(values), bins)[0]
            for label, values in self.panels[panel].items()
        }

    def legend(self, panel: str) -> dict[str, str]:
        """For each label the yield: the share of its values that reach each level.

        A value that is not a number reaches no level, and still counts as a chip.
        """
        found = {}
        for label, values in self.panels[panel].items():
            shares = []
            for name, level in self.levels.items():
                reached, n = int((np.asarray(values, dtype=float) >= level).sum()), np.size(values)
                where = f" at {name}" if len(self.levels) > 1 else ""
                shares.append(
                    f"{reached / n:.0%} of chips{where} ({reached} of {n})" if n else "no chips"
                )
            found[label] = f"{label}: {', '.join(shares)}" if shares else label
        return found


Chart = Lines | Heat | Bars


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array: NDArray[np.float64] = np.asarray(values, dtype=float)
    return array[np.isfinite(array)]


def grid(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns for `count` panels, with at most `columns` side by side and the last row as
    full as possible.

    >>> grid(4, 3), grid(3, 3), grid(7, 3)
    ((2, 2), (1, 3), (3, 3))
    """
    down = -(-count // max(1, min(columns, count)))
    return down, -(-count // down)


def log_ticks(lines: Sequence[Line]) -> tuple[list[float], list[float]]:
    """The ticks of a logarithmic axis with at most 12 points: all points, and the points whose
    labels do not collide. With more points, both lists are empty.
    """
    places = sorted({float(x) for line in lines for x in line.points[0] if x > 0})
    if not 1 <= len(places) <= 12:
        return [], []
    width, shown = np.log(places[-1] / places[0]) / 7, [places[0]]
    for place in places[1:]:
        if np.log(place / shown[-1]) >= width:
            shown.append(place)
    return places, shown


def whole(values: ArrayLike) -> bool:
    """Whether all finite values are whole numbers, such as counts. Then the ticks are, too."""
    known = _finite(values)
    return bool((known == known.round()).all())


def wrapped(text: str, width: int) -> list[str]:
    """The lines of `text`, each of at most `width` characters where its words allow it."""
    return wrap(text, width, break_long_words=False, break_on_hyphens=False)
