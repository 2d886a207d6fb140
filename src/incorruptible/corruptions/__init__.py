"""What goes wrong with stored weights: one file for each, a catalogue, and one way to write them down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from ..errors import Mistake
from ..grammar import build, numbers, split, written
from ..strengths import checked
from .equivalent import Equivalent, equivalent
from .gaussian import Gaussian
from .lognormal import LogNormal
from .mixture import Mixture
from .multiplicative import Multiplicative
from .protocol import Corruption, Moments
from .scales import SCALES
from .uniform import Uniform

__all__ = [
    "CATALOGUE",
    "SCALES",
    "Corruption",
    "Equivalent",
    "Gaussian",
    "LogNormal",
    "Mixture",
    "Moments",
    "Multiplicative",
    "Sweep",
    "Uniform",
    "equivalent",
    "parse",
    "parse_sweep",
]

CATALOGUE: dict[str, Callable[..., Corruption]] = {
    **{f"gaussian-{scale}": partial(Gaussian, scale) for scale in SCALES},
    **{f"uniform-{scale}": partial(Uniform, scale) for scale in SCALES},
    "multiplicative": Multiplicative,
    "lognormal": LogNormal,
    "mixture": Mixture,
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
    if scaled:
        raise Mistake(
            f"{name!r} needs its scale in the name, for scales are never interchangeable: {', '.join(scaled)}."
        )
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
    return Sweep(corruption, checked_strengths(numbers(values[0], "strength")))


def checked_strengths(strengths: Sequence[float] | float) -> tuple[float, ...]:
    """The strengths as floats; a `Mistake` for none, and for a negative or non-finite one."""
    if isinstance(strengths, int | float):
        strengths = (strengths,)
    if len(strengths) == 0:
        raise Mistake("no strength came; at least one is needed.")
    if len(set(strengths)) < len(strengths):
        raise Mistake(f"strengths {written(tuple(map(float, strengths)))}: one comes twice.")
    return tuple(checked(float(strength)) for strength in strengths)
