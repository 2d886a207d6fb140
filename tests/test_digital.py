"""Integers and floats in memories that err: codes, flipped bits, stuck cells and dead lines, by hand and by twins.

Statistical tests fix their seeds and n; over all seeds each fails sound code with a chance of at most ALARM.
"""

from __future__ import annotations

import itertools
import math
import pickle
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from incorruptible.corruptions import parse, parse_sweep
from incorruptible.corruptions.faults import BitFlips, Dead, Stuck, bernoulli_mask
from incorruptible.corruptions.storages import CODES, FORMATS, Crossbar, Floats, Held, Integers, Weights
from incorruptible.errors import UserError
from incorruptible.randomness.streams import Draw, Noise
from incorruptible.weights.arrays import Array, select

ALARM = 1e-5
STORAGES = [*(Integers(bits, code=code) for bits in (2, 5, 8, 16) for code in CODES), *map(Floats, FORMATS)]


def chip(draw: int = 0) -> Noise:
    return Draw(0, "test", draw).of("w")


def array(*weights: float, dtype: torch.dtype = torch.float64) -> Array:
    return Array("w", torch.tensor([weights], dtype=dtype))


def wide(dtype: torch.dtype = torch.float32) -> Array:
    return Array("w", torch.randn(16, 40, generator=torch.Generator().manual_seed(0)).to(dtype))


def ones(pattern: Tensor) -> Tensor:
    """How many bits are set."""
    return sum((pattern >> bit & 1 for bit in range(32)), torch.zeros_like(pattern))


# Rows


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("quantised:bits=4", "stored(integers:bits=4)"),
        ("int-flips:bits=4:protected=1", "stored(integers:bits=4|bit-flips:protected=1)"),
        ("float-flips:format=float16:protected=2", "stored(floats:format=float16|bit-flips:protected=2)"),
        ("dropconnect", "stored(weights|drop)"),
        ("stuck:levels=4:at=max", "stored(crossbar:levels=4|stuck:at=max)"),
        ("dead-rows", "stored(weights|dead)"),
        ("dead-columns", "stored(weights|dead:line=column)"),
    ],
)
def test_a_name_stands_for_its_parts(text: str, parts: str) -> None:
    """The same chips bit for bit; and the name is kept, also by a worker that was sent the corruption."""
    named, stored = parse(text), parse(parts)
    assert str(named.stored()) == parts and str(named) == text  # type: ignore[attr-defined]
    sent = pickle.loads(pickle.dumps(named))
    assert sent == named != stored and hash(sent) == hash(named) and type(sent) is type(named)
    for strength in (0.0, 0.3):
        assert torch.equal(named(wide(), strength, chip()), stored(wide(), strength, chip()))
        for one, other in zip(named.moments(wide(), strength), stored.moments(wide(), strength), strict=True):
            assert torch.equal(one, other)


# Codes


@pytest.mark.parametrize(
    ("code", "patterns"),
    [("twos-complement", [9, 12, 0, 2, 7]), ("offset", [1, 4, 8, 10, 15]), ("sign-magnitude", [15, 12, 0, 2, 7])],
)
def test_codes_by_hand(code: str, patterns: list[int]) -> None:
    """Steps of 1/7: levels -7, -3.5 (to the even -4), 0, 1.75 (to 2) and 7 of four bits."""
    held = Integers(4, code=code).encode(array(-1, -0.5, 0, 0.25, 1))
    assert held.value.flatten().tolist() == patterns
    torch.testing.assert_close(held.decode(held.value)[0] * 7, torch.tensor([-7.0, -4, 0, 2, 7], dtype=torch.float64))
    assert (held.low, held.high, held.bits) == (patterns[0], patterns[-1], 4)


