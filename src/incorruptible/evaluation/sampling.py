"""Which chips are made and how they are read: one object for every function that scores chips.

`measure`, `measure_until`, `measure_mean`, `certify`, `certify_fresh`, `sensitivity` and `compare`
take chips of the same kind. One `Sampling` describes the chips, and any of these functions takes
it:

    chips = Sampling("gaussian-filter-max", [0, 0.1], chips=100, seed=0, batchnorm="folded")
    measure(model, accuracy, data, chips)
    certify(model, accuracy, data, chips, accuracy=0.9)

For a single call the same can be written in the call: `measure(model, accuracy, data, noise, [0,
0.1], chips=100, seed=0)`. `sampling_of` makes a `Sampling` of either.

Relies on: named noise (`randomness.streams`) gives the same numbers for the same name. Keeps: a
`Sampling` never changes; two chips of equal seed, purpose and number are equal, whatever the number
of chips is; chips of different purposes have independent noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self, TypedDict, cast

import torch
from torch import Tensor, nn

from ..corruptions import Corruption, as_corruption, checked_strengths, parse_sweep, traits
from ..corruptions.protocol import write_into
from ..errors import UserError, renamed_arguments, unknown
from ..randomness.streams import Draw, Noise
from ..weights.arrays import Array, select
from ..weights.batchnorm import fold_batchnorm

_POLICIES = ("as-is", "folded", "recalibrated")
_AUTOCASTS = {"bf16": torch.bfloat16}


class SamplingOptions(TypedDict, total=False):
    """What can be said of the chips besides a corruption and its strengths. `Sampling` explains
    each option.
    """

    chips: int
    seed: int
    purpose: str
    reads: int
    read: tuple[Corruption, float] | None
    batchnorm: str
    calibration: Iterable[Any] | None
    autocast: str | None
    channels_last: bool
    arrays: Sequence[Array] | None


@dataclass(frozen=True, eq=False)
class Sampling:
    """Which chips are made: of which corruption, at which strengths, how many, and how they are
    read.

    - `corruption` is a corruption or its text, and `strengths` the strengths [strength], rising or
      not. A text may hold both: `Sampling("gaussian-filter-max:0,.1,.2")`.
    - `chips` is the number of chips at each strength. Unless given, each function has a number of
      its own: 25 for `measure`, `compare` and `sensitivity`, at most 10,000 for `measure_until` and
      20,000 for `measure_mean`, and for `certify` the fewest that can show the yield where two
      fail.
    - `seed` and `purpose` name the chips. Chip k is the same at every strength, and in every model
      whose arrays have the same names. Another `purpose` makes other chips. Unless given, each
      function has a purpose of its own, so that a network that was tuned on the chips of one
      function may be certified on the chips of another.
    - `read=(corruption, strength)` is the error that each read of a chip adds to the chip's own,
      and `reads` is the number of times that each chip is read.
    - `batchnorm` is "as-is", "folded" (BatchNorm is folded into the convolution before the noise is
      drawn, and arrays are found again by name) or "recalibrated" (running statistics are computed
      anew on every chip from the inputs in `calibration`).
    - `autocast="bf16"` computes forward passes in 16 bits. The rounding is no property of the chip,
      whose weights are drawn in the model's own type, and it may change the answer to an example
      that is close to a tie. `channels_last` lays images and kernels out with their channels side
      by side. Both are for speed, and results state them.
    - `arrays` are the weights in hardware, those of `select(model)` unless given.
    - With `pairs` chip 2k + 1 is the mirror image of chip 2k (antithetic pairs), in what was
      programmed and in what is read: its noise has the opposite sign. Mirrored chips are not
      independent, so only `measure_all` takes them; `measure_mean` makes pairs of its own.

    Raises `UserError` for chips or reads below 1, a negative strength, several reads that would all
    be the same, and for a BatchNorm policy or an autocast that does not exist.

    >>> chips = Sampling("gaussian-filter-max:0,.1,.2", chips=100)
    >>> str(chips.corruption), chips.strengths, chips.total
    ('gaussian-filter-max', (0.0, 0.1, 0.2), 201)
    """

    corruption: Corruption
    strengths: Sequence[float] = cast("Sequence[float]", None)  # None: they stand in the text
    chips: int = cast("int", None)  # None: the number of the function that takes this object
    seed: int = 0
    purpose: str = cast("str", None)  # None: the purpose of the function that takes this object
    reads: int = 1
    read: tuple[Corruption, float] | None = None
    batchnorm: str = "as-is"
    calibration: Iterable[Any] | None = None
    autocast: str | None = None
    channels_last: bool = False
    arrays: Sequence[Array] | None = None
    pairs: bool = False

    def __post_init__(self) -> None:
        corruption, strengths = self.corruption, self.strengths
        if strengths is None:
            if not isinstance(corruption, str):
                raise UserError(
                    f"strengths are missing: Sampling({str(corruption)!r}, [0.1]), for example."
                )
            corruption, strengths = parse_sweep(corruption)
        object.__setattr__(self, "corruption", as_corruption(corruption))
        object.__setattr__(self, "strengths", checked_strengths(strengths, self.corruption))
        if (self.chips is not None and self.chips < 1) or self.reads < 1:
            raise UserError(f"chips={self.chips} and reads={self.reads}: both are at least 1.")
        if self.reads > 1 and self.read is None and not traits(self.corruption).rereads:
            raise UserError(
                f"reads={self.reads}: every read of a chip would be the same; "
                "say what a read adds: read=(corruption, strength), or --read-noise."
            )
        if self.read is not None:
            checked_strengths([self.read[1]])
        if self.batchnorm not in _POLICIES:
            raise unknown("BatchNorm policy", self.batchnorm, _POLICIES)
        if (self.batchnorm == "recalibrated") != (self.calibration is not None):
            raise UserError(
                "batchnorm='recalibrated' and calibration=batches go together: the inputs to "
                "compute the statistics from."
            )
        if self.autocast is not None and self.autocast not in _AUTOCASTS:
            raise unknown("autocast", self.autocast, _AUTOCASTS)

    def filled(self, chips: int, purpose: str) -> Self:
        """This `Sampling`, with that number of chips and that purpose where it has none of its
        own.
        """
        if self.chips is not None and self.purpose is not None:
            return self
        return replace(self, chips=self.chips or chips, purpose=self.purpose or purpose)

    def casting(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context in which forward passes on `device` run: autocast, or nothing. Raises
        `UserError` for a device that has no autocast.
        """
        if self.autocast is None:
            return nullcontext()
        if not torch.amp.is_autocast_available(device.type):
            raise UserError(
                f"autocast={self.autocast!r}: torch has no autocast for {device.type}; leave it "
                "out."
            )
        return torch.autocast(device.type, _AUTOCASTS[self.autocast])

    @property
    def read_noise(self) -> str | None:
        """What each read of a chip adds, as its text."""
        return None if self.read is None else f"{self.read[0]}:{self.read[1]:g}"

    def differ(self, strength: float) -> bool:
        """Whether chips differ at that strength. At strength 0 all chips are the same, unless reads
        add an error or the corruption has faults that are there at every strength (`pinned`).
        """
        return bool(strength or self.read or traits(self.corruption).pinned)

    def distinct(self, strength: float) -> int:
        """How many different chips there are at that strength. Raises `UserError` where the number
        of chips was left open.
        """
        if self.chips is None:
            raise UserError("this Sampling leaves the number of chips open: give it chips=25, say.")
        return self.chips if self.differ(strength) else 1

    @property
    def total(self) -> int:
        """How many reads there are in all, over all strengths and chips."""
        return sum(self.distinct(strength) * self.reads for strength in self.strengths)

    def fitted(self, model: nn.Module) -> tuple[nn.Module, Sequence[Array]]:
        """The network to measure and its arrays. With the policy "folded" this is a folded copy, in
        which arrays keep their names.
        """
        arrays = select(model) if self.arrays is None else self.arrays
        if self.batchnorm != "folded":
            return model, arrays
        model, names = fold_batchnorm(model), {array.name for array in arrays}
        return model, [array for array in select(model, also=names) if array.name in names]

    def values(
        self,
        array: Array,
        strength: float,
        chip: int,
        again: int,
        heard: Callable[[Noise], Noise] = lambda noise: noise,
    ) -> Tensor:
        """The values of `array`, which holds clean weights, on that chip at that strength, in its
        `again`-th read.

        `heard` wraps each noise, for example in a cache. Raises `UserError` for a corruption that
        returns another shape.
        """
        values = _of(
            self.corruption, array, strength, heard(self.drawn(chip, again).of(array.name))
        )
        if self.read is None:
            return values
        programmed = replace(array, parameter=nn.Parameter(values, requires_grad=False))
        return _of(
            self.read[0],
            programmed,
            self.read[1],
            heard(self.read_afresh(chip, again).of(array.name)),
        )

    def write(
        self,
        array: Array,
        out: Tensor,
        strength: float,
        chip: int,
        again: int,
        heard: Callable[[Noise], Noise] = lambda noise: noise,
    ) -> None:
        """Write what `values` returns into `out`, which has the shape and type of the clean weights
        in `array` and other memory.
        """
        if self.read is None:
            write_into(
                self.corruption, array, strength, heard(self.drawn(chip, again).of(array.name)), out
            )
        else:
            out.copy_(self.values(array, strength, chip, again, heard))

    def drawn(self, chip: int, again: int) -> Draw:
        """The noise of the chip itself, in its `again`-th read."""
        return Draw(
            self.seed, self._purpose, self._named(chip), read=again, mirrored=self._mirrors(chip)
        )

    def read_afresh(self, chip: int, again: int) -> Draw:
        """The noise that `read` adds to that read of that chip."""
        name = self._named(chip) * self.reads + again
        return Draw(self.seed, f"{self._purpose}, read", name, mirrored=self._mirrors(chip))

    @property
    def _purpose(self) -> str:
        return self.purpose or "test"

    def _mirrors(self, chip: int) -> bool:
        return self.pairs and chip % 2 == 1

    def _named(self, chip: int) -> int:
        """The number of the chip whose noise is used: a mirrored chip 2k + 1 uses the noise of chip
        2k with its sign flipped.
        """
        return chip - 1 if self._mirrors(chip) else chip


