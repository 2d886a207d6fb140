"""A device from cells of one's own: what is read, what is fitted and how surely, and what is refused.

Coverage is judged as in `alarms`: a sound interval fails each statement with a chance of at most .001.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import cells as simulated
from alarms import REPETITIONS, breaks
from incorruptible.corruptions import Measured, at_time, parse
from incorruptible.corruptions.cells import Cells, read, sha_of
from incorruptible.corruptions.devices import fits
from incorruptible.corruptions.fitting import CellFit, knots_of
from incorruptible.errors import UserError
from incorruptible.randomness.streams import Draw
from incorruptible.weights.arrays import Array

HERE = Path(__file__).parent / "data" / "cells.csv"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    simulated.write(tmp_path / "cells.csv", cells=400, times=("20s", "1h", "1d"))
    return tmp_path


def sample(targets: np.ndarray, source: np.random.Generator, heavy: bool = False) -> Cells:
    g = np.sort(targets)
    z = source.standard_t(8, len(g)) / math.sqrt(8 / 6) if heavy else source.standard_normal(len(g))
    return Cells(g, np.maximum(0, g + simulated.shift(g, "1d") + simulated.spread(g, "1d") * z), None)


def test_the_file_of_the_promises_is_what_the_simulation_makes(tmp_path: Path) -> None:
    made = simulated.write(tmp_path / "cells.csv", cells=12, times=("20s", "1h"))
    assert made.read_bytes() == HERE.read_bytes() and sha_of(HERE.read_bytes()) == "af72da58"


@pytest.mark.parametrize(
    ("targets", "heavy"),
    [
        (np.repeat(np.linspace(0, 20, 8), 15), False),
        (np.repeat(np.linspace(0.5, 20, 12), 25), False),
        pytest.param(np.repeat(np.linspace(4, 20, 8), 25), True, marks=pytest.mark.slow),
        pytest.param(np.random.default_rng(3).uniform(0.5, 20, 300), False, marks=pytest.mark.slow),
    ],
    ids=["from 0, where half of the cells are cut", "repeated", "heavy tails", "each target once"],
)
def test_intervals_cover(targets: np.ndarray, heavy: bool) -> None:
    """At the ends and within, of the shift and of the spread: the true one is missed in at most 5% of 200 simulations.

    Under heavy tails (Student's t of 8 degrees of freedom) few cells know too
    little of their kurtosis: 10% of the spreads, as documented.
    """
    source, knots = np.random.default_rng(1), knots_of(targets)
    at = knots[[0, 1, len(knots) // 2, -1]]
    truth = simulated.shift(at, "1d"), simulated.spread(at, "1d")
    misses = np.zeros((2, 4), dtype=int)
    for _ in range(REPETITIONS):
        found = CellFit(sample(targets, source, heavy)).bounds(at)
        misses[0] += (found.shift_low > truth[0]) | (found.shift_high < truth[0])
        misses[1] += (found.spread_low > truth[1]) | (found.spread_high < truth[1])
    assert misses.sum() > 0  # intervals so wide that they never miss would say nothing
    assert not any(breaks(int(one)) for one in misses[0]), misses
    assert not any(breaks(int(one), rate=0.1 if heavy else 0.05) for one in misses[1]), misses


def test_where_targets_repeat_it_is_the_mean_and_standard_deviation_at_each() -> None:
    cells = sample(np.repeat(np.linspace(8, 20, 5), 20), np.random.default_rng(2))
    found, error = CellFit(cells), (cells.measured - cells.target).reshape(5, 20)
    np.testing.assert_allclose(found.shift, error.mean(1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.spread, error.std(1, ddof=1), rtol=1e-5)
    bounds = found.bounds(found.knots)
    half = 2.093024 * error.std(1, ddof=1) / math.sqrt(20)  # Student's t at .975, 19 degrees of freedom
    np.testing.assert_allclose(bounds.shift_high - bounds.shift, half, rtol=1e-4)


def test_cells_that_read_0_are_not_taken_for_small_errors() -> None:
    """Of N(0, 1) at target 0 cut at 0, the plain mean is .40 and the spread .58; five standard errors of 40,000 cells allowed."""
    g = np.repeat([0.0, 5.0, 10.0, 20.0], 40_000)
    z = np.random.default_rng(0).standard_normal(len(g))
    found = CellFit(Cells(g, np.maximum(0, g + z), None))
    assert found.shift[0] == pytest.approx(0, abs=0.05) and found.spread[0] == pytest.approx(1, abs=0.05)


def test_knots_by_hand() -> None:
    assert knots_of(np.repeat([1.0, 2, 3, 4], 10)).tolist() == [1, 2, 3, 4]
    assert knots_of(np.repeat([1.0, 2, 3, 4, 5], 9)).tolist() == [1, 3, 5]
    assert len(knots_of(np.arange(400.0))) == 10 and len(knots_of(np.arange(9000.0))) == 12


def test_a_known_device_is_found_again(here: Path) -> None:
    """pcm-joshi's cells at 1 h, 300 at each of 15 targets: its moments come back, to 5 standard errors of fitted ones."""
    device, array = (
        parse("pcm-joshi:time=1h"),
        Array("w", torch.linspace(0, 1, 15).double().repeat(300, 1).T.contiguous()),
    )
    held = device.encode(array)  # type: ignore[attr-defined]
    value = device.stored()._through(held, 1.0, Draw(0, "cells", 0).of("w"))  # type: ignore[attr-defined]
    pairs = zip(held.value[0].flatten().tolist(), value[0].flatten().tolist(), strict=True)
    (here / "pcm.csv").write_text("measured,cell,target\n" + "".join(f"{b!r},x,{a!r}\n" for a, b in pairs))
    # g_min is not measured in the second device of each pair, which holds zero all the same
    mine = parse("measured:file=pcm.csv:mapping=offset")
    theirs = parse("pcm-joshi:time=1h:mapping=offset")
    probe = Array("w", torch.linspace(-1, 1, 15).double()[None])
    one, two = mine.moments(probe, 1.0), theirs.moments(probe, 1.0)
    error = two.std / math.sqrt(300)
    assert bool(((one.mean - two.mean).abs() < 5 * error).all())
    # the drift makes the tails a little longer than Gaussian: twice the normal standard error of a spread
    assert bool(((one.std / two.std - 1).abs() < 5 * 2 / math.sqrt(600)).all())


def test_moments_are_those_of_the_fitted_law(here: Path) -> None:
    """By hand at the largest target: shift and spread, linear in log time between 20 s and 1 h, none beyond."""
    top = Array("w", torch.ones(1, 1, dtype=torch.float64))
    span = 20 - 0.5
    by_time = {}
    for time in ("20s", "1h", "1d"):
        device = parse(f"measured:file=cells.csv:mapping=offset:time={time}")
        by_time[time] = device.moments(top, 1.0)
        place = list(simulated.SHIFTS).index(time)
        curve = device.fitted.curves[place]  # type: ignore[attr-defined]
        assert float(by_time[time].mean) == pytest.approx(2 * curve.shift[-1] / span)
        assert float(by_time[time].std) == pytest.approx(2 * curve.spread[-1] / span)
    middle = math.sqrt(20 * 3600)
    found = parse(f"measured:file=cells.csv:mapping=offset:time={middle}s").moments(top, 1.0)
    for name in ("mean", "std"):
        ends = float(getattr(by_time["20s"], name)), float(getattr(by_time["1h"], name))
        assert float(getattr(found, name)) == pytest.approx(sum(ends) / 2)


def test_the_same_cells_age(here: Path) -> None:
    """A chip keeps its cells' ranks, and compensation compares it with what it was when it was first read."""
    array, noise = Array("w", torch.full((20, 30), 1.0)), Draw(0, "test", 0).of("w")
    young, old = (parse(f"measured:file=cells.csv:time={time}") for time in ("20s", "1d"))
    one, two = young(array, 1.0, noise).flatten(), old(array, 1.0, noise).flatten()
    assert float(torch.corrcoef(torch.stack([one, two]))[0, 1]) > 0.95
    restored = parse("measured:file=cells.csv:time=1d:compensation=global")(array, 1.0, noise)
    assert float(restored.abs().sum()) == pytest.approx(float(one.abs().sum()), rel=1e-5)
    assert float(two.abs().sum()) < 0.95 * float(one.abs().sum())


def test_ranges_and_defaults_are_what_was_measured(here: Path) -> None:
    device = parse("measured:file=cells.csv")
    assert isinstance(device, Measured) and isinstance(at_time(device, "1d"), Measured)
    assert (device.lowest, device.g_max, str(device.time)) == (0.5, 20, "20s")
    assert str(at_time(device, "1d")) == f"{device}:time=1d" and str(at_time(device, "20s")) == str(device)
    assert parse("measured:file=cells.csv:g_max=20:g_min=.5:time=20s") == device
    assert parse("measured:file=cells.csv:on_off=4").lowest == 5  # type: ignore[attr-defined]
    assert "0.5 to 20 uS" in device.conditions and "20s after" in device.conditions and "cells.csv" in device.conditions


def test_what_is_written_down_follows_the_content(here: Path) -> None:
    text = str(parse("measured:file=cells.csv"))
    content = (here / "cells.csv").read_bytes()
    assert text == f"measured:file=cells.csv:sha={sha_of(content)}"
    kept = parse(text)
    simulated.write(here / "cells.csv", seed=1)
    with pytest.raises(UserError, match=r"cells\.csv has changed: its sha is [0-9a-f]{8} and not") as caught:
        parse(text)
    assert "\n" not in str(caught.value) and str(parse("measured:file=cells.csv")) != text
    assert kept.moments(Array("w", torch.ones(2, 2)), 1.0)  # what was read in time stays as it was
    assert isinstance(kept, Measured)
    with pytest.raises(UserError, match="has changed since it was read"):
        fits(kept)


def test_columns_times_and_blank_lines_are_read() -> None:
    rows = [f"{g},x,{g + 0.1 * (k % 3)},{time}" for time in ("1h", "2e+1") for g in (1, 2, 3, 4) for k in range(10)]
    text = "\ufeff Target ,name,MEASURED,time\r\n" + "\r\n\r\n".join(rows) + "\r\n"
    first, second = read(text.encode(), "c.csv")
    assert [str(one.time) for one in (first, second)] == ["20s", "1h"]
    assert first.target.tolist() == sorted([1.0, 2.0, 3.0, 4.0] * 10)


GOOD = [f"{g},{g + 0.1 * k}" for g in (1, 2, 3, 4, 5) for k in range(10)]


def file_of(*rows: str, head: str = "target,measured") -> str:
    return "\n".join([head, *rows]) + "\n"


BAD = {
    "empty": ("", "c.csv line 1 is empty: it must name the columns"),
    "head only": (file_of(), "c.csv has no cells: at least 30 are needed"),
    "no measured": (file_of(*GOOD, head="target,value"), "c.csv line 1: no column measured"),
    "no target": (file_of(*GOOD, head="goal,measured"), "c.csv line 1: no column target"),
    "semicolons": ("target;measured\n1;2\n", "with commas between, are needed, and the line is 'target;measured'."),
    "twice": (file_of("1,1", head="target,measured,target"), "c.csv line 1: two columns are called target"),
    "gap": (file_of(*GOOD[:3], "4,"), "c.csv line 5: measured is empty"),
    "no time": (file_of("1,1,", head="target,measured,time"), "c.csv line 2: time is empty"),
    "text": (file_of("1,1", "much,1"), "c.csv line 3: target 'much' is no number"),
    "nan": (file_of("1,nan"), "c.csv line 2: measured 'nan': a finite conductance"),
    "inf": (file_of("inf,1"), "c.csv line 2: target 'inf': a finite conductance"),
    "negative": (file_of("1,-0.1"), "c.csv line 2: measured -0.1: a conductance is not negative"),
    "ragged": (file_of("1,1", "1,5,3"), "c.csv line 3: 3 values where the first line names 2 columns"),
    "bad unit": (file_of("1,1,3x", head="target,measured,time"), "c.csv line 2: time '3x': no unit 'x'"),
    "time nan": (file_of("1,1,nan", head="target,measured,time"), "c.csv line 2: time nan: a finite time"),
    "negative time": (file_of("1,1,-3", head="target,measured,time"), "c.csv line 2: time -3.0: a finite time"),
    "few cells": (file_of(*GOOD[:29]), "c.csv: 29 cells: at least 30 are needed"),
    "few targets": (file_of(*GOOD[:30]), "c.csv: 3 different targets: at least 4 are needed"),
    "few at one time": (
        file_of(*[f"{one},1h" for one in GOOD], *[f"{one},1d" for one in GOOD[:20]], head="target,measured,time"),
        "c.csv: 20 cells at 1d: at least 30 are needed",
    ),
    "time 0": (
        file_of(*[f"{one},{time}" for one in GOOD for time in (0, "1d")], head="target,measured,time"),
        "c.csv: time 0 among others",
    ),
    "no error": (file_of(*[f"{g},{g}" for g in range(40)]), "c.csv: cells of one target do not differ"),
    "no spread": (file_of(*[f"{g},{0.9 * g}" for g in range(40)]), "c.csv: cells of one target do not differ"),
    "all zero": (file_of(*[f"{g},0" for g in range(40)]), "c.csv: cells of one target do not differ"),
    "siemens and more": (file_of("1,1e7"), "c.csv line 2: measured 1e7: no memory cell has more than 1e+06 uS"),
    "one huge field": (file_of("1," + "9" * 200_000), "c.csv line 2 is no CSV: field larger than field limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_answered_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, message = BAD[name]
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse("measured:file=c.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("measured", "measured also needs file"),
        ("measured:file=", "measured: file '': a path without"),
        ("measured:file=no.csv", "no.csv: no such file"),
        ("measured:file=.", ". cannot be read: Is a directory"),
        ("measured:file=bytes.csv", "bytes.csv is no text"),
        ("measured:file=cells.csv:sha=123", "cells.csv has changed: its sha is"),
        (
            "measured:file=cells.csv:g_max=21",
            "measured: 0.5 to 21 uS is outside 0.5 to 20 uS, the targets in cells.csv",
        ),
        ("measured:file=cells.csv:g_min=0", "measured: 0 to 20 uS is outside 0.5 to 20 uS"),
        ("measured:file=cells.csv:on_off=100", "measured: 0.2 to 20 uS is outside"),
        ("measured:file=cells.csv:g_min=1:on_off=4", "say the same thing; give one"),
        ("measured:file=cells.csv:time=19s", "the cells in cells.csv were read from 20s to 1d; choose a time within"),
        ("measured:file=cells.csv:time=2d", "the cells in cells.csv were read from 20s to 1d"),
        ("measured:file=once.csv:time=1d", "the cells in once.csv were read at 20s only"),
        ("measured:file=timeless.csv:time=1d", "timeless.csv has no column time"),
    ],
)
def test_what_was_not_measured_is_refused_in_one_line(text: str, message: str, here: Path) -> None:
    simulated.write(here / "once.csv")
    (here / "timeless.csv").write_text(file_of(*GOOD))
    (here / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
