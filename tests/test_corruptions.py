"""Every promise of a corruption, over the whole catalogue; scales, equivalents and the grammar by hand.

Statistical tests fix their seeds and their n below; over all seeds each fails a sound member with a chance of about ALARM, for
each statement that it tests: they are z-tests of 300 to 1500 chips, whose laws are not quite normal.
"""

from __future__ import annotations

import functools
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from incorruptible.corruptions import (
    CATALOGUE,
    EXAMPLES,
    SCALES,
    Composed,
    Corruption,
    Gaussian,
    LogNormal,
    Mixture,
    Multiplicative,
    Stored,
    Sweep,
    Uniform,
    equivalent,
    parse,
    parse_sweep,
)
from incorruptible.corruptions.storages import Floats
from incorruptible.errors import UserError
from incorruptible.randomness.streams import Draw
from incorruptible.weights.arrays import Array, select

ALARM = 1e-5
# A statement about moments looks at COPIES copies of the weights on each of CHIPS chips: what differs from weight to weight is seen
# CHIPS * COPIES times, at little more than the price of CHIPS. What a chip has in common would be seen CHIPS times only; so
# mixtures, whose strength is drawn once for a chip, are looked at on as many chips, each of one copy.
CHIPS, COPIES = 300, 5
STRENGTH = 0.25

ZEROS = 2  # the filter of zeros among these weights

CELLS = Path(os.path.relpath(Path(__file__).parent / "data" / "cells.csv")).as_posix()
MEASURED = f"measured:file={CELLS}:sha=af72da58"
MEMBERS = [{**EXAMPLES, "measured": MEASURED}.get(name, name) for name in CATALOGUE] + [
    "lognormal:unbiased=true",
    "mixture(gaussian-filter-max):low=0.5",
    "mixture(lognormal:unbiased=true):low=0.25:high=2",
    "mixture(lognormal):high=1.5",
    "mixture(uniform-layer-max):low=1e-05",
    "mixture(pcm-joshi:time=1h)",
    "pcm-joshi:time=1d",
    "pcm-joshi:mapping=two-sided:per=filter",
    "pcm-nandakumar:mapping=offset:levels=16:slices=2:devices=2",
    f"{MEASURED}:g_max=15:g_min=1:mapping=two-sided:time=30min",
    f"{MEASURED}:time=1h:compensation=column",
    f"mixture({MEASURED}:g_max=15:on_off=5:time=1min)",
    "stored(weights|drop)",
    "stored(crossbar|pcm-programming|fixed(drop):0.125)",
    "quantised:bits=2",
    "quantised:bits=4:per=filter",
    "quantised:bits=16:symmetric=false",
    "int-flips:bits=2",
    "int-flips:bits=4:symmetric=false",
    "int-flips:bits=16:per=filter:protected=3",
    "int-flips:symmetric=false:per=filter:code=offset",
    "int-flips:code=sign-magnitude:protected=1",
    "float-flips:format=float16",
    "float-flips:format=bfloat16",
    "float-flips:protected=2",
    "float-flips:protected=9",
    "float-flips:format=float16:protected=6",
    "float-flips:format=bfloat16:protected=9",
    "stuck:at=max",
    "stuck:mapping=two-sided:per=filter:at=random",
    "stuck:mapping=offset:levels=4:slices=2:at=max",
    "mixture(int-flips)",
    "stored(weights|stuck)",
    "stored(weights|stuck:at=random)",
    "stored(integers:bits=4|stuck:at=max|bit-flips)",
    "stored(integers:bits=4|bit-flips|stuck:at=max)",
    "stored(integers|stuck:at=random|bit-flips|bit-flips)",
    "stored(integers:code=sign-magnitude|stuck|bit-flips:protected=2)",
    "stored(integers|dead:line=column|fixed(bit-flips):0.125)",
    "stored(floats:format=bfloat16|stuck:at=random)",
    "stored(floats:format=float16|stuck:at=max|dead|bit-flips:protected=6)",
    "pcm-hermes:time=1h",
    "pcm-hermes:g_max=10.35:time=1d:pair=false",
    "rram-cmo:time=1d:acceptance=0.2",
    "rram-cmo:mapping=one-sided:time=1h",
    "rram-milo:mapping=two-sided",
    "rram-wan:g_max=39.2:fit=cubic",
    "rram-wan:levels=4:slices=2:time=1d",
    "sonos:mapping=two-sided:time=2.5d",
    "sonos:time=5d:read_noise=true",
    "sonos:devices=4:v_read=0.05",
    "state-independent:mapping=offset:time=1h",
    "stored(crossbar:g_max=16|sonos-drift:time=1d|sonos-read)",
]
EACH = pytest.mark.parametrize("text", MEMBERS)
ABSOLUTE = [text for text in MEMBERS if "absolute" in text]  # these scales know nothing of the weights
# Where exponents err, most of E[e^2] comes from numbers that one weight in hundreds shows: no z-test over 1500 chips is sound
# there. tests/test_digital.py compares these moments with sums over every pattern, and counts flips.
HEAVY = {text for text in MEMBERS if "float" in text and not re.search("protected=[69]", text)}
LONG = {
    "mixture(int-flips)",
    f"mixture({MEASURED}:g_max=15:on_off=5:time=1min)",
}  # the other mixtures are looked at in make test
LIGHT = pytest.mark.parametrize(
    "text",
    [pytest.param(text, marks=pytest.mark.slow if text in LONG else ()) for text in MEMBERS if text not in HEAVY],
)
# a number's bits know nothing of the others, and a weight of zero does not stay zero
NO_SCALE = {text for text in MEMBERS if "float" in text and "dead" not in text.split("|")[-1]}
FILTERWISE = ("filter", "multiplicative", "lognormal", "stored(weights|drop)", "dropconnect")


