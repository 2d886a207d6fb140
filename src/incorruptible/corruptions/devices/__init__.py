"""Memory devices with their errors as measured on hardware: one file for each kind of memory, and a
catalogue.

A device holds weights as conductances in a crossbar and says what goes wrong with the conductances.
Each file holds the device and the faults that only this device has. A user names a device in text,
with the time since programming and other fields. One hour after programming, phase-change memory
reads small weights too noisy and large weights too small (error and weights in units of the largest
weight):

>>> import torch, incorruptible as inc
>>> array = inc.Array("w", torch.tensor([[0, 0.25, 0.5, 1]], dtype=torch.float64))
>>> mean, std = inc.parse("pcm-nandakumar:time=1h").moments(array, 1.0)
>>> mean.numpy().round(3) + 0, std.numpy().round(3)
(array([[ 0.   , -0.059, -0.115, -0.227]]), array([[0.008, 0.032, 0.043, 0.057]]))
"""

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
