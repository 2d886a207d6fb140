"""Which parameters an error touches and by how much, and which are skipped and why.

`audit` puts one chip in place, looks at every parameter, and puts the clean weights back. It needs
neither data nor a score, so that it is the first thing to try on a new network:

    print(audit(model, parse("gaussian-filter-max"), 0.1))

Relies on: `survey` names every parameter of the model once. Keeps: the weights are bit-equal after
the call, also after an error; one array is replaced at a time, so that no second copy of the
network is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..corruptions import Corruption, traits
from ..errors import UserError, renamed_arguments
from ..randomness.streams import Draw
from ..schedules import checked
from ..weights.arrays import Array, SurveyedParameter, packed_weights, refuse_offloaded, survey
from ..weights.swap import replaced
from .base import Result


@dataclass(frozen=True)
class Touched:
    """One parameter, with the size of its weights and of their error on one chip.

    `max` is max|W| and `rms` the root mean square of the weights; both are None for the packed
    weight of a quantised layer, whose values are not floats. `relative_to_max` and
    `relative_to_rms` are the root mean square of the error, as measured on the weights in place,
    over `max` and over `rms`; both are None where the parameter is skipped. `reason` says why it is
    skipped, and is empty for a parameter in an array, which has a number of `filters`.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    filters: int | None
    max: float | None
    rms: float | None
    relative_to_max: float | None
    relative_to_rms: float | None
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Audit(Result):
    """One row for each parameter, in the model's order, and then one for each packed weight of a
    quantised layer.
    """

    rows: tuple[Touched, ...]
    corruption: str
    strength: float
    conditions: str = ""

    @property
    def touched(self) -> list[Touched]:
        """The rows of parameters that are in arrays."""
        return [row for row in self.rows if not row.reason]

    @property
    def skipped(self) -> list[Touched]:
        """The rows of parameters that stay digital."""
        return [row for row in self.rows if row.reason]

    def share(self) -> float:
        """The share of all weights that is in arrays."""
        sizes = [(row, torch.Size(row.shape).numel()) for row in self.rows]
        return sum(n for row, n in sizes if not row.reason) / max(1, sum(n for _, n in sizes))

    def plain(self) -> dict[str, Any]:
        """One entry for each parameter, and the share of the weights in arrays, as plain data."""
        return {
            "corruption": self.corruption,
            "strength": self.strength,
            "share": self.share(),
            "rows": [asdict(row) for row in self.rows],
        }

    def table(self) -> str:
        """One line for each parameter."""
        width = max([len(row.name) for row in self.rows], default=4)
        kind = max([22, *(len(row.module) for row in self.rows)])
        lines = [
            f"{self.corruption} at {self.strength:g}, one chip: {len(self.touched)} arrays hold "
            f"{self.share():.1%} of the parameters",
            *([self.conditions] if self.conditions else []),
            f"{'array':<{width}}  {'module':<{kind}}  {'shape':<18}  filters  error/max|W|  "
            "error/rms(W)",
        ]
        for row in self.touched:
            shape = "x".join(map(str, row.shape))
            lines.append(
                f"{row.name:<{width}}  {row.module:<{kind}}  {shape:<18}  {row.filters:>7}  "
                f"{_short(row.relative_to_max):>12}  {_short(row.relative_to_rms):>12}"
            )
        if self.skipped:
            lines.append("not in an array:")
            lines += [
                f"{row.name:<{width}}  {row.module:<{kind}}  {'x'.join(map(str, row.shape)):<18}  "
                f"{row.reason}"
                for row in self.skipped
            ]
        return "\n".join(lines)


@renamed_arguments(without="protect")
def audit(
    model: nn.Module,
    corruption: Corruption,
    strength: float,
    *,
    also: Iterable[str] = (),
    protect: Iterable[str] = (),
    seed: int = 0,
) -> Audit:
    """Put one chip of `corruption` in place and look at every parameter: which parameters moved,
    and by how much.

    `also` and `protect` are patterns as for `select`. Raises `UserError` where no weight is in an
    array, and for a strength that is negative or not finite.
    """
    strength = checked(strength)
    refuse_offloaded(model)
    found = survey(model, also, protect)
    arrays = [one.array for one in found if one.array is not None]
    if not arrays:
        raise UserError(
            f"{type(model).__name__} has no weight to perturb; name some with also=(...)."
        )
    draw = Draw(seed, "audit", 0)
    rows = [
        _row(one, lambda array: corruption(array, strength, draw.of(array.name))) for one in found
    ]
    rows += [
        Touched(
            one.name,
            one.module,
            one.shape,
            None,
            None,
            None,
            None,
            None,
            "packed in a quantised layer; errors go into floats",
        )
        for one in packed_weights(model)
    ]
    return Audit(tuple(rows), str(corruption), strength, traits(corruption).conditions)


def _row(one: SurveyedParameter, put: Callable[[Array], Tensor]) -> Touched:
    """The row of one parameter. `put` makes the values of its array on the chip. No other parameter
    is copied meanwhile.
    """
    clean = one.parameter.detach().double()  # a copy, unless the weights have 64 bits themselves
    shape, rms = tuple(clean.shape), _rms(clean)
    peak = float(clean.abs().max()) if clean.numel() else 0.0
    if one.array is None:
        return Touched(one.name, one.module, shape, None, peak, rms, None, None, one.reason)
    if clean.dtype == one.parameter.dtype:
        clean = clean.clone()
    with replaced([one.array], put):
        error = _rms(clean.sub_(one.parameter.detach()))
    by_max, by_rms = (error / size if size else 0.0 for size in (peak, rms))
    return Touched(one.name, one.module, shape, one.array.filters, peak, rms, by_max, by_rms, "")


def _short(size: float | None) -> str:
    """A size with four places, or with four digits where it is large: a flipped bit in the exponent
    of a float makes errors of 1e36.
    """
    return "-" if size is None else f"{size:.4f}" if size < 1e4 else f"{size:.4g}"


def _rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt()) if values.numel() else 0.0