def weights(dtype: torch.dtype = torch.float32) -> Array:
    """Eight filters of 24 weights, whose sizes differ by factors of up to a thousand."""
    torch.manual_seed(1)
    sizes = torch.logspace(-2, 1, 8)[:, None]
    return Array("w", (torch.randn(8, 24) * sizes).to(dtype))


def as_stored(corruption: Corruption) -> Stored | None:
    """The storage and the faults that it is made of, if it is."""
    corruption = corruption.of if isinstance(corruption, Mixture) else corruption
    stored = corruption.stored() if isinstance(corruption, Composed) else corruption
    return stored if isinstance(stored, Stored) else None


def quantised(corruption: Corruption, dtype: torch.dtype = torch.float64) -> bool:
    """Whether the resting state of weights of that dtype is what its storage can hold, and not the weights themselves."""
    stored = as_stored(corruption)
    if stored is not None and isinstance(stored.storage, Floats):
        kind: torch.dtype = getattr(torch, stored.storage.format)
        return torch.promote_types(dtype, kind) != kind
    return stored is not None and not stored.storage.exact


def still(corruption: Corruption) -> bool:
    """Whether nothing happens at random: rounding alone, the same on every chip and at every strength."""
    stored = as_stored(corruption)
    return stored is not None and not stored.faults


def pinned(corruption: Corruption) -> bool:
    return bool(getattr(corruption, "pinned", False))


def on_chip(corruption: Corruption, array: Array, strength: float = STRENGTH, draw: int = 0, seed: int = 0) -> Tensor:
    return corruption(array, strength, Draw(seed, "test", draw).of(array.name))


def chance(each: NDArray[np.float64], truth: float) -> float:
    """Two-sided: how likely independent numbers of mean `truth` lie as far off as these; a z-test."""
    z = (each.mean() - truth) / (each.std(ddof=1) / math.sqrt(len(each)))
    return float(2 * stats.norm.sf(abs(z)))


@EACH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_strength_zero_is_the_resting_state(text: str, dtype: torch.dtype) -> None:
    """The weights, or the weights as the storage holds them, which it then holds exactly: to the rounding of the type."""
    corruption, array = parse(text), weights(dtype)
    rest = on_chip(corruption, array, 0.0)
    if pinned(corruption):
        assert not torch.equal(rest, array.value)
    elif quantised(corruption, dtype):
        assert torch.equal(on_chip(corruption, array, 0.0, draw=1), rest)
        # 16-bit weights may be among the numbers that are held, and these weights are numbers of float32
        assert dtype.itemsize == 2 or text.startswith("float-flips") or not torch.equal(rest, array.value)
        again = on_chip(corruption, Array("w", rest), 0.0)
        torch.testing.assert_close(
            again, rest, rtol=0, atol=float(array.value.abs().max()) * torch.finfo(dtype).eps * 4
        )
    else:
        assert torch.equal(rest, array.value)


