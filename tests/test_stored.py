"""A storage with faults in order: by hand, on chips that share their names, and over time."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from torch import Tensor, nn

from incorruptible.corruptions import Corruption, Stored, at_time, parse, parse_sweep
from incorruptible.corruptions.devices.pcm import PCMProgramming
from incorruptible.corruptions.faults import Drop, Fixed, rectified
from incorruptible.corruptions.storages import MAPPINGS, Crossbar, Weights
from incorruptible.errors import UserError
from incorruptible.evaluation import Sampling, measure
from incorruptible.randomness.streams import Draw
from incorruptible.specs.durations import Seconds, seconds
from incorruptible.weights.arrays import Array, select

BY_HAND = torch.tensor([[1.0, -0.5], [0.0, 0.25]])


def chip(text: str, array: Array, strength: float = 1.0, draw: int = 0, read: int = 0) -> Tensor:
    return parse(text)(array, strength, Draw(0, "test", draw, read=read).of(array.name))


def weights(rows: int = 6, columns: int = 30) -> Array:
    torch.manual_seed(0)
    return Array("w", torch.randn(rows, columns))


# times


@pytest.mark.parametrize(
    ("text", "value"),
    [("1s", 1), ("20s", 20), ("1.5h", 5400), ("1d", 86400), ("1y", 365 * 86400), ("250us", 250e-6), ("1e3s", 1000)],
)
def test_times_have_units(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "value", [0.0, 1.0, 20.0, 59.9, 60.0, 5400.0, 86400.0, 3.7 * 86400, 31536000.0, 1 / 3, 1e-6, 1e12]
)
def test_a_time_reads_what_it_writes(value: float) -> None:
    assert seconds(str(Seconds(value))) == value


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1", "time '1' has no unit: 1s, 1h, 1d or 1y?"),
        ("", "time '' is no time: a number and its unit are needed, as in 20s, 1h, 1d or 1y."),
        ("d", "is no time"),
        ("-1d", "is no time"),
        ("1..2d", "is no time"),
        ("nan s", "is no time"),
        ("1m", "no unit 'm'; choose one of us, ms, s, min, h, d, w, y"),
        (math.nan, "a finite time that is not negative is needed"),
        (-1.0, "a finite time that is not negative is needed"),
    ],
)
def test_what_is_no_time(text: str | float, answer: str) -> None:
    with pytest.raises(UserError, match=re.escape(answer)):
        seconds(text)


def test_a_corruption_at_another_time() -> None:
    for text in (
        "pcm-joshi:compensation=global",
        "mixture(pcm-joshi)",
        "stored(crossbar|pcm-programming|fixed(pcm-drift):1|pcm-read)",
    ):
        later = at_time(parse(text), "1d")
        assert later != parse(text) and str(later).count("time=1d") == (2 if text.startswith("stored") else 1)
        assert at_time(later, 0) == parse(text)
    for text in ("gaussian-filter-max", "dropconnect", "stored(crossbar|pcm-programming)"):
        with pytest.raises(UserError, match="has no time: its error is the same at 1d as at once"):
            at_time(parse(text), "1d")


# storages


@pytest.mark.parametrize(
    ("mapping", "cells"),
    [
        ("one-sided", [[[25.0, 5.0], [5.0, 10.0]], [[5.0, 15.0], [5.0, 5.0]]]),
        ("two-sided", [[[25.0, 10.0], [15.0, 17.5]], [[5.0, 20.0], [15.0, 12.5]]]),
        ("offset", [[[25.0, 10.0], [15.0, 17.5]]]),
    ],
)
def test_mappings_by_hand(mapping: str, cells: list[list[list[float]]]) -> None:
    held = Crossbar(g_min=5.0, mapping=mapping).encode(Array("w", BY_HAND))
    torch.testing.assert_close(held.value, torch.tensor(cells))
    torch.testing.assert_close(held.decode(held.value), BY_HAND)


def test_slices_by_hand() -> None:
    """0.5 of 15 steps of base 4 is 8 = 2 * 4 + 0 (7.5 is rounded to even): digits 0 and 2, of 3 steps each."""
    held = Crossbar(g_max=3.0, levels=4, slices=2, per="filter").encode(Array("w", torch.tensor([[1.0, 0.5]])))
    torch.testing.assert_close(held.value[:, 0], torch.tensor([[3.0, 0.0], [3.0, 2.0], [0.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(held.decode(held.value), torch.tensor([[1.0, 8 / 15]]))


GRID = [
    f"crossbar:g_min={g}:mapping={m}:per={p}:levels={n}:slices={s}:devices={d}"
    for g, m, p, (n, s), d in itertools.product((0, 4), MAPPINGS, ("layer", "filter"), ((0, 1), (8, 1), (4, 3)), (1, 3))
]


@pytest.mark.parametrize("text", GRID)
def test_every_crossbar_gives_back_what_it_holds(text: str) -> None:
    """Exactly without levels; else within half a step, which for pairs of both sides adds up to a whole one."""
    array, corruption = weights(), parse(f"stored({text})")
    assert isinstance(corruption, Stored) and isinstance(corruption.storage, Crossbar)
    bar = corruption.storage
    held = bar.encode(array)
    assert float(held.value.min()) >= bar.lowest - 1e-5 and float(held.value.max()) <= bar.g_max + 1e-5
    zero = torch.as_tensor(held.zero).expand_as(held.value)
    steps = bar.levels**bar.slices - 1
    scale = array.peak() if bar.per == "filter" else array.value.abs().max()
    bound = 1e-5 if bar.exact else float(1 / steps if bar.mapping != "one-sided" else 0.5 / steps) * (1 + 1e-4)
    assert bool(((held.decode(held.value) - array.value).abs() <= bound * scale + 1e-6).all())
    assert bool((held.decode(zero).abs() <= (1e-5 if bar.exact or bar.mapping == "one-sided" else bound) * scale).all())


def test_devices_side_by_side_average_their_errors() -> None:
    """Four devices: half the spread, exactly in moments and in n = 300,000 cells to 2% (eleven standard errors)."""
    array = Array("w", torch.full((1, 300_000), 0.5))
    array.parameter[0, 0] = 1.0
    one, four = (parse(f"pcm-joshi:g_min=0:mapping=two-sided:devices={n}") for n in (1, 4))
    ratio = four.moments(array, 1.0).std / one.moments(array, 1.0).std
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.5), rtol=1e-3, atol=0)
    spread = [float((chip(str(c), array) - array.value)[0, 1:].std()) for c in (one, four)]
    assert spread[1] / spread[0] == pytest.approx(0.5, rel=0.02)


# faults in order


def test_faults_act_in_the_order_given_and_none_moves_the_noise_of_another() -> None:
    array, names = weights(), ("pcm-programming", "pcm-drift:time=1d", "drop")
    alone = {name: parse(f"stored(crossbar|{name})") for name in names}
    held = Crossbar().encode(array)
    value, noise = held.value, Draw(0, "test", 0).of("w")
    for name in names:
        stored = alone[name]
        assert isinstance(stored, Stored)
        (fault,) = stored.faults
        value = fault(value, held, 0.3, _tagged(noise, name.split(":")[0]))
    want = array.value + (held.decode(value) - held.decode(held.value))
    torch.testing.assert_close(chip(f"stored(crossbar|{'|'.join(names)})", array, 0.3), want, rtol=0, atol=1e-6)
    other = chip("stored(crossbar|drop|pcm-programming|pcm-drift:time=1d)", array, 0.3)
    assert not torch.equal(other, chip(f"stored(crossbar|{'|'.join(names)})", array, 0.3))


class _tagged:
    def __init__(self, noise: object, name: str) -> None:
        self.noise, self.name = noise, name

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        return self.noise.normal(like, f"{self.name}/{tag}")  # type: ignore[attr-defined, no-any-return]

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        return self.noise.uniform(like, f"{self.name}/{tag}")  # type: ignore[attr-defined, no-any-return]


def test_the_same_fault_twice_has_two_noises() -> None:
    array = weights()
    once, twice = chip("dropconnect", array, 0.3), chip("stored(weights|drop|drop)", array, 0.3)
    assert bool((twice[once == 0] == 0).all()) and int((twice == 0).sum()) > int((once == 0).sum())


def test_what_is_lost_is_nested_over_rates() -> None:
    array, before = weights(), torch.zeros(6, 30, dtype=torch.bool)
    for rate in (0.0, 0.01, 0.1, 0.3, 0.7, 1.0):
        lost = chip("dropconnect", array, rate) == 0
        assert bool((lost | ~before).all())
        before = lost
    assert bool(before.all())


def test_a_fixed_fault_stands_whatever_is_swept() -> None:
    array, text = weights(), "stored(weights|fixed(drop):0.3)"
    rest = chip(text, array, 0.0)
    assert torch.equal(rest, chip("dropconnect", array, 0.3)) and torch.equal(chip(text, array, 1.0), rest)
    moments = parse(text).moments(array, 0.0)
    torch.testing.assert_close(moments.mean, -0.3 * array.value)
    assert parse(text) == Stored(Weights(), (Fixed(Drop(), 0.3),))
    assert (parse(text).unit, parse(text).formula) == (
        "none: every strength is fixed",
        "w held as weights: 0 with probability s, at s = 0.3",
    )
    for bad, answer in [
        ("fixed(drop):1.5", "at most 1"),
        ("fixed(drop):-1", "not negative"),
        ("drop:0.3", "fixed(drop):0.3 pins"),
    ]:
        with pytest.raises(UserError, match=re.escape(answer)):
            parse(f"stored(weights|{bad})")


def test_chips_of_pinned_faults_differ_at_strength_zero() -> None:
    pinned, loose = parse("stored(weights|fixed(drop):0.3|drop)"), parse("stored(weights|drop)")
    for text, total in ((str(pinned), 10), (str(loose), 6)):
        assert Sampling(parse(text), [0, 0.1], 5, 0).total == total
        assert Sampling(parse(f"mixture({text})"), [0, 0.1], 5, 0).total == total


def test_faults_that_strike_a_whole_weight_have_its_moments() -> None:
    """Both cells of a two-sided pair are lost together: variance p (1 - p) w^2, by hand and not by independent cells."""
    array = weights()
    mean, std = parse("stored(crossbar:mapping=two-sided|drop)").moments(array, 0.3)
    torch.testing.assert_close(mean, -0.3 * array.value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(std, array.value.abs() * math.sqrt(0.21), rtol=1e-4, atol=1e-6)


def test_moments_without_a_closed_form_are_estimated() -> None:
    """Programming errors of cells that are random already have none; 256 chips, 180 weights: mean square within 5%."""
    corruption, array = parse("stored(crossbar|pcm-programming|pcm-programming)"), weights()
    once = parse("stored(crossbar:mapping=two-sided|pcm-programming)").moments(array, 1.0)
    assert isinstance(corruption, Stored)
    found = corruption.moments(array, 1.0)
    errors = torch.stack([chip(str(corruption), array, draw=k) - array.value for k in range(500)])
    assert float(found.std.square().mean() / errors.var(0).mean()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(found.std, once.std)


def test_rectified_moments_by_hand() -> None:
    first, second = rectified(torch.tensor([0.0, 10.0, -1.0]), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(first, torch.tensor([1 / math.sqrt(2 * math.pi), 10.0, 0.0]))
    torch.testing.assert_close(second, torch.tensor([0.5, 101.0, 0.0]))


def test_an_error_of_zero_mean_on_devices_is_none_on_weights() -> None:
    """Conductances cannot be negative, so the error of a cell at 0 is cut: bias -sigma / sqrt(2 pi) of weights above 0."""
    array = Array("w", torch.tensor([[1.0, 0.5]]))
    mean = parse("pcm-joshi:g_min=0").moments(array, 1.0).mean
    torch.testing.assert_close(mean, torch.full((1, 2), -0.28638599 / math.sqrt(2 * math.pi) / 25), rtol=1e-4, atol=0)


# drift and its compensation


@pytest.mark.parametrize("compensation", ["global", "column"])
def test_compensation_by_hand(compensation: str) -> None:
    array = weights()
    plain, fresh = chip("pcm-joshi:time=1d", array), chip("stored(crossbar:g_min=0.25|pcm-programming)", array)
    if compensation == "global":
        gain = fresh.abs().sum() / plain.abs().sum()
    else:
        gain = fresh.abs().sum(1, keepdim=True) / plain.abs().sum(1, keepdim=True)
    found = chip(f"pcm-joshi:time=1d:compensation={compensation}", array)
    torch.testing.assert_close(found, plain * gain, rtol=1e-4, atol=1e-5)
    assert bool((gain > 1.1).all())


def test_nothing_to_compensate_is_left_alone() -> None:
    array = Array("w", torch.zeros(2, 3))
    assert not chip("stored(weights|drop):compensation=global", array, 0.5).any()
    with pytest.raises(UserError, match=r"No compensation 'colum' here\. Did you mean 'column'"):
        parse("pcm-joshi:compensation=colum")


def test_moments_under_compensation_hold_in_wide_layers() -> None:
    """200 chips of 64 x 256 weights: the mean square of errors within 2%, where one chip's own spread of it is some 1%."""
    torch.manual_seed(0)
    array = Array("w", torch.randn(64, 256).clamp(-3, 3))
    corruption = parse("pcm-joshi:time=1d:compensation=column")
    mean, std = corruption.moments(array, 1.0)
    squares = [float((chip(str(corruption), array, draw=k) - array.value).square().mean()) for k in range(200)]
    assert float((mean**2 + std**2).mean()) == pytest.approx(sum(squares) / 200, rel=0.02)


