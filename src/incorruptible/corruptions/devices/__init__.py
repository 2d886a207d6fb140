"""Memory devices with errors as measured on hardware: one file for each kind, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .device import Device
from .pcm import PCMJoshi, PCMNandakumar
from .rram import RRAMMilo, RRAMWan
from .sonos import SONOS
from .state_independent import StateIndependent

__all__ = ["DEVICES", "SONOS", "Device", "PCMJoshi", "PCMNandakumar", "RRAMMilo", "RRAMWan", "StateIndependent"]

DEVICES: dict[str, Callable[..., Device]] = {
    "pcm-joshi": PCMJoshi,
    "pcm-nandakumar": PCMNandakumar,
    "rram-milo": RRAMMilo,
    "rram-wan": RRAMWan,
    "sonos": SONOS,
    "state-independent": StateIndependent,
}
