"""How weights are held in hardware: one file for each way, and a catalogue.

A *storage* encodes the weights of an array as values of *cells* (conductances in uS, bit patterns,
or the weights themselves) and reads weights from cells again. Between the two, faults change the
values of the cells:

>>> import torch, incorruptible as inc
>>> held = Integers(bits=4).encode(inc.Array("w", torch.tensor([[0.7, -0.35, 0.1]])))
>>> held.value, held.decode(held.value)  # 7, -3.5 to the even level, 1; two's complement
(tensor([[[ 7, 12,  1]]], dtype=torch.int32), tensor([[ 0.7000, -0.4000,  0.1000]]))
>>> held.decode(held.value ^ 8)  # the highest bit of each flipped
tensor([[-0.1000,  0.4000, -0.7000]])
"""

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