@EACH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_shape_the_dtype_and_the_device_are_kept_and_the_input_is_untouched(text: str, dtype: torch.dtype) -> None:
    array = weights(dtype)
    before = array.value.clone()
    after = on_chip(parse(text), array)
    assert (after.shape, after.dtype, after.device) == (before.shape, dtype, before.device)
    assert torch.equal(array.value, before)
    assert after.data_ptr() != array.value.data_ptr()
    assert not torch.equal(after, before) and bool(after.isfinite().all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EACH
def test_a_chip_is_the_same_on_another_device(text: str) -> None:
    here = weights()
    there = Array("w", here.value.cuda())
    after = on_chip(parse(text), there)
    assert after.device == there.value.device
    torch.testing.assert_close(after.cpu(), on_chip(parse(text), here), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", [text for text in MEMBERS if not re.match("mixture.*flips", text)])
def test_no_draw_waits_for_the_device_of_the_weights(text: str) -> None:
    """A meta tensor has no values that could be read back. Rates that are no multiple of 2^-24 may look for ties (`struck`)."""
    array = Array("w", weights().value.to("meta"))
    after = on_chip(parse(text), array)
    assert (after.device.type, after.shape, after.dtype) == ("meta", array.value.shape, array.value.dtype)


@EACH
def test_the_same_stream_gives_the_same_bits_and_another_draw_or_seed_other_ones(text: str) -> None:
    array = weights()
    one = on_chip(parse(text), array)
    assert torch.equal(on_chip(parse(text), array), one)
    if still(parse(text)):
        others = [on_chip(parse(text), array, **other) for other in ({"draw": 1}, {"seed": 1}, {"strength": 0.0})]
        assert all(torch.equal(other, one) for other in others) and not torch.equal(one, array.value)
        return
    assert not torch.equal(on_chip(parse(text), array, draw=1), one)
    assert not torch.equal(on_chip(parse(text), array, seed=1), one)


@pytest.mark.parametrize("text", [text for text in MEMBERS if text not in {*ABSOLUTE, *NO_SCALE}])
def test_all_zero_filters_stay_zero(text: str) -> None:
    array = Array("w", weights().value.clone())
    array.parameter[3] = 0
    whole = not any(
        scale in text for scale in FILTERWISE
    )  # the scale is the layer's, and a filter of zeros has neighbours
    if whole:
        array.parameter[:] = 0
    after = on_chip(parse(text), array)
    assert not after[3].any()
    assert whole or (after != array.value).any(1).tolist() == [filter != 3 for filter in range(8)]


@functools.cache
def errors_of(text: str) -> tuple[Array, Tensor]:
    """Copies of weights with a filter of zeros, and their errors at STRENGTH on many chips [chips, filters, weights], drawn once
    for all statements about them."""
    corruption = parse(text)
    chips, copies = (CHIPS * COPIES, 1) if isinstance(corruption, Mixture) else (CHIPS, COPIES)
    one = weights(torch.float64).value.clone()
    one[ZEROS] = 0
    array = Array("w", one.repeat(copies, 1))
    chips = 2 if still(corruption) else chips
    return array, torch.stack([on_chip(corruption, array, draw=k) - array.value for k in range(chips)])


@LIGHT
def test_the_stated_moments_hold(text: str) -> None:
    """Errors in units of their stated spread: mean 0 and mean square 1, as z-tests over chips, which are independent."""
    corruption, (array, errors) = parse(text), errors_of(text)
    mean, std = (moment.expand_as(array.value) for moment in corruption.moments(array, STRENGTH))
    if still(corruption):
        assert not std.any()
        torch.testing.assert_close(errors, mean.expand_as(errors), rtol=1e-6, atol=1e-6)
        return
    live = std > 0  # a code of zero that is lost is still a code of zero
    torch.testing.assert_close(errors[:, ~live], mean[~live].expand(len(errors), -1), rtol=1e-6, atol=1e-6)
    units = torch.where(live, (errors - mean) / torch.where(live, std, 1.0), 0.0)
    # [chips, filters]: the copies of a filter are one filter, so that no filter's size is traded for another's
    squares, counts = (units**2).unflatten(1, (-1, 8)).sum((1, 3)), live.unflatten(0, (-1, 8)).sum((0, 2))
    assert [filter for filter in range(8) if not counts[filter]] in ([], [ZEROS])
    by_filter = [(squares[:, filter] / counts[filter], 1.0) for filter in range(8) if counts[filter]]
    whole = [(units.sum((1, 2)) / counts.sum(), 0.0), (squares.sum(1) / counts.sum(), 1.0)]
    for each, truth in [*whole, *by_filter]:
        assert chance(each.numpy(), truth) > ALARM


@EACH
def test_moments_of_strength_zero_are_zero(text: str) -> None:
    corruption, array = parse(text), weights()
    mean, std = (part.expand_as(array.value) for part in corruption.moments(array, 0.0))
    if pinned(corruption):  # its moments are those of chips: test_the_stated_moments_hold
        assert bool(mean.any()) and bool(std.any())
        return
    rest = on_chip(corruption, array, 0.0) - array.value
    assert bool(rest.any()) == quantised(corruption, array.value.dtype)
    torch.testing.assert_close(mean, rest, rtol=0, atol=1e-6 * float(array.value.abs().max()))
    assert float(std.max()) <= 1e-6 * float(array.value.abs().max())


@EACH
def test_it_reads_what_it_writes(text: str) -> None:
    corruption = parse(text)
    assert parse(str(corruption)) == corruption
    assert str(corruption) == text


@EACH
@pytest.mark.parametrize("strengths", [(0.0,), (0.0, 0.1, 0.2), (1e-05, 0.1 + 0.2, 1 / 3, 5e-324), (0, 1)])
def test_a_sweep_reads_what_it_writes(text: str, strengths: tuple[float, ...]) -> None:
    sweep = Sweep(parse(text), strengths)
    assert parse_sweep(str(sweep)) == sweep
    if strengths[1:]:
        numpy = Sweep(parse(text), tuple(np.float64(strength) for strength in strengths))
        assert str(numpy) == str(sweep)


@EACH
def test_it_says_what_it_is(text: str) -> None:
    corruption = parse(text)
    assert corruption.unit and corruption.formula.startswith("w ") and corruption.source
    assert "\n" not in corruption.unit + corruption.formula + corruption.source
    assert " 1 " not in corruption.formula and (type(corruption).__doc__ or "").strip()


BY_HAND = torch.tensor([[3.0, -4.0], [0.0, 2.0]])
STDS = {  # of gaussian-<scale> at strength 0.1 on BY_HAND, row by row
    "filter-max": (0.4, 0.2),
    "filter-sqrtmax": (0.2, 0.1 * math.sqrt(2)),
    "filter-norm": (0.5, 0.2),
    "layer-max": (0.4, 0.4),
    "absolute": (0.1, 0.1),
}


@pytest.mark.parametrize("scale", SCALES)
def test_scales_by_hand(scale: str) -> None:
    array = Array("w", BY_HAND)
    want = torch.tensor(STDS[scale])[:, None].expand(2, 2)
    torch.testing.assert_close(Gaussian(scale).moments(array, 0.1).std.expand(2, 2), want)
    torch.testing.assert_close(Uniform(scale).moments(array, 0.1).std.expand(2, 2), want / math.sqrt(3))
    z = Draw(0, "test", 0).of("w").normal(BY_HAND)
    torch.testing.assert_close(on_chip(Gaussian(scale), array, 0.1), BY_HAND + want * z)
    u = 2 * Draw(0, "test", 0).of("w").uniform(BY_HAND) - 1
    torch.testing.assert_close(on_chip(Uniform(scale), array, 0.1), BY_HAND + want * u)


def test_errors_in_proportion_by_hand() -> None:
    array, z = Array("w", BY_HAND), Draw(0, "test", 0).of("w").normal(BY_HAND)
    torch.testing.assert_close(on_chip(Multiplicative(), array, 0.1), BY_HAND * (1 + 0.1 * z))
    torch.testing.assert_close(on_chip(LogNormal(), array, 0.1), BY_HAND * torch.exp(0.1 * z))
    torch.testing.assert_close(on_chip(LogNormal(unbiased=True), array, 0.1), BY_HAND * torch.exp(0.1 * z - 0.005))
    mean, std = LogNormal().moments(array, 1.0)
    torch.testing.assert_close(mean, BY_HAND * (math.exp(0.5) - 1))
    torch.testing.assert_close(std, BY_HAND.abs() * math.sqrt((math.e - 1) * math.e))
    assert not LogNormal(unbiased=True).moments(array, 1.0).mean.any()
    for unbiased in (False, True):
        with pytest.raises(UserError, match="strength 27: its spread is beyond 1e308; at most 26 has a finite one"):
            LogNormal(unbiased).moments(array, 27.0)
        assert bool(LogNormal(unbiased).moments(Array("w", BY_HAND.double()), 26.0).std.isfinite().all())


def test_a_lognormal_error_changes_no_sign_and_a_uniform_one_keeps_its_bound() -> None:
    array = weights()
    for draw in range(100):
        assert torch.equal(on_chip(LogNormal(), array, 3.0, draw).sign(), array.value.sign())
        error = on_chip(Uniform("filter-max"), array, 0.5, draw) - array.value
        assert bool((error.abs() <= 0.5 * array.peak() * (1 + 1e-5)).all())


def test_a_mixture_is_one_strength_for_all_arrays_of_a_chip() -> None:
    arrays = [weights(), Array("v", torch.ones(4, 6))]
    mixture, inner = Mixture(Gaussian("filter-max"), low=0.5, high=2.0), Gaussian("filter-max")
    shares = [Draw(0, "test", draw).of("").chip("mixture") for draw in range(20)]
    assert len(set(shares)) == 20
    for draw, share in enumerate(shares):
        for array in arrays:
            assert torch.equal(
                on_chip(mixture, array, 0.2, draw), on_chip(inner, array, 0.2 * (0.5 + 1.5 * share), draw)
            )


def test_protecting_or_adding_a_layer_leaves_the_chip_of_the_others() -> None:
    torch.manual_seed(0)
    small = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    large = nn.Sequential(*small, nn.Conv1d(1, 2, 2))
    chips = [
        {array.name: on_chip(parse("mixture(gaussian-filter-max)"), array) for array in arrays}
        for arrays in (select(small), select(large), select(large, protect=("0.*",)), select(large)[::-1])
    ]
    assert [len(chip) for chip in chips] == [2, 3, 2, 3]
    for name in ("0.weight", "1.weight", "2.weight"):
        same = [chip[name] for chip in chips if name in chip]
        assert len(same) > 1 and all(torch.equal(one, same[0]) for one in same)


def test_equivalent_strengths_by_hand() -> None:
    """Errors over maxima 4 and 2: (0.5, 0.2) of the norms; biased ones count with their mean; weights count, not arrays."""
    wide, ones = Array("wide", BY_HAND), Array("ones", torch.ones(2, 1))
    norm = math.sqrt(((0.5 / 4) ** 2 + (0.2 / 2) ** 2) / 2)
    both = math.sqrt((4 * norm**2 + 2 * 0.1**2) / 6)
    found = equivalent(Gaussian("filter-norm"), 0.1, [wide, ones])
    assert found.arrays == pytest.approx({"wide": norm, "ones": 0.1})
    assert found.strength == pytest.approx(both)
    square = math.exp(2) - 2 * math.exp(0.5) + 1  # E (e^z - 1)^2
    assert equivalent(LogNormal(), 1.0, [ones]).strength == pytest.approx(math.sqrt(square))
    assert equivalent(Gaussian("absolute"), 0.1, [wide], "layer-max").strength == pytest.approx(0.1 / 4)
    assert equivalent(Gaussian("filter-max"), 0.3, [wide, ones]).strength == pytest.approx(0.3)
    assert equivalent(Gaussian("absolute"), 0.1, [Array("none", torch.zeros(2, 2))]) == (0.0, {"none": 0.0})
    with pytest.raises(UserError, match=r"No scale 'filtermax' here\. Did you mean 'filter-max'\?"):
        equivalent(LogNormal(), 1.0, [ones], "filtermax")


@LIGHT
def test_equivalent_strengths_are_the_size_of_simulated_errors(text: str) -> None:
    """The mean square of errors over max|W_f|, as a z-test over chips; a filter of zeros has no part in it."""
    corruption, (array, errors) = parse(text), errors_of(text)
    peak = array.peak()
    live = peak.squeeze() > 0
    assert not live.all()
    found = equivalent(corruption, STRENGTH, [array]).strength
    each = ((errors[:, live] / peak[live]) ** 2).mean((1, 2)).numpy()
    if still(corruption):
        np.testing.assert_allclose(each, found**2, rtol=1e-6)
    else:
        assert chance(each, found**2) > ALARM


BAD = [
    ("gausian-filter-max:0.1", "No corruption 'gausian-filter-max' here. Did you mean 'gaussian-filter-max'?"),
    ("gaussian-filtermax:0.1", "Did you mean 'gaussian-filter-max'?"),
    ("rram-wan:sigma=2", "'sigma' here. Choose one of: compensation, devices, fit, g_max,"),
    ("rram-wan:g_mx=2", "'g_mx' here. Did you mean 'g_max'?"),
    ("multiplicativ:0.1", "Did you mean 'multiplicative'?"),
    ("gaussian", "'gaussian' needs its scale in the name"),
    ("gaussian:0.1", "'gaussian' needs its scale in the name"),
    ("rram:1", "'rram' is no corruption by itself: rram-cmo, rram-milo, rram-wan."),
    ("uniform:0.1", "uniform-absolute, uniform-filter-max, "),
    ("", "the corruption is an empty text; write, for example, gaussian-filter-max:.1."),
    (":0.1", "the name of the corruption is missing, such as gaussian-"),
    ("gaussian-filter-max:-0.1", "strength -0.1: a finite number that is not negative is needed"),
    ("gaussian-filter-max:nan", "strength 'nan': a finite number is needed"),
    ("gaussian-filter-max:0,inf", "strength 'inf': a finite number is needed"),
    ("gaussian-filter-max:0,,1", "strength '' is no number"),
    ("gaussian-filter-max:much", "strength 'much' is no number"),
    (
        "gaussian-filter-max",
        "'gaussian-filter-max': strengths are missing; write, for example, gaussian-filter-max:0,.1,.2.",
    ),
    ("gaussian-filter-max:0:0.1", "strengths are given 2 times; write, for example, gaussian-filter-max:0,.1,.2."),
    ("gaussian-filter-max:0.1,0,.1", "strengths 0.1,0,0.1: one is given twice"),
    ("lognormal:0.1:unbiasd=true", "No field of lognormal 'unbiasd' here. Did you mean 'unbiased'?"),
    ("lognormal:0.1:unbiased=yes", "lognormal: unbiased 'yes': write true or false"),
    ("multiplicative:0.1:low=1", "'multiplicative:low=1': multiplicative has no fields."),
    ("lognormal:0.1:unbiased=true:unbiased=true", "a field is named twice"),
    ("mixture(lognormal):1:low=2", "mixture: low 2 and high 1: 0 <= low <= high is needed"),
    ("mixture(lognormal):1:low=-1", "mixture: low -1 and high 1: 0 <= low <= high is needed"),
    ("mixture(lognormal):1:high=inf", "mixture: high 'inf': a finite number is needed"),
    ("mixture(lognormal:1", "the parentheses do not match"),
    ("mixture(lognormal)):1", "the parentheses do not match"),
    ("mixture(lognormal)s:1", "nothing may stand between ')' and ':'"),
    ("mixture:1", "mixture needs what it works on in parentheses: mixture(...)"),
    ("mixture():1", "the name of the corruption is missing"),
    ("mixture(gaussian):1", "'gaussian' needs its scale in the name"),
    ("mixture(mixture(lognormal)):1", "write a single range"),
    ("lognormal(lognormal):1", "lognormal takes nothing in parentheses"),
    (
        "mixture(lognormal:1:unbiased=true):1",
        "a strength stands here, where a corruption alone is needed: 'lognormal:unbiased=true'",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_text_is_answered_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse_sweep(text)
    assert "\n" not in str(caught.value)


def test_a_corruption_alone_has_no_strength() -> None:
    with pytest.raises(UserError, match=re.escape("alone is needed: 'mixture(lognormal:unbiased=true):high=2'.")):
        parse("mixture(lognormal:unbiased=true):0.1:high=2")


def test_a_scale_that_does_not_exist_is_refused_at_once() -> None:
    for kind in (Gaussian, Uniform):
        with pytest.raises(UserError, match="No scale 'filter-mean' here"):
            kind("filter-mean")
