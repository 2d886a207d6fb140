"""What goes wrong with what is stored: a fault turns the values of cells into others."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ..protocol import Described
from ..storages import Held, Storage

__all__ = ["Fault", "Raw", "Split", "needs", "nothing", "rectified", "replaced_by"]


class Raw(NamedTuple):
    """First and second raw moment of the number in each cell: E[x] and E[x^2], of the cells'
    shape.
    """

    first: Tensor
    second: Tensor


class Split(NamedTuple):
    """With probability `rate` all cells of a weight hold what is `other`, together; else they stay
    as they were.
    """

    rate: float
    other: Raw


class Fault(Described, Protocol):
    """A step on the way from what was stored to what is read. Strength 0 leaves the cells as they
    are, bit for bit.

    `ages` says that it happens after programming, so that the reference of a drift compensation is
    without it; `rereads` that it is new in each read of a chip; `max_strength` is the largest
    strength there is. One that can act on some storages only has a method `suits(storage)`, which
    raises `UserError` for the others.
    """

    @property
    def ages(self) -> bool:
        """Whether it happens after programming."""
        ...

    @property
    def rereads(self) -> bool:
        """Whether each read has its own."""
        ...

    @property
    def max_strength(self) -> float:
        """The largest strength."""
        ...

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        """Other values of the cells; `held.value` is what should stand there."""
        ...

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | Split | None:
        """The moments behind the fault, from those before it, where cells are independent.

        A fault that strikes all cells of a weight at once says so by a `Split`. None where no
        closed form is known.
        """
        ...


_EXAMPLES = {
    "conductances": "stored(crossbar|{fault})",
    "bits": "stored(integers|{fault}) or stored(floats|{fault})",
}


def needs(cells: str, fault: object, storage: Storage) -> None:
    """Raise `UserError` unless the cells of `storage` are of that kind."""
    if storage.cells != cells:
        raise UserError(
            f"{fault} acts on {cells}, and {storage} holds {storage.cells}: write "
            f"{_EXAMPLES[cells].format(fault=fault)}."
        )


def rectified(mean: Tensor, std: Tensor) -> Raw:
    """Moments of max(0, mean + std z) with z ~ N(0, 1): what a conductance that cannot be negative
    makes of an error.

    E = m P(t) + s p(t) and E2 = (m^2 + s^2) P(t) + m s p(t), with t = m / s and p, P the normal
    density and distribution.

    >>> rectified(torch.zeros(1), torch.ones(1)).first  # 1 / sqrt(2 pi)
    tensor([0.3989])
    """
    safe = torch.where(std > 0, std, torch.ones_like(std))
    t = mean / safe
    density = torch.exp(-t.square() / 2) / (2 * torch.pi) ** 0.5
    below = torch.special.ndtr(t)
    first = torch.where(std > 0, mean * below + std * density, mean.clamp_min(0))
    second = torch.where(
        std > 0, (mean**2 + std**2) * below + mean * std * density, mean.clamp_min(0) ** 2
    )
    return Raw(first, second)


def replaced_by(before: Raw, other: Raw, rate: float) -> Raw:
    """Moments of a cell that, with probability `rate`, holds something else that knows nothing of
    it.
    """
    return Raw(*(one + rate * (two - one) for one, two in zip(before, other, strict=True)))


def nothing(before: Raw, held: Held) -> Raw:
    """Moments of cells that together make a weight of zero."""
    x = held.number(held.cell(held.zero)).to(before.first.dtype)
    return Raw(x.expand_as(before.first), (x**2).expand_as(before.first))
