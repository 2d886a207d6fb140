"""`incorruptible device`, as its users type it, and the numbers behind it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import cells
from incorruptible import objectives, schedules
from incorruptible.cli.device import BIASED
from incorruptible.corruptions import Gaussian, equivalent, parse
from incorruptible.corruptions.equivalence import translate
from incorruptible.errors import UserError
from incorruptible.weights.arrays import Array
from typing_commands import Type, typing

OWN = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > x[:, 1]).long()
task = Task(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), test=(x, y), train=(x, y))
bare = Task(lambda: nn.LayerNorm(6), test=(x, y))
"""
FOR = ["--for", "own.py:task", "--weights", "w.safetensors"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: cells, a task and weights for it."""
    (tmp_path / "own.py").write_text(OWN)
    state = {f"{k}.{name}": value for k, name, value in weights()}
    save_file(state, tmp_path / "w.safetensors")
    cells.write(tmp_path / "cells.csv", times=("20s", "1h"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights() -> list[tuple[int, str, torch.Tensor]]:
    source = torch.Generator().manual_seed(0)
    shapes = [(0, "weight", (8, 6)), (0, "bias", (8,)), (2, "weight", (2, 8)), (2, "bias", (2,))]
    return [(k, name, torch.randn(shape, generator=source)) for k, name, shape in shapes]


def arrays() -> list[Array]:
    return [Array(f"{k}.{name}", value) for k, name, value in weights() if name == "weight"]


@pytest.fixture
def type_(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Types commands in the user's folder."""
    return typing(monkeypatch, capsys)


def test_a_device_alone(type_: Type) -> None:
    said = type_("device", "pcm-joshi", "--time", "1d")
    assert (said.code, said.err) == (0, "")
    first, conditions, source, _, head, *rows, foot = said.out.splitlines()
    assert first.startswith("pcm-joshi:time=1d at 1 [multiple of the error as measured") and "no model" in first
    assert "0.25 to 25 uS, one-sided pair" in conditions and "1d after programming" in conditions
    assert "Joshi et al. 2020" in source and head.split() == ["w/max|W|", "error:", "mean", "std"]
    table = [[float(part) for part in row.split()] for row in rows]
    assert [row[0] for row in table] == pytest.approx([-1 + k / 5 for k in range(11)]) and "max|W|" in foot
    moments = parse("pcm-joshi:time=1d").moments(Array("w", torch.ones(1, 1)), 1.0)
    assert table[-1][1:] == pytest.approx([float(moments.mean), float(moments.std)], abs=1e-4)
    assert table[0][1] == -table[-1][1]


def test_a_device_for_a_model(type_: Type, here: Path) -> None:
    said = type_("device", "pcm-joshi", "--time", "1d", *FOR, "--json")
    found = json.loads(said.out)
    assert said.code == 0 and "next: " not in said.err
    expected = equivalent(parse("pcm-joshi:time=1d"), 1.0, arrays())
    assert found["whole"]["strength"] == pytest.approx(expected.strength, rel=1e-5)
    assert {one["name"]: one["strength"] for one in found["layers"]} == pytest.approx(expected.arrays, rel=1e-5)
    assert [one["weights"] for one in found["layers"]] == [48, 16] and found["whole"]["weights"] == 64
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1)
    assert found["corruption"] == "pcm-joshi:time=1d" and "1d after programming" in found["conditions"]
    said = type_("device", "pcm-joshi", "--time", "1d", *FOR)
    assert f"{expected.strength:.4f}" in said.out and "0.weight" in said.out and said.code == 0
    assert re.findall(r"next: (.*)", said.err) == found["next"]


def test_a_table_holds_errors_of_any_size(type_: Type) -> None:
    lines = type_("device", "float-flips:1e-4", *FOR).out.splitlines()
    assert "e+3" in "".join(lines) and max(map(len, lines)) < 120


def test_the_lines_to_type_next_are_trainings(type_: Type) -> None:
    found = json.loads(type_("device", "pcm-joshi", *FOR, "--json").out)
    assert found["whole"]["bias"] < BIASED
    plain, device = found["next"]
    assert plain.startswith("incorruptible train own.py:task --objective 'rwp(gaussian-filter-max)' --strength 0.")
    assert device.endswith("--objective 'rwp(pcm-joshi)' --strength 1 --from w.safetensors")
    for line in found["next"]:
        _, objective, rest = line.split("'")
        asked, strength, *start = rest.split()
        assert asked == "--strength" and start == ["--from", "w.safetensors"]
        assert str(objectives.parse(objective)) == objective and schedules.parse(strength)
    # as large as 1e36, which is no training's
    (only,) = json.loads(type_("device", "float-flips:1e-4", *FOR, "--json").out)["next"]
    assert only.endswith("--objective 'rwp(float-flips)' --strength 0.0001 --from w.safetensors")


