"""How weights are held: one file for each way, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .crossbar import MAPPINGS, PER, Crossbar
from .floats import FORMATS, Floats
from .integers import CODES, Integers
from .protocol import Held, Storage
from .weights import Weights

__all__ = [
    "CODES",
    "FORMATS",
    "MAPPINGS",
    "PER",
    "STORAGES",
    "Crossbar",
    "Floats",
    "Held",
    "Integers",
    "Storage",
    "Weights",
]

STORAGES: dict[str, Callable[..., Storage]] = {
    "weights": Weights,
    "crossbar": Crossbar,
    "floats": Floats,
    "integers": Integers,
}
