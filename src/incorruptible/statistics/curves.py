"""A curve of scores over strengths as one number, for those who do not know which strength their
hardware will have.

Three numbers answer three questions: `area`, how good the network is on average over the range;
`worst`, how bad it gets; `tolerance`, up to which strength it stays good. All of them take curves
[..., strength], so that many chips or seeds go through in one call.

Relies on: strengths that rise and scores that are finite, which `_curves` checks. Keeps: between
two measured strengths a curve is a straight line, in all three numbers alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

LOSS = 0.01  # of a score that is a fraction: 1 percentage point


class Tolerance(NamedTuple):
    """The strength [...] up to which at most a given loss came.

    `beyond` [...] says that the curve never lost that much. Then `strength` is the largest strength
    that was measured, and the true tolerance lies beyond it.
    """

    strength: NDArray[np.float64]
    beyond: NDArray[np.bool_]


def area(scores: ArrayLike, strengths: ArrayLike) -> NDArray[np.float64]:
    """The area [...] under each curve of scores [..., strength], divided by the range of strengths.
    It is the mean score if every strength of the range is equally likely, in the unit of the score.

    By trapezoids between the strengths [strength]. The area is linear in the scores, so the mean of
    areas is the area of the mean, over chips, seeds and examples alike. It depends on the range:
    compare areas only over equal strengths. Raises `UserError` for fewer than 2 strengths, for
    strengths that do not rise, and for numbers that are not finite.

    By hand, for the first curve: (0.1 * 0.9 + 0.2 * 0.5) / 0.3 = 0.633.

    >>> area([[1.0, 0.8, 0.2], [0.9, 0.9, 0.9]], [0, 0.1, 0.3]).round(3).tolist()
    [0.633, 0.9]
    """
    curve, at = _curves(scores, strengths)
    # The trapezoid rule as weights: a strength counts for half of the widths on its two sides.
    width = np.diff(at)
    weights = (np.append(width, 0.0) + np.append(0.0, width)) / (2 * (at[-1] - at[0]))
    return np.asarray(curve @ weights)


def worst(
    scores: ArrayLike, strengths: ArrayLike, higher_is_better: bool = True
) -> NDArray[np.float64]:
    """The worst score [...] of each curve of scores [..., strength], in the unit of the score.

    A straight line between two measured strengths is worst at one of them, so only measured scores
    are looked at. Raises `UserError` as `area` does.

    >>> worst([[0.9, 0.95, 0.7], [0.8, 0.6, 0.9]], [0, 0.1, 0.2]).tolist()
    [0.7, 0.6]
    """
    curve, _ = _curves(scores, strengths)
    return np.asarray(curve.min(-1) if higher_is_better else curve.max(-1))


def tolerance(
    scores: ArrayLike, strengths: ArrayLike, loss: float = LOSS, higher_is_better: bool = True
) -> Tolerance:
    """The largest strength [...] up to which each curve of scores [..., strength] is at most `loss`
    worse than at strength 0.

    `loss` is in the unit of the score: 0.01 is 1 percentage point of a score that is a fraction.
    The strength is found by linear interpolation. Where a curve falls, recovers and falls again,
    the first fall counts, because hardware may come with any strength below the tolerance. A curve
    that never falls that far is `beyond`. The tolerance is not linear in the scores: the mean over
    chips is not the tolerance of the mean curve.

    Raises `UserError` as `area` does, if the first strength is not 0, and for a loss that is not
    positive. By hand, for the first curve: 0.1 + 0.1 (0.95 - 0.955) / (0.935 - 0.955) = 0.125.

    >>> found = tolerance([[0.96, 0.955, 0.935], [0.9, 0.9, 0.895]], [0, 0.1, 0.2])
    >>> found.strength.round(3).tolist(), found.beyond.tolist()
    ([0.125, 0.2], [False, True])
    """
    curve, at = _curves(scores, strengths)
    if at[0] != 0:
        raise UserError(
            f"strengths begin at {at[0]:g}; a tolerance needs the score at strength 0: measure "
            "that too."
        )
    if not 0 < loss < math.inf:
        raise UserError(
            f"loss is {loss!r}; give how much may be lost, in the unit of the score, for example "
            f"{LOSS}."
        )
    lost = (curve[..., :1] - curve) * (1 if higher_is_better else -1)
    # The last term forgives rounding: a curve that loses exactly `loss` has not fallen.
    fallen = lost > loss + 8 * np.finfo(np.float64).eps * np.abs(curve).max(
        -1, keepdims=True, initial=0
    )
    beyond = ~fallen.any(-1)
    after = np.where(beyond, len(at) - 1, fallen.argmax(-1))
    # The losses at the strengths just before and just after the fall.
    near, far = (np.take_along_axis(lost, (after - back)[..., None], -1)[..., 0] for back in (1, 0))
    share = np.where(beyond, 1.0, np.clip((loss - near) / np.where(beyond, 1.0, far - near), 0, 1))
    return Tolerance(
        np.asarray(at[after - 1] + share * (at[after] - at[after - 1])), np.asarray(beyond)
    )


def _curves(
    scores: ArrayLike, strengths: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and strengths as float64. Raises `UserError` unless both are finite and fit one
    another.
    """
    curve, at = np.asarray(scores, dtype=np.float64), np.asarray(strengths, dtype=np.float64)
    if at.ndim != 1 or len(at) < 2:
        raise UserError(
            f"strengths: shape {at.shape}, where at least 2 of them, [strength], are needed."
        )
    if not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise UserError(
            f"strengths {at.tolist()}: finite numbers that rise are needed; sort them, and the "
            "scores with them."
        )
    if curve.ndim < 1 or curve.shape[-1] != len(at):
        raise UserError(
            f"scores: shape {curve.shape} for {len(at)} strengths, where [..., strength] is needed."
        )
    if not np.isfinite(curve).all():
        raise UserError(
            f"{(~np.isfinite(curve)).sum()} of {curve.size} scores are not finite; give finite "
            "numbers."
        )
    return curve, at
