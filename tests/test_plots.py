"""Charts: what they say, on paper and on a page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from incorruptible.plots import Bars, Chart, Heat, Line, Lines, draw, effects, save
from incorruptible.plots.charts import log_ticks
from incorruptible.plots.web import DARK, figure
from waiting import HANG

TESTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
ARMS = ("sgd", "rwp 0.1", "rwp 0.3", "rwp 0.5, warm-up-hold", "sam 0.2", "sam 1, linear", "sam-metric 2")
PEAKS = np.array([0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6])
CAPTION = "digits MLP, gaussian-filter-max, 8 seeds, 20 chips, 997 test images; bands: 95%, crossed seeds x images"
X, Y = "test strength, std of the error in max|W_f|", "test accuracy (%)"
CHIPS = np.random.default_rng(0).normal(size=(5, 3, 160))


def falling(arm: int) -> Line:
    y = 10 + 87 / (1 + (np.array(TESTS) / (0.25 + 0.06 * arm)) ** 2.5)
    return Line(TESTS, y, ARMS[arm], (y - 1, y + 1), dashed=arm > 3)


def rising(test: float, label: str, shift: float = 1.0) -> Line:
    y = 96 - 60 * test**1.7 - 4 * np.log(PEAKS / (shift * (1.5 * test + 0.03))) ** 2 * (0.2 + test)
    return Line(PEAKS, y, label, (y - 1, y + 1), mark=int(y.argmax()))


def course(label: str) -> Line:
    steps = np.unique(np.geomspace(1, 480, 24).round())
    return Line(steps, 1 / steps, label, (0.9 / steps, 1.1 / steps), mark=12)


HEAT = np.array([falling(arm).points[1] for arm in range(7)])
HEAT[3, 4] = np.nan
CHARTS: dict[str, Chart] = {
    "one panel": Lines("one", "", {"": [falling(arm) for arm in range(4)]}, X, Y, CAPTION, levels={"required 90%": 90}),
    "seven curves": Lines("seven", "", {"": [falling(arm) for arm in range(7)]}, X, Y, CAPTION),
    "forty curves": Lines(
        "forty", "", {"": [replace(falling(arm % 7), label=f"rwp {arm}, warm-up-hold") for arm in range(40)]}, X, Y
    ),
    "three panels": Lines(
        "strength",
        "",
        {
            title: [rising(test, f"test {test:g}", 1 + i) for test in TESTS]
            for i, title in enumerate(("RWP", "SAM", "ASAM"))
        },
        "training strength (constant)",
        Y,
        CAPTION,
        log_x=True,
    ),
    "points": Lines(
        "points", "", {"": [falling(0), replace(falling(1), label="measured", scattered=True)]}, X, Y, CAPTION
    ),
    "four panels": Lines(
        "gradient",
        "",
        {
            title: [course("rwp 0.6"), course("sam 1")]
            for title in ("norm of mean g / norm of g0", "signal", "dead", "clean")
        },
        "optimiser step",
        ["ratio", "ratio", "share", "fraction"],
        CAPTION,
        log_x=True,
        share_y=False,
        columns=4,
    ),
    "selected": Lines(
        "kappa",
        "",
        {f"{test:g}": [rising(test, name, 1 + i) for i, name in enumerate(("constant", "linear"))] for test in TESTS},
        "peak training strength",
        Y,
        log_x=True,
        selector=True,
    ),
    "heat": Heat(
        "heat", "", HEAT, ARMS, [f"{test:g}" for test in TESTS], X, "arm", Y, [(6, 5), (0, 0)], f"{CAPTION}; {CAPTION}"
    ),
    "bars": Bars(
        "yield",
        "",
        {
            f"{test:g}": {arm: 90 - 60 * test + i + 2 * CHIPS[k, i] for i, arm in enumerate(ARMS[:3])}
            for k, test in enumerate(TESTS[1:])
        },
        Y,
        "chips",
        {"required 80%": 80.0},
        "160 chips: 8 seeds x 20 draws",
        selector=True,
    ),
}
EACH = pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)


@pytest.mark.parametrize("thing", [falling(0), *CHARTS.values()], ids=lambda thing: type(thing).__name__)
def test_a_chart_is_frozen(thing: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        thing.label = "other"
    assert thing != replace(thing)  # two charts are the same only where they are one: arrays have no truth


def test_one_label_has_one_colour_in_all_panels() -> None:
    curves = [Line([0], [0], name) for name in "abc"]
    chart = Lines("", "", {"": curves[:2], "other": [*reversed(curves)]}, "x", "y")
    assert chart.numbers() == {"a": 0, "b": 1, "c": 2}
    chosen = replace(chart, panels={"": [replace(curves[0], colour=4), *curves[1:]]})
    assert chosen.numbers() == {"a": 4, "b": 1, "c": 2}
    drawn = {trace["legendgroup"]: trace["line"]["color"] for trace in figure(chosen)["data"]}
    (axis,) = draw(chosen).axes
    assert drawn == {line.get_label(): line.get_color() for line in axis.lines}
    assert len(set(drawn.values())) == 3


def test_where_colours_come_round_again_dashes_differ() -> None:
    chart = Lines("", "", {"": [Line([0], [0], f"{i}") for i in range(40)]}, "x", "y")
    assert len({(trace["line"]["color"], trace["line"]["dash"]) for trace in figure(chart)["data"]}) == 32
    (axis,) = draw(chart).axes
    first, ninth = (next(line for line in axis.lines if line.get_label() == f"{i}") for i in (0, 8))
    assert first.get_color() == ninth.get_color() and first.get_linestyle() != ninth.get_linestyle()


def test_the_legend_of_bars_is_the_yield() -> None:
    """A value at the level passes; one that is no number does not, and is a chip all the same."""
    values = {"rwp 0.3": [0.9] * 148 + [0.8] * 11 + [np.nan], "none": [], "at": [0.85]}
    chart = Bars("", "", {"0.1": values}, "accuracy", "chips", {"required": 0.85})
    assert chart.legend("0.1") == {
        "rwp 0.3": "rwp 0.3: 92% of chips (148 of 160)",
        "none": "none: no chips",
        "at": "at: 100% of chips (1 of 1)",
    }
    two = replace(chart, levels={"A": 0.85, "B": 0.7}).legend("0.1")["rwp 0.3"]
    assert two == "rwp 0.3: 92% of chips at A (148 of 160), 99% of chips at B (159 of 160)"
    assert replace(chart, levels={}).legend("0.1")["at"] == "at"


def test_bins_hold_every_value_and_no_more_than_they_can_tell_apart() -> None:
    values = {"a": np.r_[CHIPS.ravel()[:500], np.nan], "b": [7.0, 7.0]}
    chart = Bars("", "", {"": values, "few": {"a": [1, 1, 2]}, "none": {"a": [np.nan]}}, "x", "y", {})
    assert {label: counts.sum() for label, counts in chart.counts("").items()} == {"a": 500, "b": 2}
    assert len(chart.bins("")) == 31 and len(chart.bins("few")) == 3
    assert chart.counts("none")["a"].sum() == 0


def test_values_say_their_interval() -> None:
    assert Line([1, 2], [85.123, np.nan], "", ([84, np.nan], [86, np.nan])).texts() == [
        "85.12 (84 to 86)",
        "nan (nan to nan)",
    ]
    assert Line([1], [0.5], "").texts() == ["0.5"]


def test_the_cells_of_a_table_have_equally_many_places() -> None:
    heat = Heat("", "", [[96.04, -4.0], [np.nan, 0.05]], "ab", "cd", "x", "y", "z")
    assert [heat.text(i, j) for i in (0, 1) for j in (0, 1)] == ["96.0", "-4.0", "", "0.1"]
    assert replace(heat, values=[[0.0, np.nan]]).text(0, 0) == "0"
    assert replace(heat, values=[[0.9612]]).text(0, 0) == "0.961"


def test_few_points_of_a_logarithmic_axis_are_its_ticks() -> None:
    places, shown = log_ticks([Line([0, *PEAKS], [0, *PEAKS], "")])
    assert places == list(PEAKS) and shown == [0.01, 0.02, 0.05, 0.1, 0.2, 0.4]
    assert log_ticks([course("")]) == ([], [])
    assert log_ticks([Line([1], [1], "")]) == ([1], [1])


# On paper


def test_an_axis_of_shares_goes_from_0_to_1_and_an_axis_of_counts_has_whole_ticks() -> None:
    panels = {title: [Line([1, 2, 3], [0.1, 0.2, 0.15], "a")] for title in ("dead units", "loss")}
    chart = Lines("l", "", panels, "epoch", ["share", "nats"], share_y=False)
    shares, losses = draw(chart).axes
    assert shares.get_ylim() == pytest.approx((0, 1), abs=0.03) and losses.get_ylim()[1] < 0.3
    assert all(tick == round(tick) for tick in shares.get_xticks())
    layout = figure(chart)["layout"]
    assert layout["yaxis"]["range"] == pytest.approx([0, 1], abs=0.03) and "range" not in layout["yaxis2"]
    assert layout["xaxis"]["dtick"] == 1
    bars = Bars("b", "", {"0.1": {"a": [1.0, 1.0, 3.0]}, "0.2": {"a": [2.0]}}, Y, "chips", {}, selector=True)
    assert all(tick == round(tick) for axis in draw(bars).axes for tick in axis.get_yticks())
    assert figure(bars)["layout"]["yaxis"]["dtick"] == 1
    many = replace(bars, panels={**bars.panels, "0.2": {"a": [2.0] * 100}})
    assert "dtick" not in figure(many)["layout"]["yaxis"]  # which a selector draws over the same axis
    assert "dtick" not in figure(CHARTS["one panel"])["layout"]["xaxis"]


def test_no_axis_goes_beyond_what_a_percentage_can_be() -> None:
    wide = Line([0, 1], [95.0, 40.0], "a", ([60.0, -30.0], [130.0, 110.0]))
    chart = Lines("l", "", {"": [wide]}, "x", Y)
    assert draw(chart).axes[0].get_ylim() == (-2, 102) and figure(chart)["layout"]["yaxis"]["range"] == [-2, 102]
    near = replace(chart, panels={"": [Line([0, 1], [95.0, 94.0], "a", ([94.0, 93.0], [101.0, 95.0]))]})
    assert draw(near).axes[0].get_ylim() == (93, 101)
    assert draw(replace(chart, y="points")).axes[0].get_ylim()[1] > 130


def test_an_axis_ends_at_its_top_with_a_triangle_for_each_value_above() -> None:
    curves = [Line([1, 2, 3], [1.0, 2.0, 1.5], "rwp"), Line([1, 2, 3], [1e6, 2.0, 3e5], "sgd")]
    chart = Lines("l", "", {"signal / noise": curves}, "step", "ratio", tops={"signal / noise": 2.5})
    (axis,) = draw(chart).axes
    assert axis.get_ylim() == (0, 2.5)
    (above,) = (line for line in axis.lines if line.get_marker() == "^")
    assert above.get_xydata().tolist() == [[1, 2.5], [3, 2.5]]
    found = figure(chart)
    assert found["layout"]["yaxis"]["range"] == [0, 2.5]
    *_, above = found["data"]
    assert (above["x"], above["y"], above["legendgroup"]) == ([1, 3], [2.5, 2.5], "sgd")
    assert "1e+06" in above["hovertext"][0]  # the number is still told


@pytest.mark.parametrize("points", [1, 3])
def test_a_band_can_be_seen_over_a_single_point_too(points: int) -> None:
    x, y = list(range(points)), [0.5] * points
    band = [0.4] * points, [0.6] * points
    (axis,) = draw(Lines("", "", {"": [Line(x, y, "mean", band)]}, "x", "y")).get_axes()
    (seen,) = axis.collections
    box = seen.get_datalim(axis.transData)
    assert (box.y0, box.y1) == pytest.approx((0.4, 0.6))
    whisker = type(seen).__name__ == "LineCollection"
    assert whisker == (points == 1) and seen.get_linewidth()[0] == (1 if whisker else 0)


@pytest.mark.parametrize(
    "name", ["one panel", *(pytest.param(name, marks=pytest.mark.slow) for name in ("heat", "bars"))]
)
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_file_has_the_same_bytes_whenever_it_is_drawn(name: str, kind: str, tmp_path: Path) -> None:
    first, second = (save(CHARTS[name], tmp_path / file, (kind,))[0].read_bytes() for file in ("a", "b"))
    assert first == second
    # Two files of one second would agree on the time
    assert b"CreationDate" not in first and b"<dc:date>" not in first and b"matplotlib" not in first.lower()[-2000:]


@EACH
def test_no_text_lies_on_another_or_leaves_the_page(chart: Chart) -> None:
    drawn = draw(chart)
    drawn.canvas.draw()
    page = drawn.bbox
    boxes = list(texts(drawn))
    assert len(boxes) > 10 and drawn.get_figwidth() <= 7.2
    for said, box in boxes:
        assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, said
    for (a, one), (b, other) in combinations(boxes, 2):
        wide, high = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert wide <= 1 or high <= 1, f"{a!r} lies on {b!r}"


def texts(drawn: Any) -> Iterator[tuple[str, Any]]:
    """Every text that can be read in a figure, and its place in pixels."""
    from matplotlib.text import Text

    axes = [axis for axis in drawn.axes if axis.get_visible()]
    hidden = [axis for axis in drawn.axes if not axis.get_visible()]
    outside = set()
    for axis in axes:  # labels of ticks beyond the limits exist, and are not drawn
        for line, (low, high) in ((axis.xaxis, sorted(axis.get_xlim())), (axis.yaxis, sorted(axis.get_ylim()))):
            ticks = [*line.get_major_ticks(), *line.get_minor_ticks()]
            outside |= {label for t in ticks if not low <= t.get_loc() <= high for label in (t.label1, t.label2)}
    for text in drawn.findobj(Text):
        inside = text.axes not in hidden and text not in outside
        if inside and text.get_visible() and text.get_text().strip():
            yield text.get_text(), text.get_window_extent()


@pytest.mark.parametrize("name", ["seven curves", "forty curves", "three panels", "bars"])
def test_the_legend_of_many_covers_no_data(name: str) -> None:
    drawn = draw(CHARTS[name])
    drawn.canvas.draw()
    legends = [*drawn.legends, *(axis.get_legend() for axis in drawn.axes if axis.get_legend())]
    assert legends
    for legend in legends:
        assert not any(legend.get_window_extent().overlaps(axis.patch.get_window_extent()) for axis in drawn.axes)


def test_a_long_legend_leaves_the_axes_their_room() -> None:
    heights = []
    for name in ("one panel", "forty curves"):
        drawn = draw(CHARTS[name])
        drawn.canvas.draw()
        heights.append(drawn.axes[0].get_window_extent().height)
    assert heights[1] > 0.9 * heights[0]


def test_the_name_of_a_level_stands_inside_the_axes() -> None:
    drawn = draw(CHARTS["bars"])
    drawn.canvas.draw()
    for axis in (axis for axis in drawn.axes if axis.get_visible()):
        (name,) = axis.texts
        box, frame = name.get_window_extent(), axis.get_window_extent()
        assert name.get_text() == "required 80%" and frame.x0 <= box.x0 and box.x1 <= frame.x1


def test_paper_shows_every_panel_of_a_selector() -> None:
    for name in ("selected", "bars"):
        chart = CHARTS[name]
        assert not isinstance(chart, Heat)
        titles = [axis.get_title("left") for axis in draw(chart).axes if axis.get_visible()]
        assert titles == [f"test strength {panel}" for panel in chart.panels]


def test_a_figure_says_its_caption_and_levels(tmp_path: Path) -> None:
    paths = save(CHARTS["one panel"], tmp_path / "new" / "one")
    assert paths == [tmp_path / "new" / "one.png", tmp_path / "new" / "one.svg"]
    said = " ".join(ElementTree.parse(paths[1]).getroot().itertext())
    assert "8 seeds" in said and "required 90%" in said and X in said


def test_only_the_suffix_of_a_format_is_taken_off_a_figures_name(tmp_path: Path) -> None:
    """Names of figures hold patterns over parameters, whose dots are no suffixes."""
    names = [save(CHARTS["one panel"], tmp_path / name, ("png",))[0].name for name in ("a.-", "a.b.svg", "a")]
    assert names == ["a.-.png", "a.b.png", "a.png"]


def test_a_figure_without_a_name_can_be_drawn_and_saved(tmp_path: Path) -> None:
    drawn = Lines("", "", {"": [falling(0)]}, X, Y, "2 seeds", log_x=True, levels={"level": 50})
    assert [path.suffix for path in save(drawn, tmp_path / "one")] == [".png", ".svg"]


def test_a_figure_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, target = draw(CHARTS["one panel"]), tmp_path / "one.png"
    target.write_text("old")

    def torn(path: Path, **_: Any) -> None:
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(drawn, "savefig", torn)
    with pytest.raises(OSError, match="disk full"):
        save(drawn, target)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_bars_with_intervals_are_their_numbers_in_order() -> None:
    names = ["first", "second", "'a.*'"]
    lost = [(0.1, 0.2, 0.3), (-0.1, 0.0, 0.1), (np.nan, np.nan, np.nan)]
    drawn = effects(names, {"lost": lost, "gained": [(0.5, 0.5, 0.5)] * 3}, CAPTION, marked=1)
    drawn.canvas.draw()
    one, other = drawn.axes
    assert [text.get_text() for text in one.get_yticklabels()] == names and one.yaxis_inverted()
    assert [bar.get_width() for bar in one.patches[:2]] == [0.2, 0.0]
    assert [bar.get_width() for bar in other.patches] == [0.5] * 3
    (whiskers,) = one.collections
    assert [tuple(ends[:, 0]) for ends in whiskers.get_segments()[:2]] == [(0.1, pytest.approx(0.3)), (-0.1, 0.1)]
    assert len({bar.get_facecolor() for bar in other.patches}) == 2
    assert other.patches[0].get_facecolor() == other.patches[1].get_facecolor()
    assert (one.get_xlabel(), other.get_xlabel()) == ("lost", "gained")


@pytest.mark.parametrize("rows", [1, 4, pytest.param(54, marks=pytest.mark.slow)])
def test_no_text_of_bars_with_intervals_lies_on_another(rows: int, tmp_path: Path) -> None:
    names = [f"model.layers.{n}.attention.weight" for n in range(rows)]
    values = [(0.001 * n, 0.0012 * n, 0.0014 * n) for n in range(rows)]
    drawn = effects(names, {"lost, corrupted alone: accuracy (fraction)": values, "gained": values}, CAPTION)
    drawn.canvas.draw()
    boxes = list(texts(drawn))
    assert len(boxes) > rows and drawn.get_figwidth() <= 7.2
    for said, box in boxes:
        assert box.x0 >= -1 and box.x1 <= drawn.bbox.x1 + 1 and box.y0 >= -1 and box.y1 <= drawn.bbox.y1 + 1, said
    for (a, one), (b, other) in combinations(boxes, 2):
        wide, high = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert wide <= 1 or high <= 1, f"{a!r} lies on {b!r}"
    assert save(drawn, tmp_path / "x")[0].read_bytes() == save(drawn, tmp_path / "y")[0].read_bytes()


# On a page


def colours(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from colours(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from colours(member)
    elif key.lower().endswith("color"):
        yield value


@EACH
def test_a_dict_is_plain_and_knows_the_night(chart: Chart) -> None:
    made = figure(chart)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    both = {"rgba(0,0,0,0)", "white", "black"}  # the same by day and night
    assert {colour[:7] for colour in colours(made) if colour not in both} <= set(DARK)
    assert made["layout"]["paper_bgcolor"] == made["layout"]["plot_bgcolor"] == "rgba(0,0,0,0)"


@EACH
def test_every_trace_has_axes_to_stand_on(chart: Chart) -> None:
    made = figure(chart)
    for trace in made["data"]:
        for axis in "xy":
            assert trace.get(f"{axis}axis", axis).replace(axis, f"{axis}axis") in made["layout"]
    shown = made["layout"]["meta"]["panels"]
    rows, columns = made["layout"]["grid"]["rows"], made["layout"]["grid"]["columns"]
    assert shown == sum(name.startswith("xaxis") for name in made["layout"]) <= rows * columns
    assert len(made["layout"]["annotations"]) >= shown or isinstance(chart, Heat)


def test_a_curve_its_band_and_its_ring_go_together() -> None:
    made = figure(Lines("", "", {"": [Line([1, 2], [3, 4], "a < b", ([2, 3], [4, 5]), mark=1)]}, "x & y", "y"))
    band, curve, ring = made["data"]
    assert {trace["legendgroup"] for trace in made["data"]} == {"a < b"}
    assert band["x"] == [1, 2, 2, 1] and band["y"] == [4, 5, 3, 2] and band["fill"] == "toself"
    assert curve["hovertext"][0] == "<b>a &lt; b</b><br>x &amp; y: 1<br>y: 3 (2 to 4)"
    assert (ring["x"], ring["y"]) == ([2], [4])
    assert [trace.get("hoverinfo") for trace in made["data"]] == ["skip", "text", "skip"]


def test_a_band_has_the_gaps_of_its_curve() -> None:
    low = np.array([0.0, 1.0, np.nan, 3.0, np.nan])
    band = figure(Lines("", "", {"": [Line(range(5), low, "a", (low, low + 1))]}, "x", "y"))["data"][0]
    assert band["x"] == [0, 1, 1, 0, None, 3, 3] and band["y"] == [1, 2, 1, 0, None, 4, 3]


def test_a_selector_shows_the_first_panel_on_one_axis_that_stands_still() -> None:
    chart = CHARTS["selected"]
    assert isinstance(chart, Lines)
    made = figure(chart)
    assert made["layout"]["meta"] | {"panels": 1, "selector": True} == made["layout"]["meta"]
    assert {trace["meta"]["panel"] for trace in made["data"] if trace["visible"]} == {"0"}
    assert {trace["meta"]["panel"] for trace in made["data"]} == set(chart.panels)
    low, high = made["layout"]["yaxis"]["range"]
    every = [value for trace in made["data"] for value in trace["y"]]
    assert low < min(every) and max(every) < high


def test_bars_on_a_page_are_the_counts() -> None:
    chart = CHARTS["bars"]
    assert isinstance(chart, Bars)
    for trace in figure(chart)["data"]:
        panel, label = trace["meta"]["panel"], trace["legendgroup"]
        assert trace["y"] == chart.counts(panel)[label].tolist() and sum(trace["y"]) == 160
        assert trace["meta"]["legend"] == chart.legend(panel)[label]
        np.testing.assert_allclose(np.array(trace["x"]) - np.array(trace["width"]) / 2, chart.bins(panel)[:-1])


def test_the_name_of_a_level_stands_where_there_is_room_and_only_in_its_panel() -> None:
    chart = CHARTS["bars"]
    notes = [note for note in figure(chart)["layout"]["annotations"] if note["text"] == "required 80%"]
    assert [(note["name"], note["visible"]) for note in notes] == [(f"{test:g}", test == 0.05) for test in TESTS[1:]]
    assert notes[0]["xanchor"] == "left" and notes[-1]["xanchor"] == "right"
    (note,) = (n for n in figure(CHARTS["one panel"])["layout"]["annotations"] if n["text"] == "required 90%")
    assert (note["y"], note["x"], note["xref"]) == (90, 1, "x domain") and "visible" not in note


def test_a_table_on_a_page_keeps_its_order_and_its_gaps() -> None:
    made = figure(CHARTS["heat"])
    (cells,) = made["data"]
    assert cells["z"][3][4] is None and "no data" in cells["hovertext"][3][4] and cells["text"][3][4] == ""
    assert made["layout"]["yaxis"]["ticktext"] == list(ARMS)
    assert made["layout"]["yaxis"]["range"] == [6.5, -0.5]  # the first row on top
    middles = {((s["x0"] + s["x1"]) / 2, (s["y0"] + s["y1"]) / 2) for s in made["layout"]["shapes"]}
    assert middles == {(5, 6), (0, 0)}


def test_nothing_heavy_is_imported_before_it_draws() -> None:
    """A chart as a dict needs numpy alone."""
    code = (
        "import sys; from incorruptible.plots import Line, Lines; from incorruptible.plots.web import figure;"
        "figure(Lines('', '', {'': [Line([1], [2], 'a')]}, 'x', 'y')); import incorruptible.reports.page;"
        "print(sorted({'torch', 'matplotlib', 'plotly', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANG)
    assert done.stdout.strip() == "[]"
