"""How weights are held: one file for each way, and a catalogue."""

from __future__ import annotations

from collections.abc import Callable

from .crossbar import MAPPINGS, PER, Crossbar
from .protocol import Held, Storage
from .weights import Weights

__all__ = ["MAPPINGS", "PER", "STORAGES", "Crossbar", "Held", "Storage", "Weights"]

STORAGES: dict[str, Callable[..., Storage]] = {
    "weights": Weights,
    "crossbar": Crossbar,
}
