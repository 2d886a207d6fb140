"""What goes wrong with what is stored: one file for each, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .bitflips import BitFlips
from .dead import LINES, Dead
from .drop import Drop
from .fixed import Fixed
from .pcm import PCMDrift, PCMProgramming, PCMRead
from .protocol import Fault, Raw, Split, needs, nothing, rectified, replaced_by
from .struck import struck
from .stuck import AT, Stuck

__all__ = [
    "AT",
    "FAULTS",
    "LINES",
    "BitFlips",
    "Dead",
    "Drop",
    "Fault",
    "Fixed",
    "PCMDrift",
    "PCMProgramming",
    "PCMRead",
    "Raw",
    "Split",
    "Stuck",
    "needs",
    "nothing",
    "rectified",
    "replaced_by",
    "struck",
]

FAULTS: dict[str, Callable[..., Fault]] = {
    "bit-flips": BitFlips,
    "dead": Dead,
    "drop": Drop,
    "fixed": Fixed,
    "pcm-drift": PCMDrift,
    "pcm-programming": PCMProgramming,
    "pcm-read": PCMRead,
    "stuck": Stuck,
}