@pytest.mark.parametrize(
    ("code", "patterns", "zero"), [("twos-complement", [8, 13, 0, 7], 13), ("offset", [0, 5, 8, 15], 5)]
)
def test_a_zero_point_by_hand(code: str, patterns: list[int], zero: int) -> None:
    """From -0.5 to 1 in 15 steps of 0.1: zero is five steps above the lowest level, -8, so the zero point is -3."""
    held = Integers(4, symmetric=False, code=code).encode(array(-0.5, 0, 0.3, 1))
    assert held.value.flatten().tolist() == patterns
    torch.testing.assert_close(
        held.decode(held.value), torch.tensor([[-0.5, 0.0, 0.3, 1.0]], dtype=torch.float64), atol=1e-7, rtol=0
    )
    assert torch.as_tensor(held.zero).item() == zero


def test_weights_of_one_sign_reach_to_zero_and_a_sign_with_magnitude_has_one_level_less() -> None:
    held = Integers(4, symmetric=False).encode(array(1.5, 3.0))
    assert held.value.flatten().tolist() == [0, 7]  # levels 0 and 7 of -8 to 7, steps of 0.2
    held = Integers(4, symmetric=False, code="sign-magnitude").encode(array(-0.7, 0, 0.7))
    assert held.value.flatten().tolist() == [15, 0, 7]  # -7, 0 and 7, steps of 0.1


def test_one_flipped_bit_by_hand() -> None:
    held = Integers(8).encode(array(5, -127))
    flips = [held.decode(held.value ^ 1 << bit)[0, 0].item() for bit in range(8)]
    assert flips == pytest.approx([4, 7, 1, 13, 21, 37, 69, -123])  # 5 is 0000 0101
    held = Integers(8, code="sign-magnitude").encode(array(5, -127))
    assert held.decode(held.value ^ 0x80)[0].tolist() == pytest.approx([-5, 127])
    for name, sign, factor in (("float32", 31, 2.0**128), ("bfloat16", 15, 2.0**128), ("float16", 15, 2.0**16)):
        held = Floats(name).encode(array(0.75, 1.5, -12.0))
        assert held.decode(held.value ^ 1 << sign)[0].tolist() == [-0.75, -1.5, 12.0]
        # the exponent of 1.5 becomes all ones, which would be NaN
        assert held.decode(held.value ^ 1 << sign - 1)[0].tolist() == [0.75 * factor, 0.0, -12 / factor]


def test_what_a_format_cannot_hold_saturates_and_is_never_infinite() -> None:
    weights = torch.tensor([[7e4, -1e30, 3.4e38, 1.0, math.inf, -math.inf, math.nan]])
    half, brain = (Floats(name).encode(Array("w", weights)) for name in ("float16", "bfloat16"))
    assert half.decode(half.value)[0].tolist() == [65504, -65504, 65504, 1, 65504, -65504, 0]
    assert brain.decode(brain.value)[0, 2] == torch.finfo(torch.bfloat16).max
    for dtype in (torch.float16, torch.bfloat16):  # weights in 16 bits, held in more
        after = parse("float-flips")(Array("w", torch.ones(50, 50, dtype=dtype)), 0.5, chip())
        assert bool(after.isfinite().all()) and (dtype is torch.bfloat16 or after.abs().max() == 65504)


@pytest.mark.parametrize("per", ["layer", "filter"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12])
def test_the_error_of_rounding_is_at_most_half_a_step(bits: int, symmetric: bool, per: str) -> None:
    for code in CODES:
        held = Integers(bits, symmetric, per, code).encode(wide(torch.float64))
        error = (held.decode(held.value) - wide(torch.float64).value).abs()
        assert bool((error <= held.coefficients[0] * (0.5 + 1e-6)).all())
        assert held.decode(torch.as_tensor(held.zero)).abs().max() == 0


