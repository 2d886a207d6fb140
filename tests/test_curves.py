"""Area, worst case and tolerance of a curve: by hand, by a slow twin on a fine grid, and what they promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from incorruptible.errors import UserError
from incorruptible.statistics.curves import LOSS, area, tolerance, worst

STRENGTHS = np.array([0.0, 0.05, 0.1, 0.2, 0.35])
GRID = np.linspace(0, 0.35, 7001)  # holds every strength


def curves(seed: int = 0, shape: tuple[int, ...] = (4, 50)) -> NDArray[np.float64]:
    """Random ones that fall on the whole, and now and then rise."""
    steps = np.random.default_rng(seed).normal(-0.006, 0.01, (*shape, len(STRENGTHS)))
    return np.asarray(0.9 + steps.cumsum(-1))


def fine(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., strength] -> [..., grid], straight in between."""
    flat = [np.interp(GRID, STRENGTHS, one) for one in curve.reshape(-1, len(STRENGTHS))]
    return np.array(flat).reshape(*curve.shape[:-1], len(GRID))


def test_area_is_the_mean_over_a_fine_grid() -> None:
    curve = curves()
    dense = fine(curve)
    twin = ((dense[..., 1:] + dense[..., :-1]) / 2).mean(-1)
    found = area(curve, STRENGTHS)
    assert found.shape == curve.shape[:-1]
    np.testing.assert_allclose(found, twin, rtol=1e-12)
    assert np.abs(found - curve.mean(-1)).max() > 1e-3  # strengths are not evenly spaced, so weights matter


def test_the_mean_of_areas_is_the_area_of_the_mean() -> None:
    curve = curves()
    assert area(curve, STRENGTHS).mean() == pytest.approx(float(area(curve.mean((0, 1)), STRENGTHS)), rel=1e-12)


@pytest.mark.parametrize("strengths", [[0, 1], [0, 0.1, 1], [0.2, 0.3, 0.5, 0.7]])
def test_the_area_of_a_straight_line_is_its_middle(strengths: list[float]) -> None:
    line = 3 - 2 * np.array(strengths)
    assert float(area(line, strengths)) == pytest.approx((line[0] + line[-1]) / 2)


def test_worst_is_the_worst_over_a_fine_grid() -> None:
    curve = curves()
    np.testing.assert_allclose(worst(curve, STRENGTHS), fine(curve).min(-1), rtol=1e-12)
    np.testing.assert_allclose(worst(curve, STRENGTHS, higher_is_better=False), fine(curve).max(-1), rtol=1e-12)


@pytest.mark.parametrize("loss", [0.003, LOSS, 0.02])
def test_tolerance_is_the_first_fall_on_a_fine_grid(loss: float) -> None:
    curve = curves()
    found = tolerance(curve, STRENGTHS, loss)
    fallen = curve[..., :1] - fine(curve) > loss
    beyond = ~fallen.any(-1)
    np.testing.assert_array_equal(found.beyond, beyond)
    assert 0 < beyond.mean() < 1
    first = GRID[fallen.argmax(-1)]  # at most one step after the truth
    late = first[~beyond] - found.strength[~beyond]
    assert (late >= -1e-12).all() and (late <= GRID[1] + 1e-12).all()
    np.testing.assert_array_equal(found.strength[beyond], STRENGTHS[-1])


def test_tolerance_by_hand() -> None:
    # within 1 point until .1 exactly, and on a level with it after; falls, recovers, falls; at once; half way
    curve = [[0.97, 0.96, 0.96, 0.96], [0.9, 0.87, 0.9, 0.8], [0.9, 0.1, 0.1, 0.1], [0.9, 0.9, 0.88, 0.8]]
    found = tolerance(curve, [0, 0.1, 0.2, 0.3])
    assert found.strength == pytest.approx([0.3, 0.1 / 3, 0.1 / 80, 0.15])
    assert found.beyond.tolist() == [True, False, False, False]


def test_direction_and_level_do_not_matter_to_tolerance() -> None:
    curve = curves()
    one, other = tolerance(curve, STRENGTHS), tolerance(2 - curve, STRENGTHS, higher_is_better=False)
    np.testing.assert_allclose(one.strength, other.strength, atol=1e-9)
    np.testing.assert_array_equal(one.beyond, other.beyond)
    assert tolerance(curve, STRENGTHS, higher_is_better=False).beyond.mean() > one.beyond.mean()


def test_a_larger_loss_is_tolerated_longer() -> None:
    found = [tolerance(curves(), STRENGTHS, loss).strength for loss in (0.002, 0.01, 0.05)]
    assert (found[0] <= found[1]).all() and (found[1] <= found[2]).all() and (found[0] < found[1]).any()


def test_the_tolerance_of_a_mean_is_no_mean_of_tolerances() -> None:
    """Why it says of which curve it is."""
    curve = np.array([[0.9, 0.9, 0.8], [0.9, 0.8, 0.8]])
    each = tolerance(curve, [0, 0.1, 0.2]).strength
    assert each == pytest.approx([0.11, 0.01])
    assert float(tolerance(curve.mean(0), [0, 0.1, 0.2]).strength) == pytest.approx(0.02)


def test_a_single_curve_gives_single_numbers() -> None:
    one = [1.0, 0.5]
    assert [found.shape for found in (area(one, [0, 1]), worst(one, [0, 1]), *tolerance(one, [0, 1]))] == [()] * 4
    assert tolerance(np.empty((0, 2)), [0, 1]).strength.shape == (0,)


@pytest.mark.parametrize("measure", [area, worst, tolerance])
@pytest.mark.parametrize(
    ("scores", "strengths", "says"),
    [
        ([0.9], [0], r"strengths: shape \(1,\), where at least 2"),
        ([0.9, 0.8], [[0, 0.1]], r"shape \(1, 2\)"),
        ([0.9, 0.8], [0.1, 0], "numbers that rise are needed"),
        ([0.9, 0.8], [0, 0], "numbers that rise are needed"),
        ([0.9, 0.8], [0, float("inf")], "finite numbers that rise"),
        ([0.9, 0.8, 0.7], [0, 0.1], r"scores: shape \(3,\) for 2 strengths"),
        (0.9, [0, 0.1], r"shape \(\) for 2"),
        ([[0.9, float("nan")]], [0, 0.1], "1 of 2 scores are not finite"),
    ],
)
def test_what_is_no_curve_is_refused(measure: Any, scores: Any, strengths: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        measure(scores, strengths)


@pytest.mark.parametrize("loss", [0, -0.1, float("nan"), float("inf")])
def test_tolerance_needs_a_loss_and_a_clean_score(loss: float) -> None:
    with pytest.raises(UserError, match="give how much may be lost"):
        tolerance([0.9, 0.8], [0, 0.1], loss)
    with pytest.raises(UserError, match=r"strengths begin at 0\.05; .* measure that too"):
        tolerance([0.9, 0.8], [0.05, 0.1])
    assert area([0.9, 0.8], [0.05, 0.1]) == pytest.approx(0.85)
