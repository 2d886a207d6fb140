"""Bridges to CrossSim and aihwkit-lightning: what is said where they are absent, and agreement where they are there.

`make test-peers` brings both. Statistical tests fix their seeds and their n; each statement fails where the two agree with a
chance of at most ALARM: with 4 devices, a fifth row for drift, 7 weights and 3 statements, and 12 for the Gaussian, less
than 2e-3 for the whole file.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

import incorruptible as inc
from incorruptible.bridges import CrossSim, evaluate, noisy_configuration, parameters, to_aihwkit_lightning
from incorruptible.bridges.crosssim import matrix_of, seeded, tensor_of
from incorruptible.bridges.simulated import converted
from incorruptible.corruptions import DEVICES, Device
from incorruptible.errors import UserError
from incorruptible.randomness.streams import Draw
from incorruptible.weights.arrays import Array, select
from incorruptible.weights.swap import replaced
from typing_commands import typing

ALARM = 1e-5
SAMPLES = 20_000  # cells for each weight
TOLERANCE = 1e-5
# of the largest weight: below it CrossSim's float32 decides. A SONOS cell that is off errs by some 1e-8, of which
# A - A exp(-I / B) at I / B = 1e-6 loses several per cent
ROUNDED = 1e-6
LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, -0.5)

OWN = """
import torch
from torch import nn
from incorruptible import Task

x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > x[:, 1]).long()


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


class Net(nn.Sequential):
    pass


task = Task(model, test=(x, y), train=(x, y))
named = Task(lambda: Net(nn.Linear(6, 2)), test=(x, y))
"""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, stride=2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 5),
    ).eval()


def images(n: int = 32) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randn(n, 2, 8, 8, generator=source), torch.randint(0, 5, (n,), generator=source)


@pytest.fixture
def crosssim() -> Any:
    return pytest.importorskip("simulator", reason="CrossSim is not installed: make test-peers")


@pytest.fixture
def lightning() -> Any:
    return pytest.importorskip("aihwkit_lightning", reason="aihwkit-lightning is not installed: make test-peers")


# where a peer is absent


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither peer can be imported."""
    for package in ("simulator", "aihwkit_lightning"):
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: parameters("PCMJoshi"), "pip install --no-deps git+https://github.com/sandialabs/cross-sim@v3.2.0"),
        (lambda: CrossSim(None), "pip install --no-deps git+https://github.com/sandialabs/cross-sim@v3.2.0"),
        (lambda: to_aihwkit_lightning(network()), "pip install --no-deps aihwkit-lightning==2.1.0"),
        (lambda: noisy_configuration(0.1), "pip install --no-deps aihwkit-lightning==2.1.0"),
    ],
)
def test_an_absent_peer_is_one_line_that_says_what_to_install(call: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert "is not installed" in str(caught.value) and line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("crosssim", "own.py:task", "--device", "PCMJoshi"), "git+https://github.com/sandialabs/cross-sim@v3.2.0"),
        (("aihwkit-lightning", "own.py:task", "--out", "m.pt"), "--no-deps aihwkit-lightning==2.1.0"),
    ],
)
def test_the_command_exits_with_two_where_the_peer_is_absent(
    words: tuple[str, ...],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    said = typing(monkeypatch, capsys)("bridge", *words)
    assert said.code == 2 and said.out == "" and line in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "m.pt").exists()


def test_another_package_of_crosssims_name_is_told_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simulator", types.ModuleType("simulator"))
    with pytest.raises(UserError, match="is not CrossSim"):
        parameters("PCMJoshi")


# [filter, fan-in]


