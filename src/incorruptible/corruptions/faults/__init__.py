"""What goes wrong with what is stored: one file for each, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .cmo import CMOProgramming, CMORead, CMORelaxation
from .drop import Drop
from .fixed import Fixed
from .hermes import HermesDrift, HermesProgramming, HermesRead
from .pcm import PCMDrift, PCMProgramming, PCMRead
from .protocol import Fault, Raw, Split, nothing, rectified, replaced_by
from .rram import MiloProgramming, WanProgramming
from .sonos import SONOSDrift, SONOSProgramming, SONOSRead
from .state_independent import ConstantDrift, ConstantProgramming, ConstantRead

__all__ = [
    "FAULTS",
    "CMOProgramming",
    "CMORead",
    "CMORelaxation",
    "ConstantDrift",
    "ConstantProgramming",
    "ConstantRead",
    "Drop",
    "Fault",
    "Fixed",
    "HermesDrift",
    "HermesProgramming",
    "HermesRead",
    "MiloProgramming",
    "PCMDrift",
    "PCMProgramming",
    "PCMRead",
    "Raw",
    "SONOSDrift",
    "SONOSProgramming",
    "SONOSRead",
    "Split",
    "WanProgramming",
    "nothing",
    "rectified",
    "replaced_by",
]

FAULTS: dict[str, Callable[..., Fault]] = {
    "cmo-programming": CMOProgramming,
    "cmo-read": CMORead,
    "cmo-relaxation": CMORelaxation,
    "constant-drift": ConstantDrift,
    "constant-programming": ConstantProgramming,
    "constant-read": ConstantRead,
    "drop": Drop,
    "fixed": Fixed,
    "hermes-drift": HermesDrift,
    "hermes-programming": HermesProgramming,
    "hermes-read": HermesRead,
    "milo-programming": MiloProgramming,
    "pcm-drift": PCMDrift,
    "pcm-programming": PCMProgramming,
    "pcm-read": PCMRead,
    "sonos-drift": SONOSDrift,
    "sonos-programming": SONOSProgramming,
    "sonos-read": SONOSRead,
    "wan-programming": WanProgramming,
}