Sampling.__init__ = renamed_arguments(draws="chips")(Sampling.__init__)  # type: ignore[method-assign]


def _of(corruption: Corruption, array: Array, strength: float, noise: Noise) -> Tensor:
    values = corruption(array, strength, noise)
    if values.shape != array.value.shape:
        raise UserError(
            f"{array.name}: the corruption returned values of shape {tuple(values.shape)}, and the "
            f"shape of the array, {tuple(array.value.shape)}, is needed."
        )
    return values.to(array.value.dtype)


def sampling_of(
    asked: Sampling | Corruption | str,
    strengths: Sequence[float] | None,
    options: Mapping[str, Any],
    *,
    chips: int,
    purpose: str,
    max_chips: int | None = None,
) -> Sampling:
    """The `Sampling` that a caller asked for, as one object or as a corruption with strengths and
    options. `chips` and `purpose` are what the called function takes where the caller says nothing.
    `max_chips` replaces any other number of chips.

    Raises `UserError` where a `Sampling` comes with strengths or options beside it, and for
    mirrored chips. Raises `TypeError` for an option that `SamplingOptions` does not have.
    """
    if unknown_ := options.keys() - SamplingOptions.__annotations__.keys():
        raise TypeError(f"there is no option {', '.join(sorted(unknown_))}; see Sampling.")
    if max_chips is not None and "chips" in options:
        raise UserError(
            "chips and max_chips are both given, and are the same here: give one of them."
        )
    beside = [*(["strengths"] if strengths is not None else []), *options]
    if not isinstance(asked, Sampling):
        given: dict[str, Any] = {"corruption": asked, "strengths": strengths, **options}
        asked = Sampling(**given)
    elif beside:
        raise UserError(
            f"{', '.join(beside)}: given beside a Sampling, which says that too: write it there, as in "
            "Sampling(corruption, strengths, chips=25, seed=0)."
        )
    if asked.pairs:
        raise UserError(
            "pairs: intervals and certificates take chips as independent, and mirrored chips are not; "
            "measure_mean pairs chips by itself (antithetic=True)."
        )
    found = asked.filled(chips, purpose)
    return found if max_chips is None else replace(found, chips=max_chips)
