"""An arm over the whole range of test strengths: area, worst case, tolerance.

The strengths of an arm may stand in any order; the functions of this module sort them first. Only
the area is linear in examples, so only the area has an interval over crossed seeds and examples.

Relies on: an `Arm` holds [seeds, strengths, ...] scores in the order of its `strengths`. Keeps: what
a study prints over the whole range uses all strengths that were tested, and says from where to
where they go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..statistics import Interval, crossed_each, curves, t_interval
from .evidence import Arm, shown_in


class Whole(NamedTuple):
    """One arm over the strengths from `low` to `high`, by the definitions of
    `incorruptible.statistics.curves`.

    `area` is the mean score of a strength that is uniform over the range, with its 95% interval
    over crossed seeds and examples. `worst` and `tolerance` are taken from each seed's curve, which
    is averaged over chips and examples, with Student's interval over seeds. They are not linear in
    examples, so they hold for these test examples only. `beyond` counts the seeds that never lose
    `loss`; their tolerance counts as `high`. `tolerance` is None if strength 0 was not tested.
    """

    arm: str
    noise: str
    low: float
    high: float
    area: Interval
    worst: Interval
    tolerance: Interval | None
    beyond: int
    loss: float
    seeds: int

    def plain(self) -> dict[str, Any]:
        """As the summary keeps it."""
        found: dict[str, Any] = {"noise": self.noise, "from": self.low, "to": self.high}
        for name in ("area", "worst", "tolerance"):
            one: Interval | None = getattr(self, name)
            found[name] = (
                None if one is None else {"mean": one.estimate, "low": one.low, "high": one.high}
            )
        return {**found, "loss": self.loss, "seeds_beyond": self.beyond, "seeds": self.seeds}


class Tabulated(NamedTuple):
    """A table as texts."""

    title: str
    head: list[str]
    body: list[list[str]]
    note: str


def tabulated(wholes: Sequence[Whole], unit: str) -> Tabulated | None:
    """The table of arms under one noise over the whole range; None without arms. `unit` is the unit
    of the score.
    """
    if not wholes:
        return None
    one = wholes[0]
    shown = shown_in(unit)
    loss = f"{shown.factor * one.loss:g} {'point' if unit == 'fraction' else unit}"
    body = [
        [
            whole.arm,
            *(shown.half(score) for score in (whole.area, whole.worst)),
            _tolerance(whole),
            str(whole.seeds),
        ]
        for whole in wholes
    ]
    note = (
        f"Area: the mean score where every strength from {one.low:g} to {one.high:g} is equally "
        "likely, ± half of its 95% interval over crossed seeds and examples. Worst: the worst "
        "point of a seed's curve; tolerance: the strength up to which a seed's curve loses at "
        f"most {loss}; both ± half of Student's interval over seeds. A seed that never loses it "
        f"counts as {one.high:g}."
    )
    return Tabulated(
        f"Over the whole range, {one.low:g} to {one.high:g}, under {one.noise}",
        ["arm", f"area ({shown.unit})", f"worst ({shown.unit})", f"tolerance ({loss})", "seeds"],
        body,
        note,
    )


def _tolerance(whole: Whole) -> str:
    if whole.tolerance is None:
        return "needs strength 0"
    if whole.beyond == whole.seeds:
        return f"beyond {whole.high:g}"
    low, estimate, high = whole.tolerance
    more = f" ({whole.beyond} beyond {whole.high:g})" if whole.beyond else ""
    return f"{estimate:.3f} ± {(high - low) / 2:.3f}{more}"


def whole(arm: Arm, noise: str, loss: float = curves.LOSS) -> Whole | None:
    """The arm over its range of strengths; None if a single strength was tested."""
    if len(arm.strengths) < 2:
        return None
    at, places = _rising(arm, ())
    each, higher = arm.test.mean(2)[:, places], arm.sign > 0
    tolerance, beyond = None, 0
    if at[0] == 0:
        found = curves.tolerance(each, at, loss, higher)
        tolerance, beyond = t_interval(found.strength), int(found.beyond.sum())
    worst = t_interval(curves.worst(each, at, higher))
    (mean,) = crossed_each(area(arm)[None])
    return Whole(arm.name, noise, at[0], at[-1], mean, worst, tolerance, beyond, loss, len(each))


def area(arm: Arm, strengths: Sequence[float] = ()) -> NDArray[np.float64]:
    """[S, n] The area of each test example's curve over `strengths`, by default over all that were
    tested.

    Area is linear, so the mean over examples is the area of the mean curve. Raises `UserError` for
    fewer than 2 strengths.
    """
    at, places = _rising(arm, strengths)
    # If no strengths are left out, which is usual, the large array is not copied.
    tested = arm.test if places == list(range(arm.test.shape[1])) else arm.test[:, places]
    return curves.area(np.moveaxis(tested, 1, 2), at)


def best(arms: Sequence[Arm], strengths: Sequence[float] = ()) -> Arm:
    """The arm with the best mean area on validation data; of equal arms the first."""
    return max(arms, key=lambda arm: arm.sign * validation_area(arm, strengths))


def validation_area(arm: Arm, strengths: Sequence[float] = ()) -> float:
    """The area on validation data, averaged over seeds, in the unit of the score. `strengths` are
    as for `area`.
    """
    at, places = _rising(arm, strengths)
    return float(curves.area(arm.validation[:, places], at).mean())


def _rising(arm: Arm, strengths: Sequence[float]) -> tuple[list[float], list[int]]:
    at = sorted(set(strengths or arm.strengths))
    return at, [arm.index(strength) for strength in at]
