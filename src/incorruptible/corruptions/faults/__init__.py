"""What goes wrong with what is stored: one file for each, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .bitflips import BitFlips
from .cmo import CMOProgramming, CMORead, CMORelaxation
from .dead import LINES, Dead
from .drop import Drop
from .fixed import Fixed
from .hermes import HermesDrift, HermesProgramming, HermesRead
from .measured import MeasuredAgeing, MeasuredProgramming
from .pcm import PCMDrift, PCMProgramming, PCMRead
from .protocol import Fault, Raw, Split, needs, nothing, rectified, replaced_by
from .rram import MiloProgramming, WanProgramming
from .sonos import SONOSDrift, SONOSProgramming, SONOSRead
from .state_independent import ConstantDrift, ConstantProgramming, ConstantRead
from .struck import struck
from .stuck import AT, Stuck

__all__ = [
    "AT",
    "FAULTS",
    "LINES",
    "BitFlips",
    "CMOProgramming",
    "CMORead",
    "CMORelaxation",
    "ConstantDrift",
    "ConstantProgramming",
    "ConstantRead",
    "Dead",
    "Drop",
    "Fault",
    "Fixed",
    "HermesDrift",
    "HermesProgramming",
    "HermesRead",
    "MeasuredAgeing",
    "MeasuredProgramming",
    "MiloProgramming",
    "PCMDrift",
    "PCMProgramming",
    "PCMRead",
    "Raw",
    "SONOSDrift",
    "SONOSProgramming",
    "SONOSRead",
    "Split",
    "Stuck",
    "WanProgramming",
    "needs",
    "nothing",
    "rectified",
    "replaced_by",
    "struck",
]

FAULTS: dict[str, Callable[..., Fault]] = {
    "bit-flips": BitFlips,
    "dead": Dead,
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
    "stuck": Stuck,
    "sonos-drift": SONOSDrift,
    "sonos-programming": SONOSProgramming,
    "sonos-read": SONOSRead,
    "wan-programming": WanProgramming,
}