def test_a_chip_is_programmed_once_and_read_often() -> None:
    """Reads of one chip share its programming error and its drift; with the noise of reading alone taken out they are equal."""
    array = weights()
    one, two = (chip("pcm-joshi:time=1d", array, read=read) for read in (0, 1))
    assert not torch.equal(one, two)
    quiet = [chip("stored(crossbar|pcm-programming|pcm-drift:time=1d)", array, read=read) for read in (0, 1)]
    assert torch.equal(*quiet)
    other = chip("pcm-joshi:time=1d", array, draw=1)
    assert float((one - two).abs().mean()) < float((one - other).abs().mean())


def test_a_chip_at_a_later_time_is_the_same_chip() -> None:
    """What drifts much by one hour has drifted much by one day: exponents are drawn once, as is the programming error."""
    array = weights(20, 50)
    hour, day = (chip(f"stored(crossbar|pcm-drift:time={time})", array) / array.value for time in ("1h", "1d"))
    ratio = day.log() / hour.log()
    torch.testing.assert_close(
        ratio, torch.full_like(ratio, math.log1p(86400 / 20) / math.log1p(3600 / 20)), rtol=1e-2, atol=0
    )


def test_reads_of_a_device_need_no_further_noise() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    data = [(torch.randn(20, 4), torch.zeros(20, dtype=torch.long))]

    def score(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        out: Tensor = model(batch[0])
        return out.square().sum(1)

    found = measure(model, score, data, parse("pcm-joshi:time=1d"), [1.0], chips=3, reads=4, seed=0)
    assert found.reads is not None and found.reads.shape == (1, 3, 4) and float(found.reads.std(2).min()) > 0
    assert "3 chips x 4 reads (its own noise)" in found.header()
    with pytest.raises(UserError, match="every read of a chip would be the same"):
        measure(model, score, data, parse("dropconnect"), [0.1], chips=3, reads=4, seed=0)


def test_results_say_range_mapping_time_and_compensation() -> None:
    for text, words in [
        (
            "pcm-joshi:time=1d:compensation=global",
            "0.25 to 25 uS, one-sided pair, per layer; 1d after programming; drift compensation: global",
        ),
        (
            "mixture(pcm-joshi)",
            "0.25 to 25 uS, one-sided pair, per layer; 0s after programming; drift compensation: none",
        ),
        (
            "stored(crossbar:levels=16:slices=2:devices=3|drop)",
            "0 to 25 uS, one-sided pair, per layer, 16 levels, 2 slices, 3 devices side by side",
        ),
        (
            "stored(crossbar|fixed(pcm-drift:time=1d):1|drop)",
            "0 to 25 uS, one-sided pair, per layer; 1d after programming; drift compensation: none",
        ),
    ]:
        assert parse(text).conditions == words  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("pcm-joshi:1:g_max=30", "pcm-joshi: 0.25 to 30 uS is outside 0 to 25 uS, the range that was measured"),
        ("pcm-joshi:1:g_min=30", "from g_min=30 to g_max=25 uS: 0 <= g_min < g_max is needed"),
        ("pcm-joshi:1:on_off=0.5", "pcm-joshi: on_off=0.5: the ratio G_max / G_min must be above 1"),
        ("pcm-joshi:1:on_off=50:g_min=1", "say the same thing; give one"),
        ("pcm-joshi:1:time=5", "time '5' has no unit"),
        ("pcm-joshi:1:per=column", "No per of pcm-joshi 'column' here"),
        ("pcm-joshi:1:mapping=twosided", "Did you mean 'two-sided'"),
        ("pcm-joshi:1:slices=2", "slices=2 needs levels"),
        ("pcm-joshi:1:levels=1", "levels must be 0 (any conductance) or at least 2"),
        ("pcm-joshi:1:levels=4096:slices=3", "more steps than float32 counts"),
        ("dropconnect:1.5", "dropconnect: strength 1.5: at most 1 (share of weights that are lost)"),
        ("mixture(dropconnect):0.9:high=1.5", "at most 0.666667"),
        ("stored(crossbars|drop):0.1", "No storage 'crossbars' here. Did you mean 'crossbar'"),
        ("stored(crossbar|drops):0.1", "No fault 'drops' here. Did you mean 'drop'"),
        ("stored:0.1", "stored needs what it works on in parentheses"),
        ("stored(weights|fixed(fixed(drop):0.1):0.1):0.1", "it is fixed already"),
    ],
)
def test_bad_devices_are_answered_in_one_line(text: str, answer: str) -> None:
    with pytest.raises(UserError, match=re.escape(answer)) as caught:
        parse_sweep(text)
    assert "\n" not in str(caught.value)