KINDS: dict[str, nn.Module] = {
    "linear": nn.Linear(3, 4),
    "conv1d": nn.Conv1d(2, 4, 3),
    "grouped conv2d": nn.Conv2d(4, 6, (3, 2), groups=2),
    "conv3d": nn.Conv3d(2, 3, 2),
    "transposed": nn.ConvTranspose2d(4, 3, (3, 2)),
    "grouped transposed": nn.ConvTranspose1d(4, 6, 3, groups=2),
    "attention": nn.MultiheadAttention(4, 2),
    "recurrent": nn.LSTM(3, 5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_is_seen_as_filters_and_back(kind: str) -> None:
    for array in select(KINDS[kind]):
        matrix = matrix_of(array)
        assert matrix.shape == (array.filters, array.value.numel() // array.filters)
        assert torch.equal(tensor_of(matrix, array), array.value)
        # each row is one filter: its largest weight is the array's own idea of it
        assert torch.equal(
            tensor_of(matrix.abs().amax(1, keepdim=True).expand_as(matrix), array), array.peak().expand_as(array.value)
        )


def test_a_vector_is_one_filter() -> None:
    array = Array("b", torch.arange(3.0), axis=None)
    assert matrix_of(array).shape == (1, 3) and torch.equal(tensor_of(matrix_of(array), array), array.value)


# CrossSim


@pytest.mark.usefixtures("crosssim")
@pytest.mark.parametrize("kind", KINDS)
def test_crosssims_errors_keep_the_promises_of_a_corruption(kind: str) -> None:
    corruption = CrossSim(parameters("PCMJoshi"))
    for array in select(KINDS[kind]):
        before, state = array.value.clone(), np.random.get_state()[1].copy()  # noqa: NPY002

        def chip(draw: int, strength: float = 1.0, array: Array = array) -> Tensor:
            return corruption(array, strength, Draw(0, "test", draw).of(array.name))

        one = chip(0)
        assert torch.equal(chip(0), one) and not torch.equal(chip(1), one)
        assert torch.equal(chip(0, 0.0), before) and torch.equal(array.value, before)
        assert (one.shape, one.dtype) == (before.shape, before.dtype) and one.is_contiguous()
        torch.testing.assert_close(chip(0, 2.0) - before, 2 * (one - before), rtol=1e-4, atol=1e-6)
        assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.usefixtures("crosssim")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_crosssims_errors_keep_the_type_and_leave_nothing_at_nothing(dtype: torch.dtype) -> None:
    corruption = CrossSim(parameters("RRAMWan"))
    array = Array("w", torch.zeros(3, 4, dtype=dtype))
    assert torch.equal(corruption(array, 1.0, Draw(0, "test", 0).of("w")), array.value)
    array = Array("w", torch.ones(3, 4, dtype=dtype))
    assert corruption(array, 1.0, Draw(0, "test", 0).of("w")).dtype == dtype


@pytest.mark.usefixtures("crosssim")
def test_the_moments_of_crosssims_errors_are_those_of_our_device() -> None:
    """Over 3,000 weights the estimates' own errors average out: within 3%, some ten of their standard deviations."""
    torch.manual_seed(0)
    array = Array("w", torch.randn(30, 100))
    ours, theirs = inc.parse("pcm-joshi"), CrossSim(parameters("PCMJoshi"))
    ratio = theirs.moments(array, 0.5).std / (ours.moments(array, 1.0).std / 2)
    assert abs(float(ratio.mean()) - 1) < 0.03


@pytest.mark.usefixtures("crosssim")
@pytest.mark.parametrize(
    ("device", "fields"),
    [
        ("PCMJoshi", {}),
        ("RRAMMilo", {}),
        ("RRAMWan", {"cell_bits": 6}),
        ("SONOS", {}),
        ("SONOS", {"time": "2d"}),
        ("NormalProportionalDevice", {"magnitude": 0.05}),
    ],
)
@pytest.mark.parametrize("batch", [1, 32])
def test_crosssims_own_forward_agrees_with_the_native_one(device: str, fields: dict[str, Any], batch: int) -> None:
    """Linear and Conv2d, seeded alike: the same weights on the chip, and the same answers to 1e-5."""
    model, params, (x, _) = network(), parameters(device, **fields), images(batch)
    corruption, chip = CrossSim(params), Draw(0, "test", 3)
    simulated, cells = converted(model, params)
    for cell in cells:
        with seeded(chip.of(cell.array.name)):
            cell.analog.synchronize()
    arrays = select(model)
    for cell, array in zip(cells, arrays, strict=True):
        theirs = cell.analog.get_core_weights()[0].reshape(array.value.shape)
        assert torch.equal(theirs, corruption(array, 1.0, chip.of(array.name)))
    with torch.no_grad(), replaced(arrays, lambda array: corruption(array, 1.0, chip.of(array.name))):
        native = model(x)
        assert float((simulated(x) - native).abs().max()) < TOLERANCE
    with torch.no_grad():
        assert float((model(x) - native).abs().max()) > 100 * TOLERANCE  # or it would show nothing


@pytest.mark.usefixtures("crosssim")
def test_the_full_simulation_with_ideal_converters_is_what_measure_finds() -> None:
    """Chip by chip, and nothing of the model has changed afterwards."""
    model, data, params = network(), images(), parameters("PCMJoshi")
    before = copy.deepcopy(model.state_dict())
    common: dict[str, Any] = {"chips": 3, "seed": 5}
    theirs = evaluate(model, inc.cross_entropy, data, params, **common)
    native = inc.measure(model, inc.cross_entropy, data, CrossSim(params), [0, 1], **common)
    assert np.abs(theirs.values[0] - native.values[1]).max() < TOLERANCE
    assert (theirs.chips, theirs.n_examples, theirs.equivalent) == (3, 32, native.equivalent[1:])
    assert theirs.spread()[0] > 10 * TOLERANCE  # chips differ by more than the two ways of reading them
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = evaluate(model, inc.cross_entropy, data, params, **common)
    assert np.array_equal(again.values, theirs.values)


@pytest.mark.usefixtures("crosssim")
def test_converters_cost_the_less_the_more_bits_they_have() -> None:
    model, data = network(), images()

    def loss(**fields: Any) -> NDArray[np.float64]:
        calibration = None if not fields else images(64)
        params = parameters("PCMJoshi", **fields)
        return evaluate(model, inc.cross_entropy, data, params, chips=2, seed=0, calibration=calibration).values[0]

    ideal = loss()
    fine, rough = (np.abs(loss(adc_bits=bits, dac_bits=bits) - ideal) for bits in (12, 4))
    assert fine.max() < 2e-3 and rough.max() > 5 * fine.max() and fine.min() > 0


@pytest.mark.usefixtures("crosssim")
def test_wires_cost_the_more_the_more_they_resist() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 5))
    data, common = images(), {"chips": 1, "seed": 0}
    ideal = evaluate(model, inc.cross_entropy, data, parameters("PCMJoshi"), **common).values
    near, far = (
        np.abs(evaluate(model, inc.cross_entropy, data, parameters("PCMJoshi", wire=ohm), **common).values - ideal)
        for ohm in (0.01, 10.0)
    )
    assert near < 1e-3 < far


@pytest.mark.usefixtures("crosssim")
def test_the_noise_of_reading_is_a_chips_own_and_comes_again() -> None:
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Flatten(), nn.Linear(128, 5)), images(8)
    still, reading = parameters("SONOS"), parameters("SONOS")
    reading.xbar.device.read_noise.enable, reading.xbar.device.read_noise.model = True, "SONOS"
    one, two, quiet = (
        evaluate(model, inc.cross_entropy, data, params, chips=2, seed=0).values for params in (reading, reading, still)
    )
    assert np.array_equal(one, two) and np.abs(one - quiet).min() > TOLERANCE


