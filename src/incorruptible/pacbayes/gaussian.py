"""How far a network with Gaussian noise on its weights is from its prior, in nats.

Both the noise Q and the prior P are Gaussian with a standard deviation for each filter: a strength
times the filter's largest weight in magnitude. So the divergence needs five numbers of each filter
only, which `Displacement` holds, and four sums of each layer (`Displacement.sums`).

Keeps: 0/0 counts as 0 and x/0 as infinite (`_over`), so that a filter without any noise costs
nothing as long as it did not move.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

# Steps of the grid for each factor e of the prior's variance (Dziugaite and Roy 2017).
PER_FOLD = 100


@dataclass(frozen=True, eq=False)
class Displacement:
    """What training did to each filter f of a network with F filters.

    - `layer` [F] is the number of the filter's layer, and `count` [F] its number of weights k_f.
    - `peak` [F] is max|W_f| after training, and `start` [F] before.
    - `square` [F] is the squared Euclidean distance between the two.
    - `elsewhere` is the largest change of any other number of the network. Biases and statistics
      get no noise, so the divergence is infinite if they moved.

    Raises `UserError` if the arrays differ in length. `pacbayes.weights.displacement` makes a
    `Displacement` from two networks.
    """

    layer: NDArray[np.int64]
    count: NDArray[np.int64]
    peak: NDArray[np.float64]
    start: NDArray[np.float64]
    square: NDArray[np.float64]
    elsewhere: float = 0.0

    def __post_init__(self) -> None:
        if (
            len({len(one) for one in (self.layer, self.count, self.peak, self.start, self.square)})
            > 1
        ):
            raise UserError(
                "a Displacement takes one layer, count, peak, start and square for each filter."
            )

    def distance(self) -> float:
        """A = ||w - w0||^2 in units of the noise at strength 1: the sum over filters of square /
        peak^2, where 0/0 is 0.

        >>> one = Displacement(*(np.array([x]) for x in (0, 9, 2.0, 1.0, 3.0)))
        >>> one.distance()  # 3 / 2^2
        0.75
        """
        return float(_over(self.square, self.peak**2).sum())

    @cached_property
    def sums(self) -> NDArray[np.float64]:
        """[layers, 4] Four sums over the filters of each layer, which are all that its divergence
        depends on.

        With m = peak and m0 = start: N = sum k_f, a = sum k_f m^2/m0^2, b = sum square/m0^2 and c =
        sum k_f ln(m^2/m0^2). A filter that had no noise before and has none after counts only in b,
        and only if it moved.
        """
        noisy = (self.peak > 0) | (self.start > 0)
        with np.errstate(divide="ignore"):
            logs = np.where(
                noisy, 2 * (np.log(self.peak) - np.log(np.where(noisy, self.start, 1.0))), 0.0
            )
        terms = [
            np.where(noisy, self.count, 0.0),
            np.where(noisy, self.count * _over(self.peak**2, self.start**2), 0.0),
            _over(self.square, self.start**2),
            np.where(noisy, self.count * logs, 0.0),
        ]
        return np.array(
            [[one[self.layer == layer].sum() for one in terms] for layer in np.unique(self.layer)]
        )


def divergence(moved: Displacement, strength: float, prior: ArrayLike) -> float:
    """KL(Q||P) in nats. Q = N(w, strength^2 m_f(w)^2) is the noise around the trained weights w,
    and P = N(w0, prior^2 m_f(w0)^2) that around the weights w0 before training, for each filter f
    with m_f = max|W_f|.

    It is the sum over filters of

        k_f/2 (r - 1 - ln r) + ||w_f - w0_f||^2 / (2 prior^2 m_f(w0)^2),

    with r = (strength m_f(w) / (prior m_f(w0)))^2. `prior` is one number, or one for each layer.
    The result is infinite at strength 0, and if anything without noise moved.

    >>> one = Displacement(*(np.array([x]) for x in (0, 9, 2.0, 1.0, 3.0)))
    >>> round(divergence(one, 0.1, 0.1), 4)  # 9/2 (4 - 1 - ln 4) + 3 / (2 * 0.01)
    157.2617
    """
    if moved.elsewhere or not strength > 0 or not np.isfinite(moved.sums).all():
        return np.inf
    variance = np.asarray(prior, dtype=np.float64) ** 2
    return float(_layers(moved.sums, strength**2, variance).sum())


def paid_divergence(
    moved: Displacement, strength: float, groups: str = "either"
) -> tuple[float, NDArray[np.float64]]:
    """The smallest divergence over a grid of prior scales, plus the price of searching the grid;
    and the scales that were chosen, one for each layer or a single one.

    The grid is prior^2 = strength^2 exp(i / 100), i = 0, 1, -1, 2, -2, ... Its centre must be fixed
    before the data are seen, as each strength of a fixed sweep is. The j-th scale has the weight 6
    / (pi^2 j^2), so that all weights sum to 1, and costs ln(pi^2 j^2 / 6) nats. `groups` "layer"
    pays this price once for each layer; "all" pays once for a scale that all layers share; "either"
    takes the cheaper of the two, for ln 2 more. A scale for each filter would cost more than it
    gains. Raises `UserError` for other `groups`.
    """
    if groups not in ("layer", "all", "either"):
        raise UserError(f"groups={groups!r}: 'layer', 'all' or 'either' is needed.")
    if groups == "either":
        total, scales = min(
            (paid_divergence(moved, strength, one) for one in ("layer", "all")),
            key=lambda one: one[0],
        )
        return total + float(np.log(2)), scales
    sums = moved.sums if groups == "layer" else moved.sums.sum(0, keepdims=True)
    if moved.elsewhere or not strength > 0 or not np.isfinite(sums).all():
        return np.inf, np.full(len(sums), np.nan)
    total, chosen = 0.0, []
    for one in sums:
        if one[0] == 0:  # no filter of the layer has noise, and none moved
            chosen.append(strength)
            continue
        # The divergence is convex in the exponent and least at `least`. The price grows away from
        # 0. So the best step lies between 0 and `least`.
        least = PER_FOLD * np.log((one[1] + one[2] / strength**2) / one[0])
        steps = np.arange(min(0, np.floor(least)), max(0, np.ceil(least)) + 1)
        variance = strength**2 * np.exp(steps / PER_FOLD)
        place = np.where(steps > 0, 2 * steps, 1 - 2 * steps)  # j: steps 0, 1, -1 are 1, 2, 3
        costs = _layers(one, strength**2, variance) + np.log(np.pi**2 * place**2 / 6)
        total += float(costs.min())
        chosen.append(float(np.sqrt(variance[costs.argmin()])))
    return total, np.array(chosen)


def _layers(
    sums: NDArray[np.float64], posterior: float, prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The divergence of each layer from its `sums`, with the variances of noise and prior for
    max|W_f| = 1.
    """
    n, a, b, c = np.moveaxis(sums, -1, 0)
    ratio = posterior / prior
    return np.asarray((a * ratio - n - c - n * np.log(ratio) + b / prior) / 2)


def _over(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """one / other, where 0/0 is 0 and x/0 is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(one == 0, 0.0, one / other)
