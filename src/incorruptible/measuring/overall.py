"""Many chips over a whole range of strengths: area, worst case, tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import curves
from ..statistics import Interval, t_interval

__all__ = ["Overall"]

Array = NDArray[np.float64]

_MEANINGS = {
    "area": "mean score where every strength is equally likely",
    "worst": "a chip's worst score at any strength",
    "tolerance": "the strength up to which a chip loses at most {loss:g}",
}


@dataclass(frozen=True, eq=False)
class Overall:
    """What each chip's curve comes to over the strengths from `low` to `high`.

    `chips` maps "area", "worst" and "tolerance" to one number for each chip [draw], as `incorruptible.curves` defines them:
    draw k is the same chip at every strength, so its curve is one chip's own. `beyond` [draw] marks chips that never lose
    `loss`; their tolerance is counted as `high`, so that the mean is a bound from below. `lacking` says why one is not there.
    """

    low: float
    high: float
    loss: float
    chips: dict[str, Array]
    beyond: NDArray[np.bool_]
    lacking: dict[str, str]

    @classmethod
    def of(
        cls, values: Array, strengths: tuple[float, ...], higher_is_better: bool | None, loss: float = curves.LOSS
    ) -> Overall | None:
        """From values [strength, draw], strengths in any order; None for a single strength, which is no range.

        Raises `Mistake` for a loss that is not positive.
        """
        if len(strengths) < 2:
            return None
        order = np.argsort(strengths)
        at, curve = np.asarray(strengths, dtype=np.float64)[order], values[order].T
        lacking: dict[str, str] = {}
        if not np.isfinite(curve).all():
            lacking = dict.fromkeys(_MEANINGS, "scores are not finite")
        elif higher_is_better is None:
            lacking = dict.fromkeys(("worst", "tolerance"), "no direction: give a Score")
        elif at[0] != 0:
            lacking["tolerance"] = "strength 0 was not measured"
        chips: dict[str, Array] = {}
        beyond = np.zeros(len(curve), dtype=np.bool_)
        if "area" not in lacking:
            chips["area"] = curves.area(curve, at)
        if "worst" not in lacking:
            chips["worst"] = curves.worst(curve, at, higher_is_better is not False)
        if "tolerance" not in lacking:
            chips["tolerance"], beyond = curves.tolerance(curve, at, loss, higher_is_better is not False)
        return cls(float(at[0]), float(at[-1]), loss, chips, beyond, lacking)

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Student's interval over chips, on these examples; nan for one chip, and all nan for what is lacking."""
        found = self.chips.get(name)
        if found is None or len(found) < 2:
            return Interval(float("nan"), float("nan") if found is None else float(found[0]), float("nan"))
        return t_interval(found, level)

    def plain(self, level: float = 0.95) -> dict[str, Any]:
        """As plain data, what is lacking as nan with its reason."""
        found: dict[str, Any] = {"from": self.low, "to": self.high, "loss": self.loss}
        for name in _MEANINGS:
            low, mean, high = self.interval(name, level)
            found[name] = {"mean": mean, "low": low, "high": high, "sd": self._spread(name)}
        return {**found, "chips_beyond": int(self.beyond.sum()), "lacking": self.lacking}

    def _spread(self, name: str) -> float:
        found = self.chips.get(name)
        return float("nan") if found is None or len(found) < 2 else float(found.std(ddof=1))

    def __str__(self) -> str:
        lines = [f"{f'from {self.low:g} to {self.high:g}':>19}  {'mean':>7}  {'95% interval':>17}  {'sd':>7}"]
        for name, meaning in _MEANINGS.items():
            if name in self.lacking:
                lines.append(f"{name:>19}  {'-':>7}  {self.lacking[name]}")
                continue
            (low, mean, high), spread = self.interval(name), self._spread(name)
            between = "needs 2 chips" if low != low else "all the same" if low == high else f"{low:.4f} to {high:.4f}"
            sd = "-" if spread != spread else f"{spread:.4f}"
            cells = f"{name:>19}  {mean:7.4f}  {between:>17}  {sd:>7}  {meaning.format(loss=self.loss)}"
            if name == "tolerance" and self.beyond.any():
                cells += f"; {self.beyond.sum()} of {len(self.beyond)} chips never lose it, and count as {self.high:g}"
            lines.append(cells)
        return "\n".join(lines)

    __repr__ = __str__