@pytest.mark.usefixtures("crosssim")
def test_a_layer_in_two_places_is_one_chip_and_a_tied_weight_too() -> None:
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(6, 6))
    model[3].weight = shared.weight
    simulated, cells = converted(model, parameters("IdealDevice"))
    x = torch.randn(4, 6)
    assert simulated[0] is simulated[2] and len(cells) == 2 and {cell.array.name for cell in cells} == {"0.weight"}
    with torch.no_grad():
        torch.testing.assert_close(simulated(x), model(x), rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("crosssim")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: parameters("PCMJosh"), "Did you mean 'PCMJoshi'"),
        (lambda: CrossSim(parameters("PCMJoshi", r_min=1000.0)), "CrossSim refuses.*r_min="),
        (lambda: parameters("PCMJoshi", r_min=1e7), "0 < r_min < r_max"),
        (lambda: parameters("PCMJoshi", time="1d"), "PCMJoshi does not drift in CrossSim"),
        (lambda: parameters("NormalIndependentDevice"), "needs magnitude"),
        (lambda: parameters("PCMJoshi", magnitude=0.1), "takes no magnitude"),
        (lambda: parameters("PCMJoshi", adc_bits=1), "at least 2 bits"),
        (lambda: parameters("PCMJoshi", wire=-1.0), "at least 0"),
        (
            lambda: CrossSim(parameters("PCMJoshi", adc_bits=8, wire=1.0)),
            "weights alone cannot carry: ADC, wire resistance",
        ),
        (lambda: found(network(), adc_bits=8), "give calibration=batches"),
        (lambda: found(network(), draws=0), "chips=0"),
        (lambda: evaluate(network(), inc.accuracy, iter([]), None, chips=1, seed=0), "iterated only once"),
        (lambda: found(nn.Sequential(nn.ConvTranspose2d(2, 3, 2))), r"no layer for 0.weight \(ConvTranspose2d\)"),
        (lambda: found(nn.Sequential(nn.Conv2d(2, 3, 2, dilation=2))), "CrossSim refuses"),
        (lambda: found(nn.Sequential(nn.BatchNorm2d(2))), "no layer that CrossSim knows"),
    ],
)
def test_what_crosssim_cannot_do_is_one_line(call: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def found(model: nn.Module, draws: int = 1, **fields: Any) -> object:
    return evaluate(model, inc.cross_entropy, images(), parameters("PCMJoshi", **fields), chips=draws, seed=0)


@pytest.mark.usefixtures("crosssim")
def test_weights_that_are_named_stay_digital() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 1), nn.Flatten(), nn.Linear(128, 5))
    _, cells = converted(model, parameters("PCMJoshi"), protect=("0.*",))
    assert [cell.array.name for cell in cells] == ["2.weight"]


