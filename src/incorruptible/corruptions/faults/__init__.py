"""What goes wrong with what is stored: one file for each, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .drop import Drop
from .fixed import Fixed
from .measured import MeasuredAgeing, MeasuredProgramming
from .pcm import PCMDrift, PCMProgramming, PCMRead
from .protocol import Fault, Raw, Split, nothing, rectified, replaced_by

__all__ = [
    "FAULTS",
    "Drop",
    "Fault",
    "Fixed",
    "MeasuredAgeing",
    "MeasuredProgramming",
    "PCMDrift",
    "PCMProgramming",
    "PCMRead",
    "Raw",
    "Split",
    "nothing",
    "rectified",
    "replaced_by",
]

FAULTS: dict[str, Callable[..., Fault]] = {
    "drop": Drop,
    "fixed": Fixed,
    "pcm-drift": PCMDrift,
    "pcm-programming": PCMProgramming,
    "pcm-read": PCMRead,
}
