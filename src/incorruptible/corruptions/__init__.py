"""What goes wrong with weights that are stored in hardware.

A *corruption* takes one array (a weight tensor in hardware), a strength and the random numbers of
one chip, and returns the weights that this chip holds. Strength 0 is the resting state: the weights
themselves, or what their storage can hold of them. Each family of corruptions has a file here,
memory devices have the folder `devices`. `CATALOGUE` lists all corruptions by name, and `parse`
reads a corruption from a text:

>>> corruption, strengths = parse_sweep("gaussian-filter-max:0,.1")
>>> corruption.formula, strengths
('w + s max|W_f| z, z ~ N(0, 1)', (0.0, 0.1))

`stored(STORAGE|FAULT|FAULT)` puts a corruption together from parts: the folder `storages` has ways
to hold weights, and `faults` what may go wrong with what is held.

>>> print(parse("stored(crossbar:levels=16|drop)").formula)
w held as crossbar:levels=16: 0 with probability s

Relies on: every member of a catalogue is a dataclass, or a `functools.partial` of one, as
`specs.grammar.build` needs.
Keeps: `parse(str(corruption)) == corruption` for every corruption that can be parsed, and a text is
taken apart once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..errors import UserError
from ..specs.grammar import Spec, build, parted, read, split, written
from .devices import DEVICES, Device, Measured
from .devices.pcm import (
    HermesDrift,
    HermesProgramming,
    HermesRead,
    PCMDrift,
    PCMProgramming,
    PCMRead,
)
from .devices.rram import CMOProgramming, CMORead, CMORelaxation, MiloProgramming, WanProgramming
from .devices.sonos import SONOSDrift, SONOSProgramming, SONOSRead
from .devices.state_independent import ConstantDrift, ConstantProgramming, ConstantRead
from .digital import DeadColumns, DeadRows, DropConnect, FloatFlips, IntFlips, Quantised, StuckCells
from .equivalence import Equivalent, equivalent
from .faults import BitFlips, Dead, Drop, Fault, Fixed, Stuck
from .gaussian import SCALES, Gaussian, Uniform
from .lognormal import LogNormal, Multiplicative
from .mixture import Mixture
from .protocol import Corrupted, Corruption, Moments, Traits, checked_strengths, traits
from .storages import STORAGES, Storage
from .stored import Composed, Stored
from .timed import at_time

__all__ = [
    "CATALOGUE",
    "DEVICES",
    "EXAMPLES",
    "FAULTS",
    "SCALES",
    "Composed",
    "Corrupted",
    "Corruption",
    "DeadColumns",
    "DeadRows",
    "Device",
    "DropConnect",
    "Equivalent",
    "FloatFlips",
    "Gaussian",
    "IntFlips",
    "LogNormal",
    "Measured",
    "Mixture",
    "Moments",
    "Multiplicative",
    "Quantised",
    "Stored",
    "StuckCells",
    "Sweep",
    "Traits",
    "Uniform",
    "as_corruption",
    "at_time",
    "checked_strengths",
    "equivalent",
    "parse",
    "parse_sweep",
    "traits",
]

CATALOGUE: dict[str, Callable[..., Corruption]] = {
    **{f"gaussian-{scale}": partial(Gaussian, scale) for scale in SCALES},
    **{f"uniform-{scale}": partial(Uniform, scale) for scale in SCALES},
    "multiplicative": Multiplicative,
    "lognormal": LogNormal,
    "mixture": Mixture,
    **DEVICES,
    "dropconnect": DropConnect,
    "quantised": Quantised,
    "int-flips": IntFlips,
    "float-flips": FloatFlips,
    "stuck": StuckCells,
    "dead-rows": DeadRows,
    "dead-columns": DeadColumns,
    "stored": Stored,
}
FAULTS: dict[str, Callable[..., Fault]] = {
    "bit-flips": BitFlips,
    "dead": Dead,
    "cmo-programming": CMOProgramming,
    "cmo-read": CMORead,
    "cmo-relaxation": CMORelaxation,
    "constant-drift": ConstantDrift,
    "constant-programming": ConstantProgramming,
    "constant-read": ConstantRead,
    "drop": Drop,
    "fixed": Fixed,
    "hermes-drift": HermesDrift,
    "hermes-programming": HermesProgramming,
    "hermes-read": HermesRead,
    "milo-programming": MiloProgramming,
    "pcm-drift": PCMDrift,
    "pcm-programming": PCMProgramming,
    "pcm-read": PCMRead,
    "stuck": Stuck,
    "sonos-drift": SONOSDrift,
    "sonos-programming": SONOSProgramming,
    "sonos-read": SONOSRead,
    "wan-programming": WanProgramming,
}
EXAMPLES = {  # members that cannot be written without another one in parentheses
    "mixture": "mixture(gaussian-filter-max)",
    "stored": "stored(crossbar:per=filter:levels=64|drop)",
}


def parse(text: str | Spec) -> Corruption:
    """The corruption that `text` writes down.

    Raises `UserError` for an unknown name or field, for a value that a field does not take, and
    where strengths stand in the text.

    >>> parse("mixture(gaussian-filter-max):low=0.5")
    Mixture(of=Gaussian(scale='filter-max'), low=0.5, high=1.0)
    """
    spec = split(text)
    if spec.values:
        raise UserError(
            f"{str(spec)!r}: a strength stands here, where a corruption alone is needed: "
            f"{str(spec._replace(values=()))!r}."
        )
    name = spec.name
    scaled = sorted(member for member in CATALOGUE if member.startswith(f"{name}-"))
    if scaled and name not in ("gaussian", "uniform"):
        raise UserError(f"{name!r} is no corruption by itself: {', '.join(scaled)}.")
    if scaled:
        raise UserError(
            f"{name!r} needs its scale in the name, because scales are never interchangeable: "
            f"{', '.join(scaled)}."
        )
    if name == "stored" and spec.inner is not None:
        storage, faults = stages(spec.inner)
        return build(
            "corruption", spec, {name: partial(Stored, faults=faults)}, lambda inner: storage
        )
    return build("corruption", spec, CATALOGUE, parse)


def stages(text: str) -> tuple[Storage, tuple[Fault, ...]]:
    """The storage and the faults that `storage|fault|fault` names."""
    storage, *faults = parted(text, "|")
    return build("storage", split(storage), STORAGES), tuple(map(_fault, faults))


def _fault(text: str) -> Fault:
    spec = split(text)
    if spec.values and spec.name != "fixed":
        raise UserError(
            f"{text!r}: a strength stands here; fixed({spec.name}):{spec.values[0]} pins a fault "
            "to it."
        )
    return build("fault", spec, FAULTS, _fault)


def as_corruption(thing: Corruption | str) -> Corruption:
    """Returns a corruption as it is, and parses a text. Raises `UserError` for anything else.

    >>> as_corruption("gaussian-filter-max")
    Gaussian(scale='filter-max')
    """
    if isinstance(thing, str):
        return parse(thing)
    if isinstance(thing, type):
        raise UserError(
            f"{thing.__name__} is a class, and an object of that class is needed: "
            f"{thing.__name__}(...)."
        )
    if not callable(thing):
        raise UserError(
            f"corruption={thing!r} is no corruption: give one, such as Gaussian('filter-max'), or "
            "its text, 'gaussian-filter-max'."
        )
    return thing


class Sweep(NamedTuple):
    """A corruption with the strengths to try it at. `str` writes both as `parse_sweep` reads
    them.
    """

    corruption: Corruption
    strengths: tuple[float, ...]

    def __str__(self) -> str:
        head, *fields = parted(str(self.corruption), ":")
        return ":".join([head, written(tuple(self.strengths)), *fields])


def parse_sweep(text: str | Spec) -> Sweep:
    """A corruption and its strengths: `gaussian-filter-max:0,.1,.2`.

    A device without strengths is taken at strength 1, its error as it was measured. Rounding
    (`quantised`) has no strength, and is taken at 1 too. Raises `UserError` as `parse` does, and
    for strengths that are missing, negative, not finite or more than the corruption allows.

    >>> str(parse_sweep("lognormal:0,.1:unbiased=true"))
    'lognormal:0,0.1:unbiased=true'
    """
    spec = split(text)
    if not str(spec):
        raise UserError(
            "the corruption is an empty text; write, for example, gaussian-filter-max:.1."
        )
    if len(spec.values) > 1:
        raise _no_sweep(spec, f"strengths are given {len(spec.values)} times")
    corruption = parse(spec._replace(values=()))
    if not spec.values and not isinstance(corruption, Device | Quantised):
        raise _no_sweep(spec, "strengths are missing")
    strengths = read(spec.values[0], tuple[float, ...], "strength") if spec.values else (1.0,)
    return Sweep(corruption, checked_strengths(strengths, corruption))


def _no_sweep(spec: Spec, why: str) -> UserError:
    return UserError(f"{str(spec)!r}: {why}; write, for example, {spec.head}:0,.1,.2.")