def test_every_kind_of_layer_is_reached() -> None:
    """Linear, convolutions (grouped, transposed), attention, recurrent: each array gets a chip of its own shape and other values."""
    torch.manual_seed(0)
    model = nn.ModuleList(
        [
            nn.Linear(6, 4),
            nn.Conv1d(4, 4, 3, groups=2),
            nn.Conv2d(3, 5, 3),
            nn.Conv3d(1, 2, 2),
            nn.ConvTranspose2d(4, 6, 3, groups=2),
            nn.MultiheadAttention(8, 2),
            nn.LSTM(4, 3),
            nn.GRUCell(4, 3),
        ]
    )
    arrays = select(model)
    assert len(arrays) == 11
    corruptions: list[Corruption] = [parse("pcm-joshi:time=1h:compensation=column:per=filter"), parse("dropconnect")]
    for array, corruption in itertools.product(arrays, corruptions):
        found = corruption(array, 0.5, Draw(0, "test", 0).of(array.name))
        assert found.shape == array.value.shape and bool(found.isfinite().all()) and not torch.equal(found, array.value)


def test_programming_by_hand() -> None:
    sigma = PCMProgramming().sigma(torch.tensor([0.0, 25.0]))
    torch.testing.assert_close(sigma, torch.tensor([0.28638599, 0.28638599 + 0.07585724 * 25 - 0.00178767 * 625]))
