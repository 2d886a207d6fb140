"""Randomness by name: the same numbers for the same name, on every machine and in every release, and no others.

The tests of distributions fix seed and n; over all seeds each fails sound numbers with a chance of at most ALARM.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from incorruptible.randomness.streams import Draw, Exact, Noise, add_normal, key

ALARM = 1e-4
LIKE = torch.empty(100_000)
KINDS: dict[str, Callable[[Noise, Tensor], Tensor]] = {
    "normal": lambda noise, like: noise.normal(like),
    "uniform": lambda noise, like: noise.uniform(like),
}
EACH = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(
    ("parts", "number"),
    [
        ((), 8238016292129134938),
        (("",), 92071907489751770),
        ((0,), 2884912221505309546),
        (("0",), 3011193786252400696),
        ((0, "test", 3, "fc.weight"), 1237264161335992653),
        ((2**70, "ключ"), 2045557910030715517),
    ],
)
def test_known_keys(parts: tuple[str | int, ...], number: int) -> None:
    """Chips stay what they are over releases: these numbers never change."""
    assert key(*parts) == number


NORMAL = [-0.5263265371322632, 0.8973966240882874, -2.7727973461151123, 0.8563718199729919]
UNIFORM = [0.5418026447296143, 0.07730776071548462, 0.9272416234016418, 0.21701085567474365]
LARGE = [0.8246830701828003, 0.246351957321167, 0.650175929069519, 0.4739653170108795]


@pytest.mark.parametrize("native", [False, True])
def test_known_numbers(native: bool) -> None:
    """As for keys. Small and large tensors take different paths in torch; a normal number may differ in its last bit."""
    noise = Draw(0, "test", 3, native).of("fc.weight")
    assert noise.normal(torch.empty(4)).tolist() == pytest.approx(NORMAL, abs=2e-6)
    assert noise.normal(torch.empty(5, 20))[0, :4].tolist() == pytest.approx(LARGE, abs=2e-6)
    assert noise.uniform(torch.empty(4)).tolist() == UNIFORM
    assert noise.chip("mixture") == 0.8659102670780202


def test_names_do_not_collide() -> None:
    layers = [f"layers.{i}.weight" for i in range(1000)]
    names = {
        (seed, purpose, k, n) for seed in range(5) for purpose in ("test", "train") for k in range(10) for n in layers
    }
    assert len({key(*name) for name in names}) == len(names) == 100_000
    close = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        ("a", "b", "c"),
        (1, 23),
        (12, 3),
        ("1", 23),
        (1, "23"),
        ("", "abc"),
        ("abc", ""),
    ]
    assert len({key(*name) for name in close}) == len(close)
    assert all(0 <= key(*name) < 2**63 for name in names)


def test_numbers_and_strings_of_numpy_are_those_of_python() -> None:
    assert key(np.int64(3), np.str_("w"), np.uint8(4)) == key(3, "w", 4)
    with pytest.raises(TypeError):
        key(3.0)  # type: ignore[arg-type]


@EACH
def test_one_and_two_threads_give_the_same_bits(kind: str) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(KINDS[kind](Draw(0, "test", 0).of("w"), torch.empty(1000, 1001)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@EACH
def test_the_distribution(kind: str) -> None:
    numbers = KINDS[kind](Draw(0, "test", 0).of("w"), LIKE).numpy()
    assert stats.kstest(numbers, {"normal": "norm", "uniform": "uniform"}[kind]).pvalue > ALARM
    assert kind == "normal" or 0 <= numbers.min() <= numbers.max() < 1


def test_a_chip_has_one_uniform_number_that_all_its_arrays_share() -> None:
    draws = [Draw(0, "test", index) for index in range(5000)]
    numbers = [draw.of("a").chip() for draw in draws]
    assert numbers == [draw.of("b").chip() for draw in draws]
    assert stats.kstest(numbers, "uniform").pvalue > ALARM
    assert len({*numbers, *(draw.of("a").chip("other") for draw in draws)}) == 2 * len(draws)


OTHERS: list[Noise] = [
    Draw(0, "test", 0).of("w"),
    Draw(1, "test", 0).of("w"),
    Draw(0, "train", 0).of("w"),
    Draw(0, "test", 1).of("w"),
    Draw(0, "test", 0).of("v"),
    Draw(0, "test", 0).of(""),
]


@EACH
def test_seed_purpose_draw_array_and_tag_each_make_other_numbers(kind: str) -> None:
    numbers = [KINDS[kind](noise, LIKE) for noise in OTHERS]
    tagged = getattr(OTHERS[0], kind)(LIKE, "read")
    bound = stats.norm.isf(ALARM / 2) / len(LIKE) ** 0.5  # of the correlation of independent numbers
    for one, other in combinations([*numbers, tagged], 2):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < bound
    assert torch.equal(KINDS[kind](OTHERS[0], LIKE), numbers[0])


@EACH
def test_asking_touches_no_global_generator_and_gives_a_tensor_of_ones_own(kind: str) -> None:
    state = torch.random.get_rng_state()
    noise = Draw(0, "test", 0).of("w")
    KINDS[kind](noise, LIKE).zero_()
    assert KINDS[kind](noise, LIKE).any()
    assert torch.equal(torch.random.get_rng_state(), state)


@EACH
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(torch.float64, torch.float64)] + [(d, torch.float32) for d in (torch.float32, torch.bfloat16, torch.float16)],
)
def test_numbers_are_single_precision_or_as_precise_as_what_they_are_for(
    kind: str, native: bool, dtype: torch.dtype, kept: torch.dtype
) -> None:
    """The numbers are those of single precision for every type: a chip does not depend on it."""
    noise = Draw(0, "test", 0, native).of("w")
    numbers = KINDS[kind](noise, torch.empty(3, 7, dtype=dtype))
    assert numbers.dtype == kept
    assert torch.equal(numbers.float(), KINDS[kind](noise, torch.empty(3, 7)))


@EACH
def test_on_the_cpu_the_noise_of_training_is_the_exact_one(kind: str) -> None:
    exact, native = Draw(3, "train", 5).of("w"), Draw(3, "train", 5, native=True).of("w")
    assert type(exact) is Exact and type(native) is not Exact
    assert torch.equal(KINDS[kind](exact, LIKE), KINDS[kind](native, LIKE))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EACH
def test_exact_noise_is_the_same_on_every_device_and_the_native_one_is_drawn_there(kind: str) -> None:
    there = LIKE.cuda()
    exact, native = (KINDS[kind](Draw(0, "test", 0, native).of("w"), there) for native in (False, True))
    assert exact.device == native.device == there.device
    assert torch.equal(exact.cpu(), KINDS[kind](Draw(0, "test", 0).of("w"), LIKE))
    assert stats.kstest(native.cpu().numpy(), {"normal": "norm", "uniform": "uniform"}[kind]).pvalue > ALARM
    assert torch.equal(native, KINDS[kind](Draw(0, "test", 0, True).of("w"), there))


def test_a_twin_is_mirrored() -> None:
    """Normal numbers change sign; uniform ones stay below 1 and on the same grid; reads and chips follow."""
    noise, twin = Draw(0, "test", 3).of("fc.weight"), Draw(0, "test", 3, mirrored=True).of("fc.weight")
    assert torch.equal(twin.normal(LIKE), -noise.normal(LIKE))
    low = noise.uniform(torch.empty(2_000_000))
    high = twin.uniform(torch.empty(2_000_000))
    assert torch.equal((low.double() + high.double()), torch.full_like(low, 1 - 2**-24).double())
    assert float(high.min()) >= 0 and float(high.max()) < 1
    assert twin.chip() == pytest.approx(1 - noise.chip(), abs=1e-15)
    assert torch.equal(twin.reading.normal(LIKE), -noise.reading.normal(LIKE))
    out, std = torch.ones(300, 500), torch.full((300, 1), 0.3)
    add_normal(twin, out, std, out)
    assert torch.equal(out, 1 + 0.3 * twin.normal(out))
    assert torch.equal(
        Draw(0, "test", 3).of("fc.weight").normal(LIKE), noise.normal(LIKE)
    )  # by default nothing changes
