"""Weights held as integers: a step, an integer level for each weight, and a code of a few bits for
each level.

Keeps: a weight comes back to within half a step. Any pattern that faults make can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...errors import UserError, unknown
from ...specs.grammar import write
from ...weights.arrays import Array
from .crossbar import PER
from .protocol import Held


class _Code(NamedTuple):
    """How a level is written as a pattern of b bits (`write`) and read again (`read`), each as a
    function of a whole tensor and b. `spare` is the number of levels below -(2^(b-1) - 1) that the
    code can write.
    """

    write: Callable[[Tensor, int], Tensor]
    read: Callable[[Tensor, int], Tensor]
    spare: int


CODES = {
    # Flipping the highest bit makes a pattern the level counted from -2^(b-1).
    "twos-complement": _Code(
        lambda level, b: level & (2**b - 1), lambda p, b: (p ^ 2 ** (b - 1)) - 2 ** (b - 1), 1
    ),
    # A pattern is the level counted from the lowest, -2^(b-1).
    "offset": _Code(lambda level, b: level + 2 ** (b - 1), lambda p, b: p - 2 ** (b - 1), 1),
    # The highest bit is the sign. The pattern of "minus 0" is read as 0.
    "sign-magnitude": _Code(
        lambda level, b: level.abs() | (level < 0).to(level.dtype) << (b - 1),
        lambda p, b: (p & (2 ** (b - 1) - 1)) * (1 - 2 * (p >> (b - 1))),
        0,
    ),
}


@dataclass(frozen=True)
class Integers:
    """Integers of `bits` bits (2 to 16): w = d (q - z) with an integer level q, a step d > 0 and a
    zero point z.

    - Symmetric: z = 0, d = max|w| / Q and q = round(w / d) within -Q to Q, where Q = 2^(bits-1) -
      1.
    - Asymmetric: the levels are those of the code, from L = -Q - 1 (-Q for sign-magnitude) to Q; d
      = (max(w, 0) - min(w, 0)) / (Q - L), z = L + round(-min(w, 0) / d) and q = round(w / d) + z,
      cut at both ends.

    The maxima are those of the whole layer (`per` "layer", per tensor) or of each filter (`per`
    "filter", per channel). Rounding, with ties to the even level, moves a weight by at most d / 2.

    `code` writes q as a pattern: "twos-complement", "offset" (q + 2^(bits-1), the unsigned integers
    of torch.quint8 and of Stutz et al.'s robust quantisation) or "sign-magnitude". A symmetric
    weight never uses the level -Q - 1. Faults can still make its pattern, which is then read as the
    code says.

    Raises `UserError` for other bits, codes and `per`. Source: Jacob et al., CVPR 2018 (arXiv
    1712.05877), eq. 1; as in torch.fake_quantize_per_tensor_affine.
    """

    bits: int = 8
    symmetric: bool = True
    per: str = "layer"
    code: str = "twos-complement"

    exact: ClassVar[bool] = False
    cells: ClassVar[str] = "bits"

    def __post_init__(self) -> None:
        name = str(self).split(":")[0]
        if not (2 <= self.bits <= 16 and self.bits == int(self.bits)):
            raise UserError(f"{name}: bits={self.bits}: a whole number from 2 to 16 is needed.")
        if self.per not in PER:
            raise unknown(f"per of {name}", self.per, PER)
        if self.code not in CODES:
            raise unknown(f"code of {name}", self.code, CODES)

    def __str__(self) -> str:
        return write("integers", self)

    @property
    def held(self) -> str:
        """How weights are held, in words."""
        return (
            f"{self.bits}-bit integers, {'symmetric' if self.symmetric else 'asymmetric'} per "
            f"{self.per}, {self.code}"
        )

    def encode(self, array: Array) -> Held:
        """The cells [1, *shape] in int32: the patterns. `low` and `high` are the patterns of the
        smallest and the largest level.
        """
        w = array.value.to(torch.promote_types(array.value.dtype, torch.float32))
        code, top = CODES[self.code], 2 ** (self.bits - 1) - 1
        if self.symmetric:
            bottom, step = -top, self._over(array, torch.amax, w.abs()) / top
        else:
            bottom = -top - code.spare
            # The range always contains 0, so that a weight of 0 is held exactly.
            least = self._over(array, torch.amin, w).clamp_max(0)
            step = (self._over(array, torch.amax, w).clamp_min(0) - least) / (top - bottom)
        # A filter of zeros has a step of 0. Its weights have the level of zero with any step.
        safe = torch.where(step > 0, step, torch.ones_like(step))
        zero = torch.zeros_like(step) if self.symmetric else bottom + (-least / safe).round()
        levels = ((w / safe).round() + zero).clamp(bottom, top).to(torch.int32)
        low, high, nothing = (
            code.write(torch.as_tensor(level).to(torch.int32), self.bits)
            for level in (bottom, top, zero)
        )

        def number(pattern: Tensor) -> Tensor:
            return code.read(pattern, self.bits).to(torch.float32)

        return Held(
            array,
            code.write(levels, self.bits)[None],
            step[None],
            -step * zero,
            float(low),
            float(high),
            nothing[None],
            "bits",
            self.bits,
            number,
        )

    def _over(self, array: Array, how: Callable[..., Tensor], w: Tensor) -> Tensor:
        """`how` (such as torch.amax) over the whole layer or over each filter, broadcastable to the
        weights.
        """
        if self.per == "filter":
            return array.reduce(how, w)
        return how(w, dim=tuple(range(w.dim())), keepdim=True)
