"""What all memory devices share: a crossbar of conductances, the time since the cells were
programmed, and a compensation of drift.

A *device* here is a kind of memory cell whose errors somebody measured, for example phase-change
memory. The weights are held as conductances in a crossbar; the device then says which faults act on
the conductances, one after another (programming error, drift, read noise).
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


@dataclass(frozen=True)
class Device(Composed, Crossbar):
    """A kind of memory cell with its errors as measured on hardware. Strength 1 is the error as
    measured; strength 0 is no error.

    `time` is the time between programming the cells and reading them, in seconds or with a unit
    ("1d"). `compensation` is as for `Stored`; it has no effect if none of the device's faults
    happens after programming.

    A subclass gives its range of conductances in `valid` and its faults in `faults`; it may
    restrict the times in `check_time`. Raises `UserError` for conductances or times outside those
    that were measured, and for an unknown compensation.
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
        """How the weights are held, when they are read, and what compensates their drift. A result
        must state these three.
        """
        return (
            f"{self.held}; {self.time} after programming; drift compensation: {self.compensation}"
        )

    @property
    @abstractmethod
    def valid(self) -> tuple[float, float]:
        """The smallest and the largest conductance in uS at which the device was measured."""

    @abstractmethod
    def faults(self) -> tuple[Fault, ...]:
        """What goes wrong with the conductances, in the order in which it happens."""

    def check_time(self) -> None:
        """Raise `UserError` if the device was not measured at `self.time`. By default every time is
        allowed.
        """

    def stored(self) -> Stored:
        """The crossbar with the device's faults: the corruption that does the work."""
        return Stored(self, self.faults(), self.compensation)
