"""The mechanism of a failing training, from records; over seeds the rule `vanishing` tests it as well (test_verdicts)."""

from __future__ import annotations

from typing import Any

import pytest

from incorruptible.diagnostics.mechanism import before_stall, mechanism, probes
from incorruptible.errors import UserError


def look(step: int, accuracy: float, ratio: float | None = 1.0, signal: float = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "probe_mean_ratio": ratio,
        "probe_signal_to_noise": signal,
        "probe_clean_accuracy": accuracy,
        "probe_cosine": 0.5,
        "probe_dead": 0.1,
        "probe_loss_variation": 0.2,
        "probe_steepness": None,
        **more,
    }


def course(ratio: float, signal: float) -> list[dict[str, Any]]:
    """What counts is the second look, at step 8; the fourth one knows the epoch."""
    return [
        look(1, 0.1),
        look(8, 0.3, ratio, signal),
        {"step": 12, "loss": 1.0},
        look(16, 0.6),
        look(80, 0.6, epoch=10),
    ]


@pytest.mark.parametrize(
    ("ratio", "signal", "lost", "restored", "word"),
    [
        (0.1, 2.0, 0.5, False, "vanishing"),
        (0.49, 2.0, 0.101, False, "vanishing"),
        (0.51, 2.0, 0.5, False, "neither"),
        (0.1, 2.0, 0.5, True, "neither"),  # it vanishes, and clipping restores it
        (0.9, 0.1, 0.5, True, "variance"),
        (0.51, 0.29, 0.5, True, "variance"),
        (0.9, 0.31, 0.5, True, "neither"),
        (0.9, 0.1, 0.5, False, "neither"),
        (0.9, 0.1, 0.5, None, "neither"),  # nobody clipped
        (0.1, 2.0, 0.5, None, "neither"),
        (0.1, 0.1, 0.1, False, "no failure"),
        (0.1, 0.1, -0.2, False, "no failure"),
    ],
)
def test_one_training(ratio: float, signal: float, lost: float, restored: bool | None, word: str) -> None:
    found = mechanism([course(ratio, signal)], lost, restored)
    assert (found.word, found.step, found.epoch) == (word, 8, 1.0)
    assert found.ratio == (ratio,) * 3 and found.signal == (signal,) * 3
    assert (found.cosine, found.dead, found.variation, found.steepness) == (0.5, 0.1, 0.2, None)


def test_seeds_that_differ_decide_nothing() -> None:
    """Means of .35 and .2, whose intervals reach over the thresholds."""
    assert mechanism([course(0.1, 1.0), course(0.6, 1.0)], 0.5, False).word == "neither"
    assert mechanism([course(0.9, 0.05), course(0.9, 0.35)], 0.5, True).word == "neither"
    assert mechanism([course(0.1, 1.0), course(0.11, 1.0)], 0.5, False).word == "vanishing"


def test_a_training_that_never_rises_has_nothing_before_its_stall() -> None:
    flat = [look(1, 0.1, 0.01), look(8, 0.11, 0.01), look(80, 0.12, 0.01)]
    found = mechanism([flat], 0.8, False)
    assert (found.word, found.step, found.epoch, found.cause) == (
        "neither",
        None,
        None,
        "no probe lies before the stall",
    )
    assert before_stall([flat]) == (0, None)


def test_steepness_is_of_those_that_climb() -> None:
    climbs = [look(1, 0.1, probe_steepness=3.0), look(8, 0.6, probe_steepness=9.0)]
    stays = [look(1, 0.1), look(8, 0.6)]
    assert mechanism([climbs, stays], 0.5, False).steepness == 3.0


def test_only_looks_count() -> None:
    assert [one["step"] for one in probes(course(1, 1))] == [1, 8, 16, 80]


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError):
        mechanism([course(float("nan"), 1.0), course(1.0, 1.0)], 0.5, False)
