"""Sharpness-aware minimisation: the gradient at the worst point of a ball, to first order."""

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

__all__ = ["SAM", "Ascent", "metric_of"]

EUCLIDEAN = "euclidean"
_PART = 1 << 16  # numbers of a step at a time: what a core's cache holds
_SMALL, _LARGE = 1e-12, 1e18  # norms between which their squares in float32 neither vanish nor overflow


def metric_of(name: str) -> Callable[[Array], Tensor] | None:
    """The metric of that name: a scale, or None for euclidean. Raises `UserError` for another."""
    if not isinstance(name, str):
        raise UserError(
            f"metric={name!r} is none; rho is the strength, and no field: Hardener(model, SAM(), Constant(0.05), ...)."
        )
    if name == EUCLIDEAN:
        return None
    if name not in SCALES:
        raise unknown("metric", name, [EUCLIDEAN, *SCALES])
    return scale_of(name)


class Ascent:
    """The weights plus e = rho m^2 g / ||m g|| for each array, with m = 1 without a metric; e is 0 where the gradient is.

    It maximises <g, e> under ||e / m||_2 <= rho, over all arrays together. Arrays without a gradient stay. `start` gives the
    weights that e is added to, the clean ones unless another is named; m is that of the weights in place when this is made.

    e does not depend on the length of g, and is right for every one: where the sum of squares in float32 would vanish (|g| of
    1e-23) or overflow (1e19), the gradient is first divided by its largest entry.
    """

    def __init__(
        self,
        grads: Grads,
        arrays: Sequence[Array],
        strength: float,
        metric: Callable[[Array], Tensor] | None,
        start: Corrupted | None = None,
    ) -> None:
        scales = {array.name: metric(array) if metric else None for array in arrays if array.name in grads}
        own = {name: grads[name] for name in scales}
        if any(g.device.type != "cpu" for g in own.values()):  # where nobody waits to look at the norm
            own = _at_unit_size(own)
        self._scaled, norm = _measured(own, scales)
        if norm.device.type == "cpu" and not _SMALL < float(norm) < _LARGE:
            self._scaled, norm = _measured(_at_unit_size(own), scales)
        self._norm = norm.clamp_min(torch.finfo(torch.float32).tiny)
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
        """start + e into `out`, which may be `start`."""
        kind = torch.promote_types(g.dtype, torch.float32)
        apart = out.dtype == kind and out.data_ptr() != start.data_ptr()
        # to unit length first: strength / norm overflows where the gradient (nearly) vanishes, and 0 * inf is nan
        step = torch.div(g if g.dtype == kind else g.to(kind), self._norm, out=out if apart else None)
        if m is not None:
            step *= m
        step *= self._strength
        torch.add(start, step if kind == g.dtype else step.to(g.dtype), out=out)


def _measured(grads: Grads, scales: dict[str, Tensor | None]) -> tuple[dict[str, tuple[Tensor, Tensor | None]], Tensor]:
    """m g and m of each array, and ||m g|| over all of them."""
    scaled = {name: (g if (m := scales[name]) is None else g * m, m) for name, g in grads.items()}
    norms = torch.stack([torch.linalg.vector_norm(g.float()) for g, _ in scaled.values()])
    return scaled, torch.linalg.vector_norm(norms)


def _at_unit_size(grads: Grads) -> Grads:
    """The gradients over the power of two of their largest entry, which divides without rounding; all zeros stay."""

    def wide(g: Tensor) -> Tensor:
        return g.float() if g.device.type == "mps" else g.double()  # Apple's GPUs have no float64

    peak = torch.stack([wide(g.abs().amax()) for g in grads.values() if g.numel()]).amax()
    exponent = torch.where(peak > 0, torch.frexp(peak).exponent, 0)
    sizes = {name: torch.promote_types(g.dtype, torch.float32) for name, g in grads.items()}
    return {name: torch.ldexp(wide(g), -exponent).to(sizes[name]) for name, g in grads.items()}


@dataclass(frozen=True)
class SAM:
    """g at w + e with e = rho g / ||g|| (Foret et al., arXiv 2010.01412); two passes; the strength is rho.

    With a `metric` other than euclidean the ball is that of a Gaussian scale m, e = rho m_f^2 g / ||m g||, so that it
    has the shape of noise of that scale; its rho is the length of e in units of m, where a draw of strength s over d
    weights has length s sqrt(d). Only the arrays are perturbed; published code moves biases and norms as well
    (`arrays=select(model, also="*")`). Under accumulation or DDP each micro-batch or rank climbs by its own gradient
    (m-sharpness). Frozen arrays have no gradient and stay.

    By hand: L = (a^2 + 4 b^2) / 2 at (1, 1) has g = (1, 4); rho = sqrt(17) gives e = (1, 4) and the gradient (2, 20).
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