# our devices and CrossSim's

PAIRS = [  # ours, theirs, the time that CrossSim is told
    ("pcm-joshi", "PCMJoshi", "0s"),
    ("rram-milo", "RRAMMilo", "0s"),
    ("rram-wan:g_max=39.26:fit=cubic", "RRAMWan", "0s"),  # CrossSim's only time, 1 s after programming
    ("sonos", "SONOS", "0s"),
    ("sonos:time=2d", "SONOS", "2d"),
]


def levels() -> Array:
    """Every level in a row of its own, as many times as there are samples; the largest is 1."""
    return Array("w", torch.tensor(LEVELS)[:, None].expand(-1, SAMPLES).contiguous())


def chances(one: NDArray[np.float64], two: NDArray[np.float64]) -> dict[str, float]:
    """How likely samples of one distribution lie as far apart: in mean and in variance (z-tests), in shape (Kolmogorov, Smirnov)."""
    if max(np.abs(one).max(), np.abs(two).max()) < ROUNDED:
        return {}
    parts = {}
    for name, of in (("mean", lambda x: x), ("variance", lambda x: (x - x.mean()) ** 2)):
        a, b = of(one), of(two)
        z = (a.mean() - b.mean()) / math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        parts[name] = float(2 * stats.norm.sf(abs(z)))
    parts["shape"] = float(stats.ks_2samp(one, two).pvalue)
    return parts


