"""What the command line draws, Python can: every result has a chart and a figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.text import Text
from torch import nn

import incorruptible as inc
from incorruptible.cli.terminal import draw_to
from incorruptible.corruptions import at_time, parse
from incorruptible.evaluation import AnytimeMeans, Means, OverTime, Scores
from incorruptible.evaluation.figures import Charted, Result
from incorruptible.evaluation.sensitivity import Sensitivity, sensitivity
from incorruptible.plots import save
from incorruptible.specs.durations import seconds
from small_network import Data, small_data_of, small_network

SWEEP = inc.Sampling("gaussian-filter-max:0,.1,.3", seed=0)


def over_time(model: nn.Module, data: Data) -> OverTime:
    times = tuple(seconds(one) for one in ("0s", "1h", "1d"))
    each = [at_time(parse("pcm-joshi"), one) for one in times]
    return OverTime(times, tuple(inc.measure(model, inc.accuracy, data, one, [0.5, 1.0], chips=3) for one in each))


MADE: dict[str, tuple[type, Callable[[nn.Module, Data], Result], list[str], list[str]]] = {
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
    "sensitivity": (
        Sensitivity,
        lambda model, data: sensitivity(model, inc.accuracy, data, "gaussian-filter-max", 0.3, chips=4),
        [],
        ["gaussian-filter-max, strength 0.3; 4 chips, 60 examples (validation)"],
    ),
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return small_network()


@pytest.fixture(scope="module")
def data(model: nn.Module) -> Data:
    return small_data_of(model)


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
