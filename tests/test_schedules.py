"""Schedules by hand, at the prompt, and read back from what they write."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from incorruptible.errors import UserError
from incorruptible.schedules import (
    CATALOGUE,
    Constant,
    Cosine,
    Linear,
    Quadratic,
    Reversed,
    Steps,
    WarmupHold,
    parse,
    peak,
)

# schedule, how it is written, its strengths at progress 0, 0.5 and 1, its largest one
SCHEDULES: list[tuple[Any, str, tuple[float, float, float], float]] = [
    (Constant(0.3), "constant:0.3", (0.3, 0.3, 0.3), 0.3),
    (Constant(0), "constant:0", (0, 0, 0), 0),
    (Linear(0, 0.3), "linear:0:0.3", (0, 0.15, 0.3), 0.3),
    (Linear(1e-05, 0.1 + 0.2), "linear:1e-05:0.30000000000000004", (1e-05, 0.150005, 0.3), 0.3),
    (Quadratic(0.1, 0.5), "quadratic:0.1:0.5", (0.1, 0.2, 0.5), 0.5),
    (Cosine(0.4, 0), "cosine:0.4:0", (0.4, 0.2, 0), 0.4),
    (Cosine(0, 2), "cosine:0:2", (0, 1, 2), 2),
    (WarmupHold(0.4), "warmup-hold:0.4:0.5", (0, 0.4, 0.4), 0.4),
    (WarmupHold(0.4, 0.8), "warmup-hold:0.4:0.8", (0, 0.25, 0.4), 0.4),
    (WarmupHold(0.4, 0), "warmup-hold:0.4:0", (0.4, 0.4, 0.4), 0.4),
    (Steps((0.1, 0.2, 0), (0.5, 0.75)), "steps:0.1,0.2,0:0.5,0.75", (0.1, 0.2, 0), 0.2),
    (Reversed(Linear(0.1, 0.3)), "reversed(linear:0.1:0.3)", (0.3, 0.2, 0.1), 0.3),
    (Reversed(WarmupHold(0.4, 0.8)), "reversed(warmup-hold:0.4:0.8)", (0.4, 0.25, 0), 0.4),
]
EACH = pytest.mark.parametrize(
    ("schedule", "text", "strengths", "largest"), SCHEDULES, ids=[text for _, text, _, _ in SCHEDULES]
)


def test_every_member_has_a_row() -> None:
    assert {schedule.name for schedule, _, _, _ in SCHEDULES} | {"auto"} == set(CATALOGUE)  # test_auto.py has that one


@EACH
def test_by_hand(schedule: Any, text: str, strengths: tuple[float, ...], largest: float) -> None:
    assert [schedule(progress) for progress in (0, 0.5, 1)] == pytest.approx(strengths)
    assert peak(schedule) == pytest.approx(largest)


@EACH
def test_it_reads_what_it_writes(schedule: Any, text: str, strengths: tuple[float, ...], largest: float) -> None:
    assert str(schedule) == text
    assert parse(text) == schedule


@EACH
def test_at_the_prompt_it_is_a_table(schedule: Any, text: str, strengths: tuple[float, ...], largest: float) -> None:
    first, progress, values = repr(schedule).split("\n")
    assert first == text
    stops = [float(cell) for cell in progress.removeprefix("progress ").split()]
    assert stops[0] == 0 and 0.5 in stops and stops[-1] == 1
    cells = [float(cell) for cell in values.removeprefix("strength ").split()]
    assert cells == pytest.approx([schedule(stop) for stop in stops], rel=1e-3)
    assert [match.start() for match in re.finditer(r"\S+", progress)] == [
        match.start() for match in re.finditer(r"\S+", values)
    ]


@EACH
def test_reversed_has_the_same_strengths_and_the_same_average(
    schedule: Any, text: str, strengths: tuple[float, ...], largest: float
) -> None:
    places = (np.arange(1000) + 0.5) / 1000
    there, back = ([each(place) for place in places] for each in (schedule, Reversed(schedule)))
    assert math.fsum(there) == pytest.approx(math.fsum(back), rel=1e-9)
    assert sorted(there) == pytest.approx(sorted(back))
    assert Reversed(Reversed(schedule))(0.25) == schedule(0.25)


def test_any_function_of_progress_is_a_schedule() -> None:
    assert Reversed(lambda progress: progress**3)(0.5) == 0.125
    assert peak(lambda progress: 1 - progress) == 1


def test_a_plain_number_is_a_constant() -> None:
    assert parse("0.3") == parse("constant:0.3") == Constant(0.3)


def test_what_is_left_out_has_a_default_and_fields_may_be_named() -> None:
    assert parse("warmup-hold:0.4") == WarmupHold(0.4, 0.5)
    assert parse("warmup-hold:warmup=0.3:peak=0.4") == WarmupHold(0.4, 0.3)


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    assert str(Linear(np.float64(0.1), np.float32(0.5))) == "linear:0.1:0.5"
    steps = Steps([np.float64(0.1), np.int64(1)], [np.float64(0.5)])  # type: ignore[arg-type]
    assert str(steps) == "steps:0.1,1:0.5"
    assert parse(str(steps)) == steps


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: Constant(-0.1), "constant: strength -0.1: a finite number that is not negative is needed"),
    (lambda: Linear(0, math.nan), "linear: stop nan: a finite number"),
    (lambda: Quadratic(math.inf, 0), "quadratic: start inf: a finite number"),
    (lambda: Cosine("0", 1), "cosine: start '0': a finite number"),  # type: ignore[arg-type]
    (lambda: WarmupHold(0.1, 1.5), "warmup-hold: warmup 1.5: a share of training, from 0 to 1"),
    (lambda: Steps((0.1,), (0.5,)), "strengths has 1 entries and at has 1; strengths needs one more"),
    (lambda: Steps((0.1, -0.2), (0.5,)), "steps: strengths -0.2: a finite number"),
    (lambda: Steps((1, 2, 3), (0.5, 0.5)), "rising places between 0 and 1 are needed"),
    (lambda: Steps((1, 2), (1.0,)), "rising places between 0 and 1 are needed"),
    (lambda: Steps((1, 2), (math.nan,)), "rising places between 0 and 1 are needed"),
    (lambda: parse("nan"), "constant: strength nan"),
    (lambda: parse("-1"), "constant: strength -1.0"),
    (lambda: parse("linear:0"), "'linear:0': linear also needs stop"),
    (lambda: parse("linear"), "linear also needs start and stop"),
    (lambda: parse("linear:0:1:2"), "linear takes 2 values, and 3 are given"),
    (lambda: parse("linear:0:much"), "linear: stop 'much' is no number"),
    (lambda: parse("linear:0:1:stop=1"), "stop is given twice"),
    (lambda: parse("lineer:0:1"), "No schedule 'lineer' here. Did you mean 'linear'?"),
    (lambda: parse("warmup-hold:0.4:warmpu=0.3"), "No field of warmup-hold 'warmpu' here. Did you mean 'warmup'?"),
    (lambda: parse("reversed:0:1"), "reversed takes 0 values, and 2 are given"),
    (lambda: parse("reversed"), "needs what it works on in parentheses: reversed(...)"),
    (lambda: parse("reversed(linear:0:1"), "the parentheses do not match"),
    (lambda: parse("linear(linear:0:1):0:1"), "linear takes nothing in parentheses"),
    (lambda: parse(""), "the name of the schedule is missing, such as constant"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_values_are_answered_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        make()
    assert "\n" not in str(caught.value)
