"""A fault at a strength of its own, whatever strength the corruption has."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ...schedules import checked
from ...specs.grammar import write
from ..storages import Held
from .protocol import Fault, Raw, Split


@dataclass(frozen=True)
class Fixed:
    """`fault` at `strength`, whatever strength is swept. It acts also where the corruption's own
    strength is 0. In text: `fixed(drop):0.01`.

    Use it for damage that is always there beside the error that is varied. Raises `UserError` for a
    strength that the fault does not have, and for a fault that is fixed already.
    """

    fault: Fault = field(metadata={"inner": True, "named": True})
    strength: float

    def __post_init__(self) -> None:
        checked(self.strength, f"fixed({self.fault}): strength")
        if self.strength > self.fault.max_strength:
            raise UserError(
                f"fixed({self.fault}): strength {self.strength:g}: at most "
                f"{self.fault.max_strength:g} ({self.fault.unit})."
            )
        if isinstance(self.fault, Fixed):
            raise UserError("fixed(fixed(...)): it is fixed already; write fixed(...) once.")

    def __str__(self) -> str:
        return write("fixed", self, inner=str(self.fault)).replace(":strength=", ":")

    @property
    def unit(self) -> str:
        return "none: its strength is fixed"

    @property
    def formula(self) -> str:
        return f"{self.fault.formula}, at s = {self.strength:.6g}"

    @property
    def source(self) -> str:
        return self.fault.source

    @property
    def ages(self) -> bool:
        return self.fault.ages

    @property
    def rereads(self) -> bool:
        return self.fault.rereads

    @property
    def max_strength(self) -> float:
        return float("inf")

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        return self.fault(value, held, self.strength, noise)

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | Split | None:
        return self.fault.moments(before, held, self.strength)
