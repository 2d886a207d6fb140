"""What a fault is: a step that turns the values of stored cells into other values.

A fault also states its *moments*: what it does to mean and square of the number in each cell, given
those before it. From them `Stored` computes mean and spread of the weights' errors without a single
simulated chip.

Keeps: the functions for moments here work in the dtype of their arguments, which is float64
wherever `Stored` calls them.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ...errors import UserError
from ...randomness.streams import Noise
from ..protocol import Described
from ..storages import Held, Storage


class Raw(NamedTuple):
    """First and second raw moments of the number in each cell, E[x] and E[x^2], both of the cells'
    shape.
    """

    first: Tensor
    second: Tensor


class Split(NamedTuple):
    """The moments behind a fault that strikes all cells of a weight together: with probability
    `rate` they have the moments `other`, and with probability 1 - rate they stay as they were.
    """

    rate: float
    other: Raw


class Fault(Described, Protocol):
    """A step on the way from the values that were stored to the values that are read. At strength 0
    it leaves the cells as they are, bit for bit.

    A fault that can act on some storages only has a method `suits(storage)`, which raises
    `UserError` for the others. A fault of which a single event may ruin a whole chip, as one
    flipped bit can, has `ruins = True`.
    """

    @property
    def ages(self) -> bool:
        """Whether the fault happens after programming. The reference of a drift compensation is
        read without it.
        """

    @property
    def rereads(self) -> bool:
        """Whether the fault is drawn anew in each read of a chip."""

    @property
    def max_strength(self) -> float:
        """The largest strength that makes sense, for example 1 for a probability."""

    def __call__(self, value: Tensor, held: Held, strength: float, noise: Noise) -> Tensor:
        """The values of the cells behind the fault, from the `value` [cells, *shape] before it.
        `held.value` are the values that were stored.
        """

    def moments(self, before: Raw, held: Held, strength: float) -> Raw | Split | None:
        """The moments behind the fault, from the moments `before` it, if cells are independent.

        A `Split` says that the fault strikes all cells of a weight together. None says that no
        closed form is known; `Stored` then estimates the moments from simulated chips.
        """


class RateFault:
    """A fault that was there from programming on and is the same in every read, with a probability
    as its strength.
    """

    ages: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    max_strength: ClassVar[float] = 1.0


_EXAMPLES = {
    "conductances": "stored(crossbar|{fault})",
    "bits": "stored(integers|{fault}) or stored(floats|{fault})",
}


def needs(cells: str, fault: object, storage: Storage) -> None:
    """Raise `UserError` unless `storage` has cells of the kind `cells`: "conductances" or "bits".
    The message names a storage that does.
    """
    if storage.cells != cells:
        raise UserError(
            f"{fault} acts on {cells}, and {storage} holds {storage.cells}: write "
            f"{_EXAMPLES[cells].format(fault=fault)}."
        )


def rectified(mean: Tensor, std: Tensor) -> Raw:
    """Moments of max(0, mean + std z) with z ~ N(0, 1): a normal conductance that cannot be
    negative.

    With m = mean, s = std, t = m / s, and p and P the normal density and distribution: E[x] = m
    P(t) + s p(t) and E[x^2] = (m^2 + s^2) P(t) + m s p(t). Where std is 0 the number is max(0,
    mean).

    >>> rectified(torch.zeros(1), torch.ones(1)).first  # 1 / sqrt(2 pi)
    tensor([0.3989])
    """
    # Both branches of `where` are computed: without this, std = 0 would divide by 0.
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
    """Moments of a cell that with probability `rate` holds another number, which is independent of
    the cell's own.

    >>> two = Raw(torch.tensor([2.0]), torch.tensor([4.0]))
    >>> replaced_by(two, Raw(torch.zeros(1), torch.zeros(1)), 0.25)
    Raw(first=tensor([1.5000]), second=tensor([3.]))
    """
    return Raw(*(one + rate * (two - one) for one, two in zip(before, other, strict=True)))


def nothing(before: Raw, held: Held) -> Raw:
    """Moments of cells that together make a weight of zero, of the shape of `before`."""
    x = held.number(held.cell(held.zero)).to(before.first.dtype)
    return Raw(x.expand_as(before.first), (x**2).expand_as(before.first))