def errors(corruption: Any, array: Array, strength: float = 1.0, seed: int = 0) -> NDArray[np.float64]:
    drawn = corruption(array, strength, Draw(seed, "test", 0).of(array.name))
    return (drawn.double() - array.value.double()).numpy()


def theirs_as(ours: Device, device: str, time: str = "0s") -> CrossSim:
    lowest = ours.lowest or ours.g_max * 1e-7
    r_min = 1e6 / ours.g_max * (1 + 1e-9)  # 1e6 / (1e6 / 39.26) is more than 39.26
    return CrossSim(parameters(device, r_min=r_min, r_max=1e6 / lowest, time=time))


@pytest.mark.usefixtures("crosssim")
@pytest.mark.parametrize(("text", "device", "time"), PAIRS)
def test_our_device_errs_as_crosssims_does(text: str, device: str, time: str) -> None:
    if text.split(":")[0] not in DEVICES:
        pytest.skip(f"{text} is no device here")
    ours = inc.parse(text)
    assert isinstance(ours, Device)
    array = levels()
    mine, other = errors(ours, array), errors(theirs_as(ours, device, time), array, seed=1)
    worst = {level: chances(a, b) for level, a, b in zip(LEVELS, mine, other, strict=True)}
    assert min(chance for each in worst.values() for chance in each.values()) > ALARM, worst
    assert [len(each) for each in worst.values()][1:] == [3] * 6  # only a cell that is off may be too small to tell
    assert other.std(1).max() > 1e-3


@pytest.mark.usefixtures("crosssim")
def test_the_comparison_sees_five_per_cent() -> None:
    """z of .05 sqrt(2 n) / sqrt(2) = 7 for a Gaussian."""
    ours = inc.parse("pcm-joshi")
    assert isinstance(ours, Device)
    array = levels()
    mine, other = errors(ours, array, 1.05), errors(theirs_as(ours, "PCMJoshi"), array, seed=1)
    assert chances(mine[5], other[5])["variance"] < ALARM


# aihwkit-lightning


@pytest.mark.usefixtures("lightning")
@pytest.mark.parametrize("batch", [1, 32])
def test_the_exported_network_computes_what_ours_does(batch: int) -> None:
    model, (x, _) = network(), images(batch)
    made = to_aihwkit_lightning(model)
    assert [type(made[place]).__name__ for place in (0, 3, 6)] == ["AnalogConv2d", "AnalogConv2d", "AnalogLinear"]
    assert type(made[1]) is nn.BatchNorm2d and type(model[0]) is nn.Conv2d
    assert list(made.state_dict()) == list(model.state_dict())
    with torch.no_grad():
        assert float((made(x) - model(x)).abs().max()) < TOLERANCE
        model[0].weight.add_(1)
        assert float((made(x) - model(x)).abs().max()) > TOLERANCE  # a copy


