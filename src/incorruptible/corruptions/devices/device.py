"""What all devices share: a crossbar of conductances, the time since they were programmed, and its
compensation.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from ...errors import UserError, unknown
from ...specs.durations import Seconds, seconds
from ...specs.grammar import write
from ..faults.protocol import Fault
from ..storages import Crossbar
from ..stored import COMPENSATIONS, Composed, Stored

__all__ = ["Device"]


@dataclass(frozen=True)
class Device(Composed, Crossbar):
    """A memory device with error measured on hardware. Strength 1 is the error as measured; 0 is
    none.

    `time` is that since programming, with its unit ("1d") or in seconds; `compensation` as for
    `Stored`, and of no effect where no step ages. A subclass names its range in `valid`, writes
    `faults`, and may narrow the times in `check_time`.
    """

    time: Seconds = field(default=Seconds(0), metadata={"parse": seconds})
    compensation: str = "none"

    name: ClassVar[str]
    unit: ClassVar[str] = "multiple of the error as measured (1 = nominal)"

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", seconds(self.time))
        super().__post_init__()
        self.check_time()
        low, high = self.valid
        if self.lowest < low * (1 - 1e-9) or self.g_max > high * (1 + 1e-9):
            raise UserError(
                f"{self.name}: {self.lowest:.4g} to {self.g_max:.4g} uS is outside {low:g} to "
                f"{high:g} uS, the range that was measured: set g_max and g_min (or on_off)."
            )
        if self.compensation not in COMPENSATIONS:
            raise unknown("compensation", self.compensation, COMPENSATIONS)

    def __str__(self) -> str:
        return write(self.name, self)

    @property
    def conditions(self) -> str:
        """How it is held, when it is read, and what corrects its drift: what a result must say."""
        return (
            f"{self.held}; {self.time} after programming; drift compensation: {self.compensation}"
        )

    @property
    @abstractmethod
    def valid(self) -> tuple[float, float]:
        """The conductances in uS over which it was measured."""

    @abstractmethod
    def faults(self) -> tuple[Fault, ...]:
        """What goes wrong with the conductances, in order."""

    def check_time(self) -> None:
        """Raise `UserError` for a time at which the device was not measured."""

    def stored(self) -> Stored:
        return Stored(self, self.faults(), self.compensation)
