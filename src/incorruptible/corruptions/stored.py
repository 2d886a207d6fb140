"""A storage, and the faults that act on what the storage holds, in the order in which they happen.

`Stored` is the corruption that is put together from parts. `Composed` is the base class of
corruptions that have a name of their own and are a `Stored` inside: memory devices and the digital
corruptions.

Relies on: a storage's cells are independent of each other within one outcome of the faults before
(`faults.protocol.Split`), and reading is linear: a weight is a sum over its cells of coefficient
times number, plus an offset (`storages.Held`).
Keeps: at strength 0, without pinned faults, an exact storage returns the weights bit for bit.
Without compensation, an exact storage also returns a weight bit for bit where no fault changed its
cells. The noise of a fault keeps its name when another kind of fault is added before or behind it,
so the chips of this fault stay the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import unknown
from ..randomness.streams import Draw, Noise
from ..specs.grammar import write
from ..weights.arrays import Array
from .faults.fixed import Fixed
from .faults.protocol import Fault, Raw, Split
from .protocol import Moments
from .storages import Held, Storage

COMPENSATIONS = ("none", "global", "column")
_ESTIMATE = 256  # chips from which moments are estimated where no closed form is known


@dataclass(frozen=True)
class Stored:
    """`storage` holds the weights, `faults` act one after another on what the storage holds, and
    then the storage is read.

    Strength 0 is the resting state: the weights, or what the storage can hold of them. All faults
    get the same strength, except that `Fixed` pins a fault to its own. Written
    `stored(crossbar:g_max=25|drop|fixed(drop):0.01)`.

    `compensation` multiplies the weights w that are read by sum|w_0| / sum|w|. The sums run over
    the array ("global") or over each filter, which is a column of the crossbar ("column"), and w_0
    are the weights read from the same chip without the faults that come with age and without the
    noise of reading. This is the read-out of one-hot inputs of Joshi et al. 2020 and aihwkit's
    GlobalDriftCompensation.

    Moments are closed forms where every fault has one. Elsewhere they are estimates from 256 chips,
    whose spreads are off by some 4% (one standard deviation). Under compensation the correction is
    taken at its mean, to first order in 1 / fan-in, and the mean of |w| as if w were normal. The
    result is close, except for errors that rival the weights and for filters of zeros, where all
    that is read is error: there spreads came out 10 to 30% too small.

    Raises `UserError` for another compensation, and for a fault that cannot act on the storage.
    """

    storage: Storage = field(metadata={"inner": True, "named": True})
    faults: tuple[Fault, ...] = field(metadata={"named": True})
    compensation: str = "none"

    def __post_init__(self) -> None:
        if self.compensation not in COMPENSATIONS:
            raise unknown("compensation", self.compensation, COMPENSATIONS)
        for fault in self.faults:
            suits = getattr(fault.fault if isinstance(fault, Fixed) else fault, "suits", None)
            if suits is not None:
                suits(self.storage)

    def __str__(self) -> str:
        return write("stored", self, inner="|".join(map(str, (self.storage, *self.faults))))

    @property
    def free(self) -> list[Fault]:
        """The faults whose strength is that of the corruption."""
        return [fault for fault in self.faults if not isinstance(fault, Fixed)]

    @property
    def unit(self) -> str:
        units = list(dict.fromkeys(fault.unit for fault in self.free))
        if not units and self.faults:
            return "none: every strength is fixed"
        return " and ".join(units) or "none: nothing goes wrong beyond what the storage holds"

    @property
    def formula(self) -> str:
        steps = "; then ".join(fault.formula for fault in self.faults) or "as the storage holds it"
        return f"w held as {self.storage}: {steps}"

    @property
    def source(self) -> str:
        return "; ".join(dict.fromkeys(fault.source for fault in self.faults)) or "its storage"

    @property
    def conditions(self) -> str:
        """What a result must state: how weights are held, when they are read, and what corrects
        their drift.
        """
        parts = [str(getattr(self.storage, "held", self.storage))]
        faults = [fault.fault if isinstance(fault, Fixed) else fault for fault in self.faults]
        times = dict.fromkeys(str(fault.time) for fault in faults if hasattr(fault, "time"))
        parts += [f"{' and '.join(times)} after programming"] if times else []
        if times or self.compensation != "none":
            parts.append(f"drift compensation: {self.compensation}")
        return "; ".join(parts)

    @property
    def pinned(self) -> bool:
        """Whether something goes wrong at strength 0 too."""
        return any(isinstance(fault, Fixed) and fault.strength > 0 for fault in self.faults)

    @property
    def rereads(self) -> bool:
        """Whether each read of a chip has noise of its own."""
        return any(fault.rereads for fault in self.faults)

    @property
    def ruins(self) -> bool:
        """Whether a single event may ruin a whole chip, as one flipped bit can."""
        return any(
            getattr(fault.fault if isinstance(fault, Fixed) else fault, "ruins", False)
            for fault in self.faults
        )

    @property
    def max_strength(self) -> float:
        """The largest strength."""
        return min((fault.max_strength for fault in self.faults), default=float("inf"))

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        held = self.storage.encode(array)
        clean = held.decode(held.value)
        if strength == 0 and not self.pinned:
            return array.value.clone() if self.storage.exact else clean.to(array.value.dtype)
        after = held.decode(self._through(held, strength, noise))
        if self.compensation != "none":
            fresh = held.decode(
                self._through(
                    held, strength, noise, lambda fault: not (fault.ages or fault.rereads)
                )
            )
            after = after * self._gain(array, fresh.abs(), after.abs())
        # Encoding and decoding round a little. Adding the difference leaves a weight that no fault
        # touched as it was, bit for bit.
        if self.storage.exact:
            after = array.value + (after - clean)
        return after.to(array.value.dtype)

    def moments(self, array: Array, strength: float) -> Moments:
        held = self.storage.encode(array)
        rest = held.number(held.value).double()
        raw = self._moments(held, rest, strength)
        reference = raw
        if raw is not None and self.compensation != "none":
            reference = self._moments(
                held, rest, strength, lambda fault: not (fault.ages or fault.rereads)
            )
        if raw is None or reference is None:
            return self._estimated(array, strength)
        c, offset = held.coefficients.double(), torch.as_tensor(held.offset).double()
        if self.storage.exact:  # as in a call: the weight itself, without the rounding of encoding
            offset = array.value.double() - (rest * c).sum(0)
        mean, std = _read(raw, c, offset)
        if self.compensation != "none":
            gain = self._gain(array, _folded(*_read(reference, c, offset)), _folded(mean, std))
            mean, std = gain * mean, gain * std
        kind = torch.promote_types(array.value.dtype, torch.float32)
        return Moments((mean - array.value.double()).to(kind), std.to(kind))

    def _through(
        self,
        held: Held,
        strength: float,
        noise: Noise,
        wanted: Callable[[Fault], bool] = lambda fault: True,
    ) -> Tensor:
        value = held.value
        for fault, tag in self._named():
            if wanted(fault):
                value = fault(
                    value, held, strength, _Named(noise.reading if fault.rereads else noise, tag)
                )
        return value

    def _moments(
        self,
        held: Held,
        rest: Tensor,
        strength: float,
        wanted: Callable[[Fault], bool] = lambda fault: True,
    ) -> list[_Branch] | None:
        """The possible outcomes for the cells of a weight, each with its probability. Within a
        branch the cells are independent. None where a fault knows no closed form.
        """
        branches = [_Branch(1.0, Raw(rest, rest**2))]
        for fault in filter(wanted, self.faults):
            after: list[_Branch] = []
            for share, raw in branches:
                now = fault.moments(raw, held, strength)
                if now is None:
                    return None
                if isinstance(now, Split):
                    after += [
                        _Branch(share * (1 - now.rate), raw),
                        _Branch(share * now.rate, now.other),
                    ]
                else:
                    after.append(_Branch(share, now))
            branches = [branch for branch in after if branch.share > 0]
        return branches

    def _named(self) -> Iterator[tuple[Fault, str]]:
        """Each fault with the name of its noise. The name does not change when a fault of another
        kind, or a field, is added.
        """
        seen: Counter[str] = Counter()
        for fault in self.faults:
            name = str(fault.fault if isinstance(fault, Fixed) else fault).split(":")[0]
            seen[name] += 1
            yield fault, name if seen[name] == 1 else f"{name} {seen[name]}"

    def _gain(self, array: Array, fresh: Tensor, now: Tensor) -> Tensor:
        """The factor of the compensation, sum `fresh` / sum `now`; 1 where `now` is all zero."""
        if self.compensation == "global":
            before, after = fresh.sum(), now.sum()
        else:
            before, after = array.reduce(torch.sum, fresh), array.reduce(torch.sum, now)
        tiny = torch.finfo(torch.float32).tiny
        return torch.where(after > tiny, before / after.clamp_min(tiny), torch.ones_like(after))

    def _estimated(self, array: Array, strength: float) -> Moments:
        first = torch.zeros_like(array.value, dtype=torch.float64)
        second = first.clone()
        for chip in range(_ESTIMATE):
            error = (
                self(array, strength, Draw(0, "moments", chip).of(array.name)).double()
                - array.value.double()
            )
            first, second = first + error / _ESTIMATE, second + error**2 / _ESTIMATE
        kind = torch.promote_types(array.value.dtype, torch.float32)
        return Moments(first.to(kind), (second - first**2).clamp_min(0).sqrt().to(kind))


@dataclass(frozen=True)
class _Named:
    """The noise of one fault: the name of the fault stands before every tag."""

    noise: Noise
    name: str

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        return self.noise.normal(like, f"{self.name}/{tag}")

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        return self.noise.uniform(like, f"{self.name}/{tag}")

    def chip(self, tag: str = "") -> float:
        return self.noise.chip(f"{self.name}/{tag}")

    @property
    def reading(self) -> Noise:
        return _Named(self.noise.reading, self.name)


class _Branch(NamedTuple):
    share: float
    raw: Raw


class Composed(ABC):
    """A corruption with a name of its own that is a storage with faults inside. A subclass writes
    `stored`; everything else is that of the `Stored`.
    """

    @abstractmethod
    def stored(self) -> Stored:
        """The storage and the faults that the corruption is made of."""

    @property
    def formula(self) -> str:
        return self.stored().formula

    @property
    def source(self) -> str:
        return self.stored().source

    @property
    def unit(self) -> str:
        return self.stored().unit

    @property
    def conditions(self) -> str:
        """What a result must state: how weights are held, when they are read, and what corrects
        their drift.
        """
        return self.stored().conditions

    @property
    def pinned(self) -> bool:
        """Whether something goes wrong at strength 0 too."""
        return self.stored().pinned

    @property
    def rereads(self) -> bool:
        """Whether each read of a chip has noise of its own."""
        return self.stored().rereads

    @property
    def ruins(self) -> bool:
        """Whether a single event may ruin a whole chip, as one flipped bit can."""
        return self.stored().ruins

    @property
    def max_strength(self) -> float:
        """The largest strength."""
        return self.stored().max_strength

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        return self.stored()(array, strength, noise)

    def moments(self, array: Array, strength: float) -> Moments:
        return self.stored().moments(array, strength)


def _read(branches: list[_Branch], c: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the weight that is read, over the branches: coefficients `c`
    and `offset` are those of the storage.
    """
    means = [(raw.first * c).sum(0) + offset for _, raw in branches]
    mean = sum(share * one for (share, _), one in zip(branches, means, strict=True))
    variance = sum(
        share * (((raw.second - raw.first**2).clamp_min(0) * c**2).sum(0) + (one - mean) ** 2)
        for (share, raw), one in zip(branches, means, strict=True)
    )
    return torch.as_tensor(mean), torch.as_tensor(variance).sqrt()


def _folded(mean: Tensor, std: Tensor) -> Tensor:
    """E|x| of x ~ N(mean, std^2), the mean of a folded normal number."""
    safe = std.clamp_min(torch.finfo(torch.float32).tiny)
    t = mean / safe
    size: Tensor = std * (2 / torch.pi) ** 0.5 * torch.exp(-t.square() / 2) + mean * torch.erf(
        t / 2**0.5
    )
    return size
