"""A corruption at a strength that is drawn from a range, once for each chip.

Choose a mixture where the level of the noise is not known in advance: one network is trained or
measured over the whole range.

Relies on: the number `noise.chip("mixture")` is the same for all arrays of a chip.
Keeps: at equal strengths, the values are those of the corruption inside, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..randomness.streams import Noise
from ..specs.grammar import write
from ..weights.arrays import Array
from .protocol import Corruption, Moments, traits, write_into


@dataclass(frozen=True)
class Mixture:
    """The corruption `of` at the strength s (low + (high - low) u), where u ~ U(0, 1) is one number
    that all arrays of a chip share.

    With the defaults low = 0 and high = 1, s is the top of the range. Moments are taken over chips,
    by 16-point Gauss-Legendre quadrature, which is exact where they are polynomials in the strength
    of degree 31 or less. Raises `UserError` unless 0 <= low <= high, and for a mixture of a
    mixture.
    """

    of: Corruption = field(metadata={"inner": True, "named": True})
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < float("inf"):
            raise UserError(
                f"mixture: low {self.low:g} and high {self.high:g}: 0 <= low <= high is needed."
            )
        if isinstance(self.of, Mixture):
            raise UserError(
                "mixture: a mixture inside a mixture would share its random number u; write a "
                "single range."
            )

    def __str__(self) -> str:
        return write("mixture", self, inner=str(self.of))

    @property
    def unit(self) -> str:
        return f"range of {self.of.unit}"

    @property
    def formula(self) -> str:
        return f"{self.of.formula}, at s (low + (high - low) u), u ~ U(0, 1) for each chip"

    @property
    def source(self) -> str:
        return "a range in place of a level that is not known"

    @property
    def conditions(self) -> str:
        """What a result must state, as for `of`."""
        return traits(self.of).conditions

    @property
    def rereads(self) -> bool:
        """Whether each read of a chip has noise of its own, as for `of`."""
        return traits(self.of).rereads

    @property
    def pinned(self) -> bool:
        """Whether something goes wrong at strength 0 too, as for `of`."""
        return traits(self.of).pinned

    @property
    def ruins(self) -> bool:
        """Whether a single event may ruin a whole chip, as for `of`."""
        return traits(self.of).ruins

    @property
    def max_strength(self) -> float:
        """The largest strength s: then s high is the largest strength of `of`."""
        return traits(self.of).max_strength / max(self.high, 1e-300)

    def _at(self, share: float) -> float:
        return self.low + (self.high - self.low) * share

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        return self.of(array, strength * self._at(noise.chip("mixture")), noise)

    def into(self, array: Array, strength: float, noise: Noise, out: Tensor) -> None:
        """The same values, written into `out`."""
        write_into(self.of, array, strength * self._at(noise.chip("mixture")), noise, out)

    def moments(self, array: Array, strength: float) -> Moments:
        nodes, weights = np.polynomial.legendre.leggauss(16)
        # The variance is a small difference, square - mean^2. In float32 it would be lost to
        # rounding, so both are summed in float64.
        mean, square = (
            0.0 * array.value.double(),
            0.0 * array.value.double(),
        )
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            one = self.of.moments(array, strength * self._at(float(node)))
            mean = mean + float(weight) * one.mean.double()
            square = square + float(weight) * (one.std.double() ** 2 + one.mean.double() ** 2)
        kind = torch.promote_types(array.value.dtype, torch.float32)
        return Moments(mean.to(kind), (square - mean**2).clamp_min(0).sqrt().to(kind))