@pytest.mark.parametrize("per", ["layer", "filter"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_is_that_of_torch(bits: int, symmetric: bool, per: str) -> None:
    """Its fake quantisation with the same step and zero point, as a twin; no weight here lies within 1e-5 of a tie."""
    weights, top = wide(), 2 ** (bits - 1) - 1
    held = Integers(bits, symmetric, per).encode(weights)
    bottom = -top if symmetric else -top - 1
    step = held.coefficients[0].flatten()
    zero = held.number(torch.as_tensor(held.zero)).flatten().to(torch.int32)
    if per == "layer":
        twin = torch.fake_quantize_per_tensor_affine(weights.value, step.item(), int(zero.item()), bottom, top)
    else:
        zero = zero.expand_as(step).contiguous()
        twin = torch.fake_quantize_per_channel_affine(weights.value, step, zero, 0, bottom, top)
    torch.testing.assert_close(held.decode(held.value), twin, rtol=1e-5, atol=1e-6)


# Flipped bits


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_flips_are_nested_over_rates_and_over_what_is_protected(storage: Integers | Floats) -> None:
    held = storage.encode(wide())
    masks = [BitFlips()(held.value, held, rate, chip()) ^ held.value for rate in (0, 0.01, 0.2, 0.21, 1)]
    assert not masks[0].any() and bool((ones(masks[-1]) == storage.bits).all())
    for few, many in itertools.pairwise(masks):
        assert torch.equal(few & many, few) and not torch.equal(few, many)
    for protected in range(1, storage.bits):
        kept = BitFlips(protected)(held.value, held, 0.2, chip()) ^ held.value
        assert torch.equal(kept, masks[2] & 2 ** (storage.bits - protected) - 1)
    assert not torch.equal(BitFlips()(held.value, held, 0.2, chip(1)) ^ held.value, masks[2])


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_protected_bits_never_flip_and_the_others_all_do_at_rate_one(storage: Integers | Floats) -> None:
    held = storage.encode(wide())
    for protected in range(storage.bits):
        after = BitFlips(protected)(held.value, held, 1.0, chip())
        assert bool((after ^ held.value == 2 ** (storage.bits - protected) - 1).all())


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.3])
@pytest.mark.parametrize("storage", [Integers(8), Floats()], ids=str)
def test_how_many_bits_flip_is_binomial(storage: Integers | Floats, rate: float) -> None:
    """Over 40 chips, two-sided and exact, of each bit and of all; the share of alarms is at most ALARM for each statement.

    For the last one, on the variance of counts, it is at most 1.2e-4, by convolution of the binomial law: counts of 4 a chip
    (rate 1e-4) have longer tails than a chi-square.
    """
    held = storage.encode(Array("w", torch.randn(50, 100, generator=torch.Generator().manual_seed(0))))
    masks = torch.stack([BitFlips()(held.value, held, rate, chip(draw)) ^ held.value for draw in range(40)])
    counts = [int((masks >> bit & 1).sum()) for bit in range(storage.bits)]
    for count in counts:
        assert stats.binomtest(count, masks.numel(), rate).pvalue > ALARM
    assert stats.binomtest(sum(counts), masks.numel() * storage.bits, rate).pvalue > ALARM
    # bits of one cell, and chips, are independent: a chip's count has the variance of a binomial (chi-square of 40: the mean is known)
    each = np.array([int(ones(mask).sum()) for mask in masks])
    n = held.value.numel() * storage.bits
    spread = float(((each - n * rate) ** 2).sum() / (n * rate * (1 - rate)))
    assert ALARM < stats.chi2.sf(spread, 40) < 1 - ALARM


@dataclass(frozen=True)
class Told:
    """A noise whose numbers are given."""

    numbers: dict[str, Tensor]

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        return self.numbers[tag]


def test_rates_below_the_steps_of_float32_are_kept() -> None:
    """A rate of 1.25 steps: the lowest number strikes, the next one in a quarter of cases, and no second is drawn without."""
    steps, like = torch.tensor([0.0, 1, 1, 2]) / 2**24, torch.zeros(4)
    told = Told({"": steps, "/finer": torch.tensor([0.9, 0.2, 0.3, 0.0])})
    assert bernoulli_mask(told, like, 1.25 / 2**24).tolist() == [True, True, False, False]  # type: ignore[arg-type]
    assert bernoulli_mask(told, like, 0.25 / 2**24).tolist() == [False, False, False, False]  # type: ignore[arg-type]
    assert bernoulli_mask(Told({"": steps}), like, 2 / 2**24).tolist() == [True, True, True, False]  # type: ignore[arg-type]
    assert bernoulli_mask(Told({"": steps + 0.5}), like, 1.5 / 2**24).tolist() == [False] * 4  # type: ignore[arg-type]


