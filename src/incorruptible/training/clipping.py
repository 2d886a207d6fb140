"""Weights kept within a bound, so that none stands so far out that it sets the scale of all noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..arrays import Array
from ..errors import Mistake

__all__ = ["clip_weights"]


def clip_weights(arrays: Sequence[Array], alpha: float | None = None, *, at: float | None = None) -> None:
    """Clamp every array, in place: to +-alpha std(W), or to +-at where an absolute bound is given.

    To be called after each step of the optimiser. std(W) is of all weights of the array as they are then, about their mean, with
    n - 1 (torch's own); it is taken anew in each call, and falls as outliers are cut. Arrays whose weights are all equal, or
    of one weight alone, stay: they have no outliers. Biases, norms and frozen arrays stay too.

    alpha is 1 at least, for max|W| >= std(W) nearly always, so that a smaller one would shrink the whole layer at every step until
    nothing is left; aihwkit's examples take 2.5 (LAYER_GAUSSIAN). `at` is the w_max of Stutz et al., MLSys 2021 (arXiv 2006.13977),
    0.1 to 0.3 there; they bound biases and norms as well: `select(model, also=("*",))`. Raises `Mistake` for neither, both,
    or values out of range.

    By hand: weights -1, 0, 0, 1, 5 have mean 1 and std sqrt(22 / 4) = 2.345; alpha 2 clamps 5 to 4.690.
    """
    if (alpha is None) == (at is None):
        raise Mistake("clip_weights takes one bound: alpha=2.5, in standard deviations of a layer, or at=0.1.")
    if alpha is not None and not 1 <= alpha < math.inf:
        raise Mistake(
            f"clip_weights: alpha {alpha!r}: standard deviations of a layer, 1 at least, are needed (2.5, say)."
        )
    if at is not None and not 0 < at < math.inf:
        raise Mistake(f"clip_weights: at {at!r}: a finite number above 0 is needed (0.1, say).")
    with torch.no_grad():
        for array in arrays:
            value = array.value
            if not array.parameter.requires_grad:
                continue
            if at is not None:
                value.clamp_(-at, at)
            elif alpha is not None and value.numel() > 1:
                bound = alpha * value.to(torch.promote_types(value.dtype, torch.float32)).std()
                bound = torch.where(bound > 0, bound, math.inf).to(value.dtype)
                value.clamp_(-bound, bound)
