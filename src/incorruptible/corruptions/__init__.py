"""What goes wrong with stored weights: one file for each, a catalogue, and one way to write them
down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..errors import UserError
from ..specs.grammar import build, numbers, parted, split, written
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
EXAMPLES = {  # members that are made of others, each with something to be made of
    "mixture": "mixture(gaussian-filter-max)",
    "stored": "stored(crossbar:per=filter:levels=64|drop)",
}


def parse(text: str) -> Corruption:
    """The corruption that `text` writes down.

    >>> parse("mixture(gaussian-filter-max):low=0.5")
    Mixture(of=Gaussian(scale='filter-max'), low=0.5, high=1.0)
    """
    if split(text).values:
        raise UserError(
            f"{text!r}: a strength stands here, where a corruption alone is needed: "
            f"{':'.join(_parts(text))!r}."
        )
    name = split(text).name
    scaled = sorted(member for member in CATALOGUE if member.startswith(f"{name}-"))
    if scaled and name not in ("gaussian", "uniform"):
        raise UserError(f"{name!r} is no corruption by itself: {', '.join(scaled)}.")
    if scaled:
        raise UserError(
            f"{name!r} needs its scale in the name, for scales are never interchangeable: "
            f"{', '.join(scaled)}."
        )
    if name == "stored" and split(text).inner is not None:
        storage, faults = stages(split(text).inner or "")
        made: Corruption = build(
            "corruption", text, {name: partial(Stored, faults=faults)}, lambda inner: storage
        )
        return made
    corruption: Corruption = build("corruption", text, CATALOGUE, parse)
    return corruption


def stages(text: str) -> tuple[Storage, tuple[Fault, ...]]:
    """What `storage|fault|fault` names."""
    storage, *faults = parted(text, "|")
    return build("storage", storage, STORAGES), tuple(map(_fault, faults))


def _fault(text: str) -> Fault:
    if split(text).values and split(text).name != "fixed":
        name, value = split(text).name, split(text).values[0]
        raise UserError(
            f"{text!r}: a strength stands here; fixed({name}):{value} pins a fault to it."
        )
    found: Fault = build("fault", text, FAULTS, _fault)
    return found


def as_corruption(thing: Corruption | str) -> Corruption:
    """A corruption as it is, or the one that a text writes down. Raises `UserError` for anything
    else.

    >>> as_corruption("gaussian-filter-max")
    Gaussian(scale='filter-max')
    """
    if isinstance(thing, str):
        return parse(thing)
    if isinstance(thing, type):
        raise UserError(
            f"{thing.__name__} is a class, and one of its kind is needed: {thing.__name__}(...)."
        )
    if not callable(thing):
        raise UserError(
            f"corruption={thing!r} is none: Gaussian('filter-max'), or its text "
            "'gaussian-filter-max', is."
        )
    return thing


class Sweep(NamedTuple):
    """A corruption with the strengths to try it at."""

    corruption: Corruption
    strengths: tuple[float, ...]

    def __str__(self) -> str:
        head, *fields = _parts(str(self.corruption))
        return ":".join([head, written(tuple(self.strengths)), *fields])


def _parts(text: str) -> list[str]:
    spec = split(text)
    head = spec.name if spec.inner is None else f"{spec.name}({spec.inner})"
    return [head, *(f"{key}={value}" for key, value in spec.fields.items())]


def parse_sweep(text: str) -> Sweep:
    """A corruption and its strengths: `gaussian-filter-max:0,.1,.2`. A device without strengths
    stands at 1, its error as it was measured, and so does rounding, which has none.

    >>> str(parse_sweep("lognormal:0,.1:unbiased=true"))
    'lognormal:0,0.1:unbiased=true'
    """
    values = split(text).values
    if not values:
        alone = parse(text)
        if isinstance(alone, Device | Quantised):
            return Sweep(alone, (1.0,))
    if len(values) != 1:
        came = "none came" if not values else f"{len(values)} groups came"
        raise UserError(
            f"{text!r}: {came} of the strengths that must follow the name: "
            f"{_parts(text)[0]}:0,.1,.2."
        )
    corruption = parse(":".join(_parts(text)))
    return Sweep(corruption, checked_strengths(numbers(values[0], "strength"), corruption))
