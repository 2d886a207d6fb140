"""Weights held as the bits of floating-point numbers: sign, exponent and mantissa.

Keeps: what is read is always finite, whatever bits flipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...errors import unknown
from ...specs.grammar import write
from ...weights.arrays import Array
from .protocol import Held


class _Format(NamedTuple):
    """A number format: its torch dtype, the integer dtype of the same width, its width, and its
    bits in words.
    """

    kind: torch.dtype
    whole: torch.dtype
    bits: int
    words: str


FORMATS = {
    "float32": _Format(torch.float32, torch.int32, 32, "1 sign, 8 exponent and 23 mantissa bits"),
    "float16": _Format(torch.float16, torch.int16, 16, "1 sign, 5 exponent and 10 mantissa bits"),
    "bfloat16": _Format(torch.bfloat16, torch.int16, 16, "1 sign, 8 exponent and 7 mantissa bits"),
}


@dataclass(frozen=True)
class Floats:
    """The bit pattern of each weight in `format`: float32, float16 or bfloat16 (IEEE 754; bfloat16
    is the upper half of float32).

    At rest a weight is rounded to the format, ties to even. This is the weight itself where the
    format holds the array's own dtype. Weights beyond the largest number of the format (65504 in
    float16) saturate there. A pattern that reads as infinite or NaN (all exponent bits set) is read
    as zero: these are the `specials`. Numbers that the array's own dtype cannot hold saturate at
    its largest. What is read is therefore always finite. Raises `UserError` for another format.
    """

    format: str = "float32"

    exact: ClassVar[bool] = False
    cells: ClassVar[str] = "bits"
    specials: ClassVar[str] = "patterns that read as infinite or NaN are zero"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise unknown(f"format of {str(self).split(':')[0]}", self.format, FORMATS)

    def __str__(self) -> str:
        return write("floats", self)

    @property
    def bits(self) -> int:
        """The number of bits of a weight."""
        return FORMATS[self.format].bits

    @property
    def held(self) -> str:
        """How weights are held, in words."""
        return f"{self.format}: {FORMATS[self.format].words}; {self.specials}"

    def encode(self, array: Array) -> Held:
        """The cells [1, *shape] in int64: the patterns. `low` and `high` are the patterns of the
        smallest and the largest finite number.
        """
        kind, whole, bits, _ = FORMATS[self.format]
        widest = torch.promote_types(array.value.dtype, torch.float32)
        top = torch.finfo(kind).max
        # The array's own dtype may hold less than the format: float16 weights in float32, say.
        own = min(torch.finfo(array.value.dtype).max, torch.finfo(torch.float32).max)

        def pattern(numbers: Tensor) -> Tensor:
            # `view` gives signed integers; the mask makes them patterns from 0 to 2^bits - 1.
            found: Tensor = numbers.clamp(-top, top).to(kind).view(whole).to(torch.int64) & (
                2**bits - 1
            )
            return found

        def number(patterns: Tensor) -> Tensor:
            read = patterns.to(whole).view(kind).to(torch.float32)
            return torch.where(read.isfinite(), read, 0.0).clamp(-own, own)

        ends = pattern(torch.tensor([-top, top], dtype=torch.float64))
        return Held(
            array,
            pattern(array.value.to(widest))[None],
            torch.ones((1,) * (array.value.dim() + 1), dtype=widest, device=array.value.device),
            0.0,
            float(ends[0]),
            float(ends[1]),
            0.0,
            "bits",
            bits,
            number,
        )