# Moments of flipped bits, against sums over every pattern


def enumerated(held: Held, rate: float, free: int) -> tuple[Tensor, Tensor]:
    """Mean and mean square of the number in each cell, over every mask of the lowest `free` bits."""
    first = torch.zeros(held.value.shape, dtype=torch.float64)
    second = first.clone()
    masks = torch.arange(2**free)
    share = rate ** ones(masks).double() * (1 - rate) ** (free - ones(masks)).double()
    for place, pattern in enumerate(held.value.flatten().tolist()):
        x = held.number(pattern ^ masks).double()
        first.view(-1)[place], second.view(-1)[place] = (share * x).sum(), (share * x**2).sum()
    return first, second


CASES = [
    *(
        (Integers(bits, symmetric, code=code), p)
        for bits, p in ((4, 0), (5, 2))
        for symmetric in (True, False)
        for code in CODES
    ),
    *((Floats(name), 0) for name in ("float16", "bfloat16")),
    (Floats("float16"), 3),
    (Floats(), 14),  # the lowest 18 bits: both halves of the pattern
]


@pytest.mark.parametrize("rate", [1e-6, 0.03, 0.5, 1.0])
@pytest.mark.parametrize(("storage", "protected"), CASES, ids=str)
def test_moments_of_flips_are_sums_over_all_patterns(storage: Integers | Floats, protected: int, rate: float) -> None:
    weights = array(1.0, -0.37, 0.0, 0.81, 3e-5)
    held = storage.encode(weights)
    first, second = enumerated(held, rate, storage.bits - protected)
    mean, std = parse(f"stored({storage}|bit-flips:protected={protected})").moments(weights, rate)
    c = held.coefficients[0]
    want = (first * c)[0] + torch.as_tensor(held.offset) - weights.value
    assert bool(((mean - want).abs() <= 1e-9 * (want.abs() + std)).all())  # huge numbers of both signs cancel
    torch.testing.assert_close(std, ((second - first**2).clamp_min(0).sqrt() * c)[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rate", [1e-9, 1e-4, 0.25])
def test_moments_of_float32_are_sums_over_exponents(rate: float) -> None:
    """(-1)^S 2^(E - 127) (1 + M), or 2^-126 M where E = 0: sums over the 255 finite E, with the mean and variance of M."""
    weights = array(1.0, -0.37, 1e-3, 7.0, 2.0**-128, dtype=torch.float32)
    mean, std = (part.double()[0] for part in parse("float-flips").moments(weights, rate))
    for place, w in enumerate(weights.value[0].tolist()):
        bits = int(np.float32(w).view(np.uint32))
        sign, exponent, mantissa = bits >> 31, bits >> 23 & 255, (bits & 0x7FFFFF) / 2**23
        m = mantissa + rate * (1 - 2**-23 - 2 * mantissa)
        m2 = m**2 + rate * (1 - rate) * sum(4.0**-k for k in range(1, 24))
        first = second = 0.0
        for e in range(255):
            flips = (e ^ exponent).bit_count()
            share = rate**flips * (1 - rate) ** (8 - flips)
            one = 1.0 if e else 0.0
            size = 2.0 ** (max(e, 1) - 127)
            first, second = first + share * size * (one + m), second + share * size**2 * (one + 2 * one * m + m2)
        first *= (1 - 2 * rate) * (1 - 2 * sign)
        assert mean[place].item() == pytest.approx(first - w, rel=1e-6)
        assert std[place].item() == pytest.approx(math.sqrt(second - first**2), rel=1e-6)


@pytest.mark.parametrize("code", ["twos-complement", "offset"])
def test_flips_of_flips_are_flips_at_twice_the_rate_less_those_undone(code: str) -> None:
    storage = Integers(8, symmetric=False, code=code)
    twice = parse(f"stored({storage}|bit-flips|bit-flips)").moments(wide(torch.float64), 0.1)
    once = parse(f"stored({storage}|bit-flips)").moments(wide(torch.float64), 2 * 0.1 * 0.9)
    for one, two in zip(once, twice, strict=True):
        torch.testing.assert_close(one, two)


def test_moments_that_have_no_closed_form_are_estimates() -> None:
    """Protected flips of cells that flipped before; 256 chips leave 4% of doubt in a spread, and this is the worst of 640."""
    text = "stored(integers|bit-flips:protected=1|bit-flips:protected=1)"
    twice = parse(text).moments(wide(torch.float64), 0.1).std
    once = parse("int-flips:protected=1").moments(wide(torch.float64), 2 * 0.1 * 0.9).std
    assert 0.7 < float((twice / once).min()) < 0.95 and 1.05 < float((twice / once).max()) < 1.3


# Stuck cells and dead lines


def test_stuck_by_hand() -> None:
    weights = array(-1, 0.25, 0.5)
    pair = Crossbar(g_max=20, g_min=2).encode(weights)
    code = Integers(4, symmetric=False).encode(weights)
    number = Floats("float16").encode(weights)
    for held, zero, largest in (
        (pair, 2.0, 20.0),
        (code, float(torch.as_tensor(code.zero)), 7.0),
        (number, 0.0, 0x7BFF),
        (Weights().encode(weights), 0.0, 1.0),
    ):
        assert Stuck("zero")(held.value, held, 1.0, chip()).unique().tolist() == [zero]
        assert Stuck("max")(held.value, held, 1.0, chip()).unique().tolist() == [largest]
    assert code.decode(torch.as_tensor(code.zero)).abs().max() == 0
    assert number.decode(Stuck("max")(number.value, number, 1.0, chip())).unique().tolist() == [65504]


@pytest.mark.parametrize("at", ["zero", "max", "random"])
@pytest.mark.parametrize("storage", [Crossbar(), Crossbar(mapping="offset"), Integers(4), Floats(), Weights()], ids=str)
def test_stuck_cells_are_nested_and_each_keeps_its_value(storage: Crossbar | Integers | Floats, at: str) -> None:
    held = storage.encode(wide())
    few, many, all_ = (Stuck(at)(held.value, held, rate, chip()) for rate in (0.1, 0.3, 1.0))
    for less, more in ((few, many), (many, all_)):
        struck_before = less != held.value
        assert torch.equal(less[struck_before], more[struck_before]) and not torch.equal(less, more)
    if at == "random" and held.bits is None:  # uniform within the range: Kolmogorov-Smirnov
        assert stats.kstest(all_.flatten().numpy(), stats.uniform(held.low, held.high - held.low).cdf).pvalue > ALARM
    if at == "random" and held.bits is not None:  # and each bit is a fair coin
        for bit in range(held.bits):
            count = int((all_ >> bit & 1).sum())
            assert stats.binomtest(count, all_.numel(), 0.5).pvalue > ALARM


def test_both_cells_of_a_pair_are_stuck_on_their_own() -> None:
    held = Crossbar().encode(wide())
    lost = Stuck("max")(held.value, held, 0.3, chip()) == held.high
    both = int((lost[0] & lost[1]).sum())
    # the peak's own cell is the only one that is there and not stuck
    assert stats.binomtest(both, lost[0].numel(), 0.09).pvalue > ALARM


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.of = nn.MultiheadAttention(8, 2)


LAYERS = {
    "linear": nn.Linear(40, 30),
    "conv": nn.Conv2d(6, 30, 3),
    "grouped": nn.Conv2d(6, 30, 3, groups=3),
    "transposed": nn.ConvTranspose2d(12, 10, 3),
    "grouped transposed": nn.ConvTranspose2d(12, 30, 3, groups=3),
    "depthwise transposed": nn.ConvTranspose2d(12, 24, 3, groups=12),
    "in_proj": Attention(),
}


def filters_of(name: str, value: Tensor) -> Tensor:
    """[filters, ...]: what one output sees, written out for each layer."""
    if name == "transposed":
        return value.transpose(0, 1)
    if "transposed" in name:
        groups = 3 if name.startswith("grouped") else 12
        return torch.cat([block.transpose(0, 1) for block in value.chunk(groups)])
    return value


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("storage", [Weights(), Integers(symmetric=False), Crossbar(mapping="two-sided")], ids=str)
def test_dead_columns_are_whole_filters(storage: Weights | Integers | Crossbar, name: str) -> None:
    found = select(LAYERS[name])[0]
    held = storage.encode(found)
    dead = None
    for rate in (0.2, 0.5):
        after = held.decode(Dead("column")(held.value, held, rate, Draw(0, "test", 0).of(found.name)))
        rows, clean = filters_of(name, after).flatten(1), filters_of(name, held.decode(held.value)).flatten(1)
        assert rows.shape[0] == found.filters
        gone = (rows.abs() < 1e-6).all(1)
        assert 0 < int(gone.sum()) < len(gone)
        assert torch.equal(rows[~gone], clean[~gone])
        assert dead is None or bool((gone | ~dead).all())  # nested
        dead = gone


@pytest.mark.parametrize("name", ["linear", "conv", "transposed", "grouped transposed", "in_proj"])
def test_dead_rows_are_one_input_in_every_filter(name: str) -> None:
    found = select(LAYERS[name])[0]
    after = parse("dead-rows")(found, 0.3, Draw(0, "test", 0).of(found.name))
    axis = 1 if "transposed" in name else 0
    lines = after.movedim(axis, 0).flatten(1)  # [filter, input channel and place in the kernel]
    assert lines.shape[1] == found.value.numel() // found.value.shape[axis]
    gone = (lines == 0).all(0)
    assert 0 < int(gone.sum()) < len(gone)
    assert torch.equal(lines[:, ~gone], found.value.movedim(axis, 0).flatten(1)[:, ~gone])


def test_a_vector_has_a_row_for_each_element_and_one_column() -> None:
    vector = Array("w", torch.ones(100), axis=None)
    assert 0 < int((parse("dead-rows")(vector, 0.3, chip()) == 0).sum()) < 100
    seen = {float(parse("dead-columns")(vector, 0.3, chip(draw)).sum()) for draw in range(30)}
    assert seen == {0.0, 100.0}


BAD = [
    ("int-flips:0,2", "int-flips: strength 2: at most 1 (bit error rate, the probability that a bit flips)."),
    ("int-flips:0:bits=1", "int-flips: bits=1: a whole number from 2 to 16 is needed."),
    ("quantised:0:bits=17", "quantised: bits=17: a whole number from 2 to 16 is needed."),
    ("quantised:0:bits=4.5", "quantised: bits '4.5' is no whole number."),
    ("int-flips:0:code=twos", "No code of int-flips 'twos' here. Did you mean 'twos-complement'?"),
    ("int-flips:0:per=channel", "No per of int-flips 'channel' here. Choose one of: filter, layer."),
    ("int-flips:0:protected=8", "protected=8 of the 8 bits of integers leaves none to flip: at most 7."),
    ("int-flips:0:protected=-1", "bit-flips: protected=-1: a count of bits, 0 or more, is needed."),
    ("float-flips:0:format=float8", "No format of float-flips 'float8' here. Did you mean 'float32'?"),
    ("float-flips:0:format=float16:protected=16", "of the 16 bits of floats:format=float16 leaves none to flip"),
    ("stuck:0:at=one", "No place of stuck 'one' here. Choose one of: max, random, zero."),
    ("stuck:0:g_min=30", "stuck: from g_min=30 to g_max=25 uS"),
    ("dead-rows:1.5", "dead-rows: strength 1.5: at most 1 (share of lines that are lost)."),
    ("stored(weights|dead:line=filter):0", "No line of dead 'filter' here. Choose one of: column, row."),
    (
        "stored(weights|bit-flips):0",
        "bit-flips acts on bits, and weights holds weights: write stored(integers|bit-flips)",
    ),
    ("stored(crossbar|fixed(bit-flips):0.1):0", "bit-flips acts on bits, and crossbar holds conductances"),
    (
        "stored(integers|pcm-read):0",
        "pcm-read acts on conductances, and integers holds bits: write stored(crossbar|pcm-read).",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_text_is_answered_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse_sweep(text)
    assert "\n" not in str(caught.value)
