"""Sharpness-aware minimisation (SAM): the gradient at the worst point of a ball around the weights,
to first order.

`Ascent`, the step from the weights to that point, serves `ASAM` and `RWPSAM` as well.

Relies on: the clean weights are in place when an `Ascent` is made and while it is asked for an
array, because its metric and its start are computed from them.
Keeps: no step waits for a number to be read from the device, and each array's step depends only on
the direction of the gradient, not on its length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..corruptions import Corrupted
from ..corruptions.gaussian import SCALES, scale_of
from ..errors import UserError, unknown
from ..randomness.streams import Draw, cuts, each_part
from ..specs.grammar import write
from ..weights.arrays import Array
from .base import Grads, Point, PointSteps

EUCLIDEAN = "euclidean"
# A step is computed in parts of so many numbers, which fit into a core's cache.
_PART = 1 << 16


def metric_of(name: str) -> Callable[[Array], Tensor] | None:
    """The metric of that name: the function that gives the scale of each weight of an array, or
    None for "euclidean". Raises `UserError` for an unknown name.
    """
    if not isinstance(name, str):
        raise UserError(
            f"metric={name!r} is none; rho is the strength, and no field: Hardener(model, SAM(), "
            "Constant(0.05), ...)."
        )
    if name == EUCLIDEAN:
        return None
    if name not in SCALES:
        raise unknown("metric", name, [EUCLIDEAN, *SCALES])
    return scale_of(name)


class Ascent:
    """The weights of each array plus the step e = rho m^2 g / ||m g||, with m = 1 without a metric.

    e maximises <g, e> under ||e / m||_2 <= rho over all arrays together, where m is the metric's
    scale of each weight. e is 0 where the gradient is 0. Arrays without a gradient stay as they
    are. `start` makes the weights that e is added to; without it, e is added to the weights in
    place. m is computed from the weights that are in place when the `Ascent` is made.

    e does not depend on the length of g. The sum of squares in float32 would vanish for entries of
    1e-23 and overflow for entries of 1e19, so the gradient is first multiplied by a power of two
    that brings its largest entry to between 1/2 and 1. Such a factor rounds nothing. The factor
    stays on the device, so no step waits for a number to be read.
    """

    def __init__(
        self,
        grads: Grads,
        arrays: Sequence[Array],
        strength: float,
        metric: Callable[[Array], Tensor] | None,
        start: Corrupted | None = None,
    ) -> None:
        metrics = {
            array.name: metric(array) if metric else None for array in arrays if array.name in grads
        }
        self._unit = _unit([grads[name] for name in metrics])
        self._scaled = {
            name: (grads[name] if m is None else grads[name] * self._unit * m, m)
            for name, m in metrics.items()
        }
        norms = [
            torch.linalg.vector_norm((g * self._unit if m is None else g).float())
            for g, m in self._scaled.values()
        ]
        self._norm = torch.linalg.vector_norm(torch.stack(norms)).clamp_min(
            torch.finfo(torch.float32).tiny
        )
        self._strength, self._start = strength, start

    def __call__(self, array: Array) -> Tensor:
        out = array.value.clone()
        self.into(array, out)
        return out

    def into(self, array: Array, out: Tensor) -> None:
        """Write the weights plus e into `out`, which may be the array's own storage."""
        start = array.value
        if self._start is not None:
            self._start.into(array, out)
            start = out
        if array.name not in self._scaled:
            if out.data_ptr() != start.data_ptr():
                out.copy_(start)
            return
        g, m = self._scaled[array.name]
        if g.dim() == 0:
            self._step(start, g, m, out)
        elif m is None:
            for there, here, one in each_part(cuts(g, _PART), out, start, g):
                self._step(here, one, None, there)
        else:
            for there, here, one, scale in each_part(cuts(g, _PART), out, start, g, m):
                self._step(here, one, scale, there)

    def _step(self, start: Tensor, g: Tensor, m: Tensor | None, out: Tensor) -> None:
        """Write start + e into `out`, which may be `start` itself."""
        kind = torch.promote_types(g.dtype, torch.float32)
        apart = out.dtype == kind and out.data_ptr() != start.data_ptr()
        # The gradient is divided by its norm before it is multiplied by the strength. The quotient
        # strength / norm would overflow where the gradient (nearly) vanishes, and 0 * inf is nan.
        g_wide, space = g if g.dtype == kind else g.to(kind), out if apart else None
        if m is None:
            step = torch.mul(g_wide, self._unit, out=space).div_(self._norm)
        else:
            step = torch.div(g_wide, self._norm, out=space).mul_(m)
        step *= self._strength
        torch.add(start, step if kind == g.dtype else step.to(g.dtype), out=out)


def _unit(grads: Sequence[Tensor]) -> Tensor:
    """The power of two, of shape [], that brings the largest absolute entry of all gradients to
    between 1/2 and 1. It is 1 if all entries are 0, or if one is not finite.
    """
    peaks = torch.stack([torch.linalg.vector_norm(g, torch.inf) for g in grads if g.numel()])
    peak = peaks.amax().to(torch.promote_types(peaks.dtype, torch.float32))
    # frexp writes peak as mantissa * 2^n, so this quotient is 2^-n, without rounding.
    factor = torch.frexp(peak).mantissa / peak
    limits = torch.finfo(peak.dtype)
    usual = (peak > 0) & torch.isfinite(peak)
    return torch.where(usual, factor.clamp(limits.tiny, 1 / limits.tiny), 1.0)


@dataclass(frozen=True)
class SAM:
    """Sharpness-aware minimisation (Foret et al., arXiv 2010.01412): the gradient at w + e with
    e = rho g / ||g||, where g is the gradient at w. The strength is rho.

    Costs two passes; docs/how-to/objectives.md says where it was ahead of `RWP`. With a `metric`
    other than "euclidean" the ball has the shape of Gaussian
    noise of the scale m of that name: e = rho m_f^2 g / ||m g||. Its rho is the length of e in
    units of m; a draw of noise of strength s over d weights has length s sqrt(d). Only the arrays
    are perturbed; published code moves biases and norms as well (`arrays=select(model, also="*")`).
    Under accumulation or DDP each micro-batch or rank ascends along its own gradient (m-sharpness).
    Frozen arrays have no gradient and stay as they are.

    By hand: L = (a^2 + 4 b^2) / 2 at (1, 1) has g = (1, 4); rho = sqrt(17) gives e = (1, 4) and the
    gradient (2, 20).
    """

    metric: str = EUCLIDEAN

    passes: ClassVar[int] = 2
    clean: ClassVar[bool] = True
    unit: ClassVar[str] = "rho, the radius of the ball"
    source: ClassVar[str] = "arXiv 2010.01412; the metric of a noise is this package's"

    def __post_init__(self) -> None:
        metric_of(self.metric)

    def __str__(self) -> str:
        return write("sam", self)

    def __call__(self, arrays: Sequence[Array], strength: float, draw: Draw) -> PointSteps:
        found = yield Point(None, share=0)
        yield Point(Ascent(found.grads, arrays, strength, metric_of(self.metric)))
