"""What may go wrong with stored values: one file for each fault. Faults that only one device has
stand in the device's file.

A *fault* acts on the cells of a storage (`storages/`): it takes the values of the cells and a
strength, and returns other values. Faults follow one another, as in `stored(crossbar|drop|stuck)`.
The catalogue `FAULTS` with their names in text is in `corruptions/__init__.py`.

>>> from incorruptible.corruptions import parse
>>> parse("stored(crossbar:levels=16|drop)").faults
(Drop(),)
"""

from __future__ import annotations

from .bitflips import BitFlips
from .dead import LINES, Dead
from .drop import Drop, bernoulli_mask
from .fixed import Fixed
from .protocol import Fault, Raw, Split, needs, nothing, rectified, replaced_by
from .stuck import AT, Stuck

__all__ = [
    "AT",
    "LINES",
    "BitFlips",
    "Dead",
    "Drop",
    "Fault",
    "Fixed",
    "Raw",
    "Split",
    "Stuck",
    "bernoulli_mask",
    "needs",
    "nothing",
    "rectified",
    "replaced_by",
]
