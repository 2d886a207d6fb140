"""Memory devices with errors as measured on hardware: one file for each kind, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .device import Device
from .measured import Measured, fits
from .pcm import PCMHermes, PCMJoshi, PCMNandakumar
from .rram import RRAMCMO, RRAMMilo, RRAMWan
from .sonos import SONOS
from .state_independent import StateIndependent

__all__ = [
    "DEVICES",
    "RRAMCMO",
    "SONOS",
    "Device",
    "Measured",
    "PCMHermes",
    "PCMJoshi",
    "PCMNandakumar",
    "RRAMMilo",
    "RRAMWan",
    "StateIndependent",
    "fits",
]

DEVICES: dict[str, Callable[..., Device]] = {
    "measured": Measured,
    "pcm-hermes": PCMHermes,
    "pcm-joshi": PCMJoshi,
    "pcm-nandakumar": PCMNandakumar,
    "rram-cmo": RRAMCMO,
    "rram-milo": RRAMMilo,
    "rram-wan": RRAMWan,
    "sonos": SONOS,
    "state-independent": StateIndependent,
}
