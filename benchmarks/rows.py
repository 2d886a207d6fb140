"""One row of the benchmark: the cost of one variant in units of another, with its interval and its n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from incorruptible.errors import UserError
from incorruptible.statistics import Interval, quantile_rank

__all__ = ["PROCESSOR", "WALL", "Row", "median", "row_of"]

PROCESSOR, WALL = "processor", "wall"


@dataclass(frozen=True)
class Row:
    """`middle` is the median in `unit`, and `low` and `high` are its 95% interval: nan if n is too small for one."""

    group: str
    variant: str
    what: str
    unit: str
    low: float
    middle: float
    high: float
    n: int
    clock: str = PROCESSOR
    threads: int = 1
    seconds: float | None = None  # the variant's own time for one step, pass or draw: a median
    facts: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def row_of(data: Mapping[str, Any]) -> Row:
    """The row that `Row.plain` gave, read back from JSON, in which null stands for nan."""
    limits = {name: float("nan") if data[name] is None else data[name] for name in ("low", "middle", "high")}
    return Row(**{**data, **limits})


def median(values: ArrayLike | Sequence[float], level: float = 0.95) -> Interval:
    """The median of independent values [n], with limits that are two of the values and hold whatever their distribution.

    With k the largest rank at which P(Bin(n, 1/2) >= k) >= 1 - (1 - level) / 2 these are the k-th smallest and the k-th
    largest (David & Nagaraja, Order Statistics, 2003, section 7.1). Below n = 6 no two values will do at 95%, and the limits
    are nan. Raises `UserError` for no values, and for values that are not finite.

    >>> tuple(round(x, 6) for x in median([1.2, 1.0, 1.1, 1.3, 1.05, 1.15]))
    (1.0, 1.125, 1.3)
    """
    array = np.sort(np.asarray(values, dtype=float))
    if not array.size or not np.isfinite(array).all():
        raise UserError(f"a median needs finite values, at least one; {array.size} are given.")
    rank = quantile_rank(array.size, 0.5, (1 + level) / 2)
    low, high = (array[rank - 1], array[-rank]) if rank else (np.nan, np.nan)
    return Interval(float(low), float(np.median(array)), float(high))
