"""Memory devices with errors as measured on hardware: one file for each kind, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .device import Device
from .measured import Measured, fits
from .pcm import PCMJoshi, PCMNandakumar

__all__ = ["DEVICES", "Device", "Measured", "PCMJoshi", "PCMNandakumar", "fits"]

DEVICES: dict[str, Callable[..., Device]] = {
    "measured": Measured,
    "pcm-joshi": PCMJoshi,
    "pcm-nandakumar": PCMNandakumar,
}
