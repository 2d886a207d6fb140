"""How sharp the loss is: the top eigenvalue of its Hessian, and the Hessian's trace.

The Hessian of a network is too large to be written down. Both numbers are found from products of
the Hessian with vectors. Each product is one more backward pass, through the graph of the gradient.

Relies on: the loss can be differentiated twice (fused attention cannot, so the plain kernel is
used). Keeps: weights, `.grad`, running statistics and torch's generators are as before; the random
vectors follow from `seed` and the arrays' names alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..corruptions.gaussian import scale_of
from ..errors import UserError
from ..randomness.streams import Draw
from ..weights.arrays import Array
from .probing import Loss, untouched


class Sharpness(NamedTuple):
    """Curvature of the mean loss on one batch. H is its Hessian, or M H M in the metric of a scale.

    - `top`: the largest eigenvalue, in nats per squared unit of the weights (of the scale). An
      eigenvalue of H lies within `residual` of it.
    - `trace`: the sum of all eigenvalues, with its standard error `error` over draws (nan for one
      draw).
    - `products`: how many products of H with a vector were computed.
    - `size`: the dimension of H.
    """

    top: float
    residual: float
    trace: float
    error: float
    products: int
    size: int


def sharpness(
    model: nn.Module,
    arrays: Sequence[Array] | None,
    loss: Loss,
    batch: Any,
    *,
    scale: str | None = None,
    draws: int = 16,
    seed: int = 0,
    iterations: int = 60,
    tolerance: float = 1e-3,
) -> Sharpness:
    """Top eigenvalue and trace of the Hessian of the mean of `loss(model, batch)` [b], at the
    weights as they are.

    The Hessian is taken over the trainable ones of `arrays`, or over all trainable parameters if
    `arrays` is None. With a `scale`, such as filter-max with m = max|W_f|, it is M H M with M =
    diag(m). Then noise of this scale at strength s raises the loss by s^2 tr(M H M) / 2 to second
    order, and no step of length rho, in units of m, raises it by more than rho^2 top / 2 beyond its
    slope.

    The top eigenvalue is the largest Ritz value of Lanczos' iteration, which stops when this value
    lies within `tolerance` of an eigenvalue, relative to the largest Ritz value's size. The
    iteration is orthogonalised in full, so it keeps up to `iterations` vectors of the size of the
    weights.

    The trace is Hutchinson's estimate (1990, doi 10.1080/03610919008812866): E z'Hz = tr H for z of
    independent signs, so it is unbiased; its variance is twice the sum of squares off the diagonal.
    As a tool for networks: PyHessian, arXiv 1912.07145.

    The model keeps its mode: in training mode the statistics of the batch are differentiated
    through, and dropout is one fixed mask. Raises `UserError` if nothing is trainable, for a scale
    without arrays, and for a curvature that is not finite.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> bowl = lambda model, _: (model.weight**2 * torch.tensor([1.0, 5.0])).sum().view(1) / 2
    >>> "{:.3f} {:.3f} {:.3f} {:.3f} {} {}".format(*sharpness(model, None, bowl, None, draws=2))
    '5.000 0.000 6.000 0.000 4 2'
    """
    if arrays is None:
        if scale is not None:
            raise UserError(
                f"scale {scale!r} belongs to arrays: give arrays=select(model), or no scale."
            )
        names: list[tuple[str, Tensor]] = [
            (name, p) for name, p in model.named_parameters() if p.requires_grad
        ]
        metric: list[Tensor | float] = [1.0] * len(names)
    else:
        live = [array for array in arrays if array.parameter.requires_grad]
        names = [(array.name, array.parameter) for array in live]
        of = scale_of(scale) if scale is not None else None
        metric = [1.0 if of is None else of(array).detach() for array in live]
    if not names:
        raise UserError(
            f"{type(model).__name__} has no trainable weight here: there is no curvature to "
            "measure."
        )
    with untouched(model):
        product = _product(model, [p for _, p in names], metric, loss, batch)
        shapes = [(name, p.detach()) for name, p in names]
        top, residual, used = _top(product, shapes, seed, iterations, tolerance)
        signs = (_signs(shapes, Draw(seed, "trace", k)) for k in range(draws))
        squares = [float((z.double() * product(z).double()).sum()) for z in signs]
    if not (math.isfinite(top) and all(map(math.isfinite, squares))):
        raise UserError(
            "the curvature is not finite at these weights: has training diverged, or is the loss "
            "infinite there?"
        )
    error = float(np.std(squares, ddof=1) / math.sqrt(draws)) if draws > 1 else math.nan
    return Sharpness(
        top,
        residual,
        float(np.mean(squares)),
        error,
        used + draws,
        sum(p.numel() for _, p in names),
    )


Product = Callable[[Tensor], Tensor]


def _product(
    model: nn.Module,
    parameters: Sequence[Tensor],
    metric: Sequence[Tensor | float],
    loss: Loss,
    batch: Any,
) -> Product:
    """Returns the function v -> M H M v, for flat v. The graph of the gradient is built once, and
    lives as long as the function.
    """
    # fused attention kernels have no second derivative
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        value = loss(model, batch).mean()
        slopes = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
    curved = [k for k, slope in enumerate(slopes) if slope is not None and slope.requires_grad]
    sizes = [p.numel() for p in parameters]

    def product(flat: Tensor) -> Tensor:
        parts = [
            part.view_as(p) * m
            for part, p, m in zip(torch.split(flat, sizes), parameters, metric, strict=True)
        ]
        if not curved:  # the loss is linear in the weights
            return torch.zeros_like(flat)
        found = torch.autograd.grad(
            [slopes[k] for k in curved],
            parameters,
            [parts[k] for k in curved],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([(h * m).flatten() for h, m in zip(found, metric, strict=True)])

    return product


def _top(
    product: Product,
    shapes: Sequence[tuple[str, Tensor]],
    seed: int,
    iterations: int,
    tolerance: float,
) -> tuple[float, float, int]:
    """Returns the largest Ritz value, the norm of its residual, and the number of products."""
    start = Draw(seed, "lanczos", 0)
    vector = torch.cat(
        [start.of(name).normal(like).to(like.dtype).flatten() for name, like in shapes]
    )
    most = min(iterations, len(vector))
    basis = torch.empty(most, len(vector), dtype=vector.dtype, device=vector.device)
    basis[0] = vector / vector.norm()
    diagonal: list[float] = []
    beside: list[float] = []
    for done in range(1, most + 1):
        image = product(basis[done - 1])
        diagonal.append(float(basis[done - 1].double() @ image.double()))
        for _ in range(2):  # in floating point, orthogonalising once is not enough
            image = image - basis[:done].T @ (basis[:done] @ image)
        beta = float(image.double().norm())
        if not (math.isfinite(diagonal[-1]) and math.isfinite(beta)):
            return math.nan, math.nan, done
        values, vectors = np.linalg.eigh(
            np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        )
        # the residual of a Ritz pair is beta times the last entry of its vector, so it needs no
        # product
        top, residual, size = (
            float(values[-1]),
            beta * abs(float(vectors[-1, -1])),
            float(np.abs(values).max()),
        )
        # beta near 0 means that the products so far span an invariant space, and no vector is left
        # to add
        if residual <= tolerance * size or beta <= 1e-6 * size or done == most:
            break
        beside.append(beta)
        basis[done] = image / beta
    return top, residual, done


def _signs(shapes: Sequence[tuple[str, Tensor]], draw: Draw) -> Tensor:
    """A vector of independent signs, +1 or -1 with probability 1/2 each."""
    return torch.cat(
        [
            (draw.of(name).uniform(like) < 0.5).to(like.dtype).flatten() * 2 - 1
            for name, like in shapes
        ]
    )
