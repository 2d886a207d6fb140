"""Who is struck: each one on its own with probability `rate`, and the struck of one rate among those of every higher one."""

from __future__ import annotations

from torch import Tensor

from ...streams import Noise

__all__ = ["struck"]

_STEPS = 2**24  # the uniform numbers of float32 are multiples of 1 / _STEPS


def struck(noise: Noise, like: Tensor, rate: float, tag: str = "") -> Tensor:
    """Booleans of the shape of `like`, true with probability `rate` to within 2^-48.

    A bit error rate of 1e-7 is less than two steps of a uniform number in float32: those on the step that the rate cuts
    are decided by a second number, which is drawn only if there are any.
    """
    whole, rest = divmod(min(rate, 1.0) * _STEPS, 1.0)
    uniform = noise.uniform(like, tag)
    sure: Tensor = uniform < whole / _STEPS
    if rest == 0:
        return sure
    close = (uniform < (whole + 1) / _STEPS) & ~sure
    if not bool(close.any()):
        return sure
    return sure | (close & (noise.uniform(like, f"{tag}/finer") < rest))
