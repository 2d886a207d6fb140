"""What may go wrong with anything that is stored: one file for each fault; those of one device live
with the device.
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
