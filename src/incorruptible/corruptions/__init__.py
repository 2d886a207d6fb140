"""What goes wrong with stored weights: one file for each, a catalogue, and one way to write them down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from ..errors import Mistake
from ..grammar import build, numbers, split, written
from ..strengths import checked
from .deadlines import DeadColumns, DeadRows
from .devices import DEVICES, Device, Measured
from .dropconnect import DropConnect
from .equivalent import Equivalent, equivalent
from .floatflips import FloatFlips
from .gaussian import Gaussian
from .intflips import IntFlips
from .lognormal import LogNormal
from .mixture import Mixture
from .multiplicative import Multiplicative
from .protocol import Corrupted, Corruption, Moments, Traits, traits
from .quantised import Quantised
from .scales import SCALES
from .stored import Composed, Stored, stages
from .stuckcells import StuckCells
from .timed import at_time
from .uniform import Uniform

__all__ = [
    "CATALOGUE",
    "DEVICES",
    "EXAMPLES",
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
        raise Mistake(
            f"{text!r}: a strength stands here, where a corruption alone is needed: {':'.join(_parts(text))!r}."
        )
    name = split(text).name
    scaled = sorted(member for member in CATALOGUE if member.startswith(f"{name}-"))
    if scaled and name not in ("gaussian", "uniform"):
        raise Mistake(f"{name!r} is no corruption by itself: {', '.join(scaled)}.")
    if scaled:
        raise Mistake(
            f"{name!r} needs its scale in the name, for scales are never interchangeable: {', '.join(scaled)}."
        )
    if name == "stored" and split(text).inner is not None:
        storage, faults = stages(split(text).inner or "")
        made: Corruption = build("corruption", text, {name: partial(Stored, faults=faults)}, lambda inner: storage)
        return made
    corruption: Corruption = build("corruption", text, CATALOGUE, parse)
    return corruption


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
    """A corruption and its strengths: `gaussian-filter-max:0,.1,.2`.

    >>> str(parse_sweep("lognormal:0,.1:unbiased=true"))
    'lognormal:0,0.1:unbiased=true'
    """
    values = split(text).values
    if len(values) != 1:
        came = "none came" if not values else f"{len(values)} groups came"
        raise Mistake(f"{text!r}: {came} of the strengths that must follow the name: {_parts(text)[0]}:0,.1,.2.")
    corruption = parse(":".join(_parts(text)))
    return Sweep(corruption, checked_strengths(numbers(values[0], "strength"), corruption))


def checked_strengths(strengths: Sequence[float] | float, corruption: Corruption | None = None) -> tuple[float, ...]:
    """The strengths as floats; a `Mistake` for none, for a negative or non-finite one, and for one above what `corruption` allows."""
    if isinstance(strengths, int | float):
        strengths = (strengths,)
    if len(strengths) == 0:
        raise Mistake("no strength came; at least one is needed.")
    if len(set(strengths)) < len(strengths):
        raise Mistake(f"strengths {written(tuple(map(float, strengths)))}: one comes twice.")
    found = tuple(checked(float(strength)) for strength in strengths)
    most = traits(corruption).most
    if corruption is not None and max(found) > most:
        raise Mistake(f"{corruption}: strength {max(found):g}: at most {most:g} ({corruption.unit}).")
    return found
