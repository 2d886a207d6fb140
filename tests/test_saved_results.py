"""What the command line prints, draws or writes, Python can: every result has a table, JSON, a figure and a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from torch import nn

import incorruptible as inc
from incorruptible.cli.terminal import draw_to
from incorruptible.corruptions import at_time, parse
from incorruptible.errors import UserError
from incorruptible.evaluation import AnytimeMeans, Means, OverTime, Scores
from incorruptible.evaluation.base import Charted, Drawn, Result
from incorruptible.evaluation.sensitivity import Sensitivity, sensitivity
from incorruptible.files import records
from incorruptible.plots import save
from incorruptible.specs.durations import seconds
from small_network import Data, small_network

SWEEP = inc.Sampling("gaussian-filter-max:0,.1,.3", seed=0)


def over_time(model: nn.Module, data: Data) -> OverTime:
    times = tuple(seconds(one) for one in ("0s", "1h", "1d"))
    each = [at_time(parse("pcm-joshi"), one) for one in times]
    return OverTime(times, tuple(inc.measure(model, inc.accuracy, data, one, [0.5, 1.0], chips=3) for one in each))


MADE: dict[str, tuple[type, Callable[[nn.Module, Data], Drawn], list[str], list[str]]] = {
    "scores": (
        Scores,
        lambda model, data: inc.measure(model, inc.accuracy, data, SWEEP),
        ["mean over chips", "worst chip"],
        ["25 chips, 60 examples", "band: 95%, Student's, over chips"],
    ),
    "one chip": (
        Scores,
        lambda model, data: inc.measure(model, inc.accuracy, data, inc.Gaussian("filter-max"), [0.1, 0.2], chips=1),
        ["mean over chips", "worst chip"],
        ["1 chip, 60 examples"],
    ),
    "anytime": (
        AnytimeMeans,
        lambda model, data: inc.measure_until(model, inc.accuracy, data, SWEEP, half_width=0.1),
        ["mean over chips", "lowest chip"],
        ["band: confidence 0.95, anytime-valid, over chips"],
    ),
    "subsampled": (
        Means,
        lambda model, data: inc.measure_mean(model, inc.accuracy, data, SWEEP, half_width=0.05),
        ["mean over chips"],
        ["Student's, corrected for stopping"],
    ),
    "over time": (
        OverTime,
        over_time,
        ["strength 0.5", "strength 1"],
        ["pcm-joshi; ", "3 chips, 60 examples", "(0 s is left out)"],
    ),
    "comparison": (
        inc.Comparison,
        lambda model, data: inc.compare(model, small_network(), inc.accuracy, data, SWEEP),
        ["after - before"],
        ["25 chips, the same before and after; 60 examples", "no change", "band: 95%, Student's, paired over chips"],
    ),
    "sensitivity": (
        Sensitivity,
        lambda model, data: sensitivity(model, inc.accuracy, data, "gaussian-filter-max", 0.3, chips=4),
        [],
        ["gaussian-filter-max, strength 0.3; 4 chips, 60 examples (validation)"],
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_result_is_drawn_as_the_command_line_draws_it(
    name: str, model: nn.Module, data: Data, tmp_path: Path
) -> None:
    kind, made, labels, said = MADE[name]
    found = made(model, data)
    assert type(found) is kind
    drawn = found.figure()
    assert drawn.get_axes() and drawn.get_figwidth() > 3
    shown = " ".join(" ".join(one.get_text().split()) for one in drawn.findobj(Text))
    assert all(part in shown for part in [*labels, *said]), shown
    if isinstance(found, Charted):
        chart = found.chart()
        assert [line.label for line in chart.panels[""]] == labels
        if name == "one chip":  # nothing is known of other chips
            assert "band" not in chart.caption and all(line.band is None for line in chart.panels[""])
    draw_to(tmp_path / "command.png", found)
    (own, _) = save(drawn, tmp_path / "own.png")
    assert own.read_bytes() == (tmp_path / "command.png").read_bytes()


def test_nothing_is_drawn_unasked(tmp_path: Path) -> None:
    draw_to(None, None)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def unusual(model: nn.Module, data: Data) -> Result:
    """Several reads, the scores of examples, and numbers that are not finite."""
    read = inc.Gaussian("filter-max"), 0.05
    found = inc.measure(
        model, inc.accuracy, data, SWEEP.corruption, [0.1, 0.2], chips=3, keep_examples=True, reads=2, read=read
    )
    values = found.values.copy()
    values[0, 1] = np.nan
    return replace(
        found,
        values=values,
        not_finite=np.array([[1, 2, 3], [0, 0, 0]]),
        higher_is_better=None,
        peaks=(-np.inf, np.inf),
    )


def loss(model: nn.Module, data: Data) -> Result:
    return inc.certify(model, inc.cross_entropy, data, SWEEP, threshold=9.0)


SAVED: dict[str, Callable[[nn.Module, Data], Result]] = {
    **{name: made for name, (_, made, _, _) in MADE.items()},
    "unusual": unusual,
    "yield": lambda model, data: inc.certify(model, inc.accuracy, data, SWEEP, accuracy=0.9),
    "yield by a threshold": loss,
    "fresh": lambda model, data: inc.certify_fresh(model, inc.accuracy, data, SWEEP, accuracy=0.9),
    "audit": lambda model, data: inc.audit(model, SWEEP.corruption, 0.1),
}


def kinds(kind: type[Any]) -> set[type[Any]]:
    return {kind, *(one for each in kind.__subclasses__() for one in kinds(each))}


@pytest.fixture(scope="module")
def results(model: nn.Module, data: Data) -> dict[str, Result]:
    return {name: made(model, data) for name, made in SAVED.items()}


def test_every_kind_of_result_is_saved_here(results: dict[str, Result]) -> None:
    assert {type(one) for one in results.values()} == {
        kind for kind in kinds(Result) if not getattr(kind, "__abstractmethods__", ())
    }


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_result_is_the_same_when_it_is_loaded(name: str, results: dict[str, Result], tmp_path: Path) -> None:
    found, path = results[name], tmp_path / "found.json"
    found.save(path)
    again = type(found).load(path)
    assert again == found and again is not found
    assert (again.table(), str(again), repr(again)) == (found.table(), str(found), repr(found))
    assert json.dumps(records.plain(again.plain())) == json.dumps(records.plain(found.plain()))
    if isinstance(found, Drawn):
        assert isinstance(again, Drawn)
        drawn = [save(one.figure(), tmp_path / f"{k}.png")[0] for k, one in enumerate((found, again))]
        assert drawn[0].read_bytes() == drawn[1].read_bytes()
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    written = records.read(path)
    assert {key: written[key] for key in found.plain()} == records.plain(found.plain())


def test_arrays_come_back_with_their_types(results: dict[str, Result], tmp_path: Path) -> None:
    found = results["unusual"]
    found.save(tmp_path / "found.json")
    again = Scores.load(tmp_path / "found.json")
    assert isinstance(found, Scores) and found.examples is not None and found.reads is not None
    for one, other in (
        (again.values, found.values),
        (again.reads, found.reads),
        (again.examples, found.examples),
        (again.not_finite, found.not_finite),
    ):
        assert one is not None and other is not None
        assert one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


def test_results_differ_where_a_number_does(results: dict[str, Result]) -> None:
    found = results["scores"]
    assert isinstance(found, Scores)
    values = found.values.copy()
    values[1, 2] += 1e-12
    assert found != replace(found, values=values) and found == replace(found) and found != results["one chip"]
    assert found != "scores" and results["fresh"] != results["yield"]


def test_a_wrong_file_gets_one_line(results: dict[str, Result], tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    with pytest.raises(UserError, match=r"found\.json: no such file\."):
        Scores.load(path)
    results["anytime"].save(path)
    with pytest.raises(UserError, match=r"holds no saved Scores: read it with AnytimeMeans\.load\.$"):
        Scores.load(path)
    records.write(path, results["scores"].plain())  # as --out writes it
    with pytest.raises(UserError, match=r"holds no saved Scores: \.save\(path\) writes one, --out does not\.$"):
        Scores.load(path)
    records.write(path, {"result": "Scores", "fields": {"values": [[1.0]]}})
    with pytest.raises(UserError, match=r"was saved by another version, with other fields\.$"):
        Scores.load(path)
    results["scores"].save(path)
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="checksum"):
        Scores.load(path)


def test_fields_that_an_earlier_version_did_not_have_keep_their_defaults(
    results: dict[str, Result], tmp_path: Path
) -> None:
    results["scores"].save(tmp_path / "found.json")
    record = records.read(tmp_path / "found.json")
    del record["fields"]["channels_last"], record["fields"]["peaks"]
    records.write(tmp_path / "found.json", record)
    again = Scores.load(tmp_path / "found.json")
    assert again.channels_last is False and np.isnan(again.peaks).all()
