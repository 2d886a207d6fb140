"""A curve of score against strength as one number, for those who do not know which strength will
come.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

__all__ = ["LOSS", "Tolerance", "area", "tolerance", "worst"]

LOSS = 0.01  # of a score that is a fraction: 1 point


class Tolerance(NamedTuple):
    """The strength [...] up to which at most a given loss came, and whether [...] the curve never
    fell further: then the strength is the largest that was measured, a bound from below, and the
    truth lies beyond the range.
    """

    strength: NDArray[np.float64]
    beyond: NDArray[np.bool_]


def area(scores: ArrayLike, strengths: ArrayLike) -> NDArray[np.float64]:
    """[...] The area under each curve of scores [..., strength], divided by the range: the mean
    score where every strength of the range is as likely as any other, in the unit of the score.

    Trapezoids between strengths [strength], so exact for curves that are straight in between;
    linear in the scores, so that the mean of areas is the area of the mean, over chips, seeds and
    examples alike. It depends on the range: areas are to be compared only over equal strengths.
    Raises `UserError` for fewer than 2 strengths, strengths that do not rise, and numbers that are
    not finite.

    >>> area([[1.0, 0.8, 0.2], [0.9, 0.9, 0.9]], [0, 0.1, 0.3]).round(3).tolist()  # (.1 .9 + .2 .5) / .3
    [0.633, 0.9]
    """
    curve, at = _curves(scores, strengths)
    width = np.diff(at)
    weights = (np.append(width, 0.0) + np.append(0.0, width)) / (2 * (at[-1] - at[0]))
    return np.asarray(curve @ weights)


def worst(
    scores: ArrayLike, strengths: ArrayLike, higher_is_better: bool = True
) -> NDArray[np.float64]:
    """[...] The worst score of each curve [..., strength], in its own direction and unit.

    Between strengths that were measured a curve is taken as straight, so its worst point is one of
    them. Raises as `area`.

    >>> worst([[0.9, 0.95, 0.7], [0.8, 0.6, 0.9]], [0, 0.1, 0.2]).tolist()
    [0.7, 0.6]
    """
    curve, _ = _curves(scores, strengths)
    return np.asarray(curve.min(-1) if higher_is_better else curve.max(-1))


def tolerance(
    scores: ArrayLike, strengths: ArrayLike, loss: float = LOSS, higher_is_better: bool = True
) -> Tolerance:
    """The largest strength [...] up to which each curve [..., strength] is at most `loss` worse
    than at strength 0.

    `loss` is in the unit of the score, 0.01 being 1 point of one that is a fraction. Linear between
    strengths; where a curve falls, recovers and falls again, the first fall counts, for a device
    may come with any strength below. A curve that never falls so far is `beyond`, and its strength
    the largest that was measured. Not linear in the scores: the mean over chips is not the
    tolerance of the mean curve. Raises as `area`, where the first strength is not 0, and for a loss
    that is not positive.

    >>> found = tolerance([[0.96, 0.955, 0.935], [0.9, 0.9, 0.895]], [0, 0.1, 0.2])
    >>> found.strength.round(3).tolist(), found.beyond.tolist()  # .1 + .1 (.95 - .955) / (.935 - .955)
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
    # The last term is for rounding.
    fallen = lost > loss + 8 * np.finfo(np.float64).eps * np.abs(curve).max(
        -1, keepdims=True, initial=0
    )
    beyond = ~fallen.any(-1)
    after = np.where(beyond, len(at) - 1, fallen.argmax(-1))
    near, far = (np.take_along_axis(lost, (after - back)[..., None], -1)[..., 0] for back in (1, 0))
    share = np.where(beyond, 1.0, np.clip((loss - near) / np.where(beyond, 1.0, far - near), 0, 1))
    return Tolerance(
        np.asarray(at[after - 1] + share * (at[after] - at[after - 1])), np.asarray(beyond)
    )


def _curves(
    scores: ArrayLike, strengths: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as finite numbers, if they fit one another."""
    curve, at = np.asarray(scores, dtype=np.float64), np.asarray(strengths, dtype=np.float64)
    if at.ndim != 1 or len(at) < 2:
        raise UserError(
            f"strengths came with shape {at.shape}; a range needs at least 2 of them, [strength]."
        )
    if not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise UserError(
            f"strengths {at.tolist()}: finite numbers that rise are needed; sort them, and the "
            "scores with them."
        )
    if curve.ndim < 1 or curve.shape[-1] != len(at):
        raise UserError(
            f"scores came with shape {curve.shape} for {len(at)} strengths; [..., strength] is "
            "needed."
        )
    if not np.isfinite(curve).all():
        raise UserError(
            f"{(~np.isfinite(curve)).sum()} of {curve.size} scores are not finite; give finite "
            "numbers."
        )
    return curve, at