def test_where_most_of_the_error_is_bias_the_device_comes_first(type_: Type) -> None:
    said = type_("device", "pcm-joshi", "--time", "1d", *FOR)
    reason, tip, device, plain = said.err.splitlines()
    assert "of the squared error is bias" in reason and "train on pcm-joshi:time=1d itself first" in reason
    assert tip.startswith("incorruptible: tip: pcm-joshi has drifted for 1d")
    assert "'rwp(pcm-joshi:time=1d)' --strength 1 " in device and "rwp(gaussian-filter-max)" in plain
    # what corrects the drift takes most of the bias away, and with it the reason and the tip
    words = ["device", "pcm-joshi:time=1d:compensation=global", *FOR]
    assert json.loads(type_(*words, "--json").out)["whole"]["bias"] < BIASED
    assert [line[:6] for line in type_(*words).err.splitlines()] == ["next: "] * 2


def test_the_tip_on_drift_keeps_the_fields_of_the_device(type_: Type) -> None:
    text = "pcm-joshi:g_max=20:time=1d"
    tip = next(line for line in type_("device", text, *FOR).err.splitlines() if "tip:" in line)
    advice = tip.split("what is read does: ")[1].split(",")[0]
    assert advice == "pcm-joshi:1:g_max=20:time=1d:compensation=global"
    assert "tip:" not in type_("device", advice, *FOR).err


def test_the_share_of_bias_has_a_head_in_plain_words(type_: Type) -> None:
    head = type_("device", "pcm-joshi", *FOR).out.splitlines()[-4]
    assert head.split("  ")[1:] == ["gaussian-filter-max", "bias, share of its square", "weights"]


@pytest.mark.parametrize(
    ("words", "corruption", "strength"),
    [
        (["dropconnect:.01"], "dropconnect", 0.01),
        (["dropconnect", "--strength", ".01"], "dropconnect", 0.01),
        (["pcm-joshi:2:time=1h"], "pcm-joshi:time=1h", 2.0),
        (["pcm-joshi", "--strength", "2", "--time", "1h"], "pcm-joshi:time=1h", 2.0),
        (["pcm-joshi"], "pcm-joshi", 1.0),
        (["mixture(pcm-joshi):1", "--time", "1h"], "mixture(pcm-joshi:time=1h)", 1.0),
        (["stored(crossbar:levels=4|drop):0"], "stored(crossbar:levels=4|drop)", 0.0),
    ],
)
def test_a_strength_stands_in_the_text_or_beside_it(
    words: list[str], corruption: str, strength: float, type_: Type
) -> None:
    found = json.loads(type_("device", *words, "--json").out)
    assert (found["corruption"], found["strength"], found["whole"]) == (corruption, strength, None)


def test_what_is_quantised_says_so_at_strength_0(type_: Type) -> None:
    """A crossbar of 4 levels for each sign: x rounded to thirds."""
    found = json.loads(type_("device", "stored(crossbar:levels=4|drop):0", "--json").out)
    for row in found["rows"]:
        assert row["mean"] == pytest.approx(round(row["x"] * 3) / 3 - row["x"], abs=1e-6)
        assert row["std"] == pytest.approx(0, abs=1e-6)


def test_cells_of_ones_own_and_their_fit(type_: Type, here: Path) -> None:
    said = type_("device", "measured:file=cells.csv", "--figure", "fit.png")
    assert (said.code, said.err) == (0, "")
    assert "cells.csv, 20s after programming: 200 cells" in said.out and "cells.csv, 1h after programming" in said.out
    assert "measured:file=cells.csv:sha=" in said.out and "95% interval" in said.out and "kurtosis" in said.out
    assert (here / "fit.png").read_bytes()[:4] == b"\x89PNG" and "target (uS)" in (here / "fit.svg").read_text()
    found = json.loads(type_("device", "measured:file=cells.csv", "--json").out)["fit"]
    assert [(one["time"], one["cells"], len(one["knots"])) for one in found] == [(20, 200, 8), (3600, 200, 8)]
    for knot in found[0]["knots"]:
        assert knot["shift_low"] < knot["shift"] < knot["shift_high"]
        assert 0 < knot["spread_low"] < knot["spread"] < knot["spread_high"]


def test_figures(type_: Type, here: Path) -> None:
    words = ["device", "measured:file=cells.csv", "--time", "1h", *FOR, "--figure", "d.png", "--out", "d.json"]
    assert type_(*words).code == 0
    drawn = (here / "d.svg").read_text()
    empty = sum(row["share"] == 0 for row in json.loads((here / "d.json").read_text())["fine"])
    assert empty and f"no line at {empty} of 41 places, where the model has no" in drawn  # the caption goes on below
    assert "weights of the model" in drawn and "max|W|" in drawn and (here / "d-fit.png").exists()
    kept = json.loads((here / "d.json").read_text())
    assert kept["command"].startswith("incorruptible device measured:file=cells.csv") and kept["fit"]
    said = type_(*words)
    assert said.code == 2 and "is there already; --force overwrites it" in said.err
    (here / "d.png").unlink(), (here / "d.svg").unlink(), (here / "d.json").unlink()
    said = type_(*words)
    assert said.code == 2 and "d-fit.png is there already" in said.err and not (here / "d.json").exists()