@pytest.mark.usefixtures("lightning")
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(2, 4, 3, padding="same"), (2, 2, 9)),
        (nn.Conv2d(2, 4, 3, padding="same", dilation=2), (2, 2, 9, 9)),
        (nn.Conv2d(2, 4, 3, padding="valid"), (2, 2, 9, 9)),
        (nn.Conv3d(2, 4, 3, stride=2, padding=1), (2, 2, 7, 7, 7)),
        (nn.Linear(5, 3, bias=False), (2, 4, 5)),
    ],
)
def test_padding_dilation_and_strides_come_along(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert float((to_aihwkit_lightning(layer)(x) - layer(x)).abs().max()) < TOLERANCE


@pytest.mark.usefixtures("lightning")
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_add_normal_per_channel_is_our_gaussian_filter_max(kind: str) -> None:
    """Weights as the layer used them in training mode, read out by unit inputs: in units of s max|W_f| both are N(0, 1)."""
    torch.manual_seed(2)
    strength, sizes = 0.1, torch.logspace(-2, 1, 40)
    layer: nn.Module = nn.Linear(500, 40, bias=False) if kind == "linear" else nn.Conv2d(5, 40, 10, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(40, 500).mul(sizes[:, None]).reshape(layer.weight.shape))
    (array,) = select(layer)
    made = to_aihwkit_lightning(layer, noisy_configuration(strength)).train()
    with torch.no_grad():
        unit = torch.eye(500).reshape(500, *layer.weight.shape[1:])
        used = made(unit).flatten(1).T.reshape(layer.weight.shape)
        assert torch.equal(
            made.eval()(unit).flatten(1).T.reshape(layer.weight.shape), layer.weight
        )  # no noise in eval mode
    scale = strength * array.peak()
    theirs = ((used - array.value) / scale).flatten().double().numpy()
    ours = (torch.from_numpy(errors(inc.Gaussian("filter-max"), array, strength)) / scale).flatten().double().numpy()
    found = chances(theirs, ours)
    found["theirs is standard normal"] = float(stats.kstest(theirs, "norm").pvalue)
    by_filter = theirs.reshape(40, -1).std(1)  # each filter has its own maximum: sizes differ by a thousand
    found["by filter"] = float(stats.chi2.sf(((by_filter - 1) ** 2 * 2 * 500).sum(), 40))
    assert min(found.values()) > ALARM, found
    assert chances(theirs, 1.05 * ours)["variance"] < ALARM  # and it sees five per cent


@pytest.mark.usefixtures("lightning")
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "refuses 0"),
        (nn.Sequential(nn.Conv1d(4, 4, 3, dilation=2)), "no dilated Conv1d"),
        (nn.Sequential(nn.Conv2d(4, 4, 2, padding="same")), "even kernel"),
        (nn.Sequential(nn.ConvTranspose1d(4, 4, 3)), "no layer for 0.weight"),
        (nn.MultiheadAttention(4, 2), "no layer for in_proj_weight"),
    ],
)
def test_what_aihwkit_lightning_cannot_hold_is_one_line(model: nn.Module, words: str) -> None:
    with pytest.raises(UserError, match=words):
        to_aihwkit_lightning(model)


# the command


@pytest.mark.filterwarnings("ignore:You are using AIHWKIT-Lightning version <2:DeprecationWarning")  # its own enum does
@pytest.mark.usefixtures("crosssim", "lightning")
def test_the_commands_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    type_ = typing(monkeypatch, capsys)
    common = (
        "bridge",
        "crosssim",
        "own.py:task",
        "--device",
        "PCMJoshi",
        "--adc-bits",
        4,
        "--chips",
        3,
        "--examples",
        40,
    )
    said = type_(*common, "--json", "--out", "found.json")
    plain = json.loads(said.out)
    assert said.code == 0 and plain["simulated"]["examples"] == plain["weights_alone"]["examples"] == 40
    gap = np.array(plain["simulated"]["values"][0]) - np.array(plain["weights_alone"]["values"][1])
    assert plain["difference"]["mean"] == pytest.approx(gap.mean()) and (tmp_path / "found.json").exists()
    said = type_(*common)
    assert "full simulation - weights alone, on the same chips" in said.out and "adc_bits=4" in said.out
    said = type_("bridge", "aihwkit-lightning", "own.py:task", "--out", "m.pt", "--noise", 0.1, "--json")
    assert said.code == 0 and json.loads(said.out)["layers"] == ["AnalogLinear"] * 2
    made = torch.load(tmp_path / "m.pt", weights_only=False).eval()
    x = torch.randn(3, 6)
    assert made(x).shape == (3, 2) and made[0].rpu_config.modifier.std_dev == 0.1
    assert type_("bridge", "aihwkit-lightning", "own.py:task", "--out", "m.pt").code == 2
    said = type_("bridge", "aihwkit-lightning", "own.py:named", "--out", "n.pt")
    assert said.code == 2 and "Net is a class of the task's file" in said.err and not (tmp_path / "n.pt").exists()