def test_the_figure_of_a_device_alone(type_: Type, here: Path) -> None:
    (here / "alone.png").write_bytes(b"old")
    words = ["device", "pcm-joshi", "--figure", "alone.png"]
    assert type_(*words).code == 2 and (here / "alone.png").read_bytes() == b"old"
    assert type_(*words, "--force").code == 0 and "pcm-joshi" in (here / "alone.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sonoss"], "No corruption 'sonoss' here"),
        (["dropconnect"], "dropconnect: at which strength? Add --strength S, in units of: share of weights"),
        (["dropconnect:.1,.2"], "2 strengths; one is needed"),
        (["dropconnect:.1", "--strength", ".1"], "has a strength, and --strength 0.1 is given too; give one of them"),
        (["dropconnect:2"], "strength 2: at most 1"),
        (["dropconnect", "--strength", "2"], "strength 2: at most 1"),
        (["pcm-joshi", "--strength", "-1"], "strength -1.0: a finite number that is not negative is needed"),
        (["pcm-joshi", "--strength", "nan"], "strength nan"),
        (["dropconnect:.1", "--time", "1d"], "dropconnect has no time"),
        (["pcm-joshi:time=1h", "--time", "1d"], "has a time, and --time 1d is given too; give one of them"),
        (["pcm-joshi", "--time", "1"], "time '1' has no unit"),
        (["pcm-joshi", "--time", "1h,1d"], "--time 1h,1d: one time is needed; `measure` takes several"),
        (["pcm-joshi", "--weights", "w.safetensors"], "are of a model: add --for MODEL"),
        (["pcm-joshi", "--for", "no/run"], "no/run: no such folder"),
        (["pcm-joshi", "--for", "digits"], "digits has no weights yet: give --weights FILE"),
        (["pcm-joshi", "--for", "own.py:bare"], "has no weight to perturb"),
        (["pcm-joshi", *FOR, "--protect", "*"], "every weight of Sequential is left out by '*'"),
        (["measured:file=no.csv"], "no.csv: no such file"),
        (["measured:file=cells.csv", "--time", "1d"], "the cells in cells.csv were read from 20s to 1h"),
        (["pcm-joshi", "--figure", "x.gif"], "x.gif: a file that ends in .png or .svg"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(words: list[str], message: str, type_: Type, here: Path) -> None:
    said = type_("device", *words)
    assert said.code == 2 and said.out == "" and message in said.err
    assert len([line for line in said.err.splitlines() if "--weights is missing" not in line]) == 1


def test_biased_and_unbiased_errors_by_hand() -> None:
    """Without bias under Gaussian noise; e^z - 1 of a lognormal error of strength 1 has mean .65 and std 2.16 of the weight."""
    assert translate(Gaussian("filter-max"), 0.3, arrays()).whole is not None
    plain = translate(Gaussian("filter-max"), 0.3, arrays())
    assert plain.whole and plain.whole.bias == 0 and plain.whole.strength == pytest.approx(0.3)
    mean, square = math.exp(0.5) - 1, math.exp(2) - 2 * math.exp(0.5) + 1
    found = translate(parse("lognormal"), 1.0, arrays())
    for layer in (*found.layers, found.whole):
        assert layer is not None and layer.bias == pytest.approx(mean**2 / square, rel=1e-5)
    row: Any = translate(parse("lognormal"), 1.0).rows[-1]
    assert (row.x, row.share) == (1.0, None)
    assert (row.mean, row.std) == pytest.approx((mean, math.sqrt(square - mean**2)))


def test_bins_by_hand() -> None:
    """Two weights nearest to 1, two to .4; a layer of zeros has no place on the axis and no error."""
    found = translate(
        Gaussian("layer-max"), 0.1, [Array("a", torch.tensor([[10.0, 9.5, 3.9, -3.6]])), Array("z", torch.zeros(2, 2))]
    )
    shares = {row.x: row.share for row in found.rows if row.share}
    assert shares == {1.0: 0.5, 0.4: 0.25, -0.4: 0.25}
    assert all(math.isnan(row.mean) for row in found.rows if not row.share)
    assert found.layers[1].strength == 0 and found.layers[1].bias == 0
    with pytest.raises(UserError, match="no weight to perturb"):
        translate(Gaussian("layer-max"), 0.1, [])
