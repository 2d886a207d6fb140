"""What a corruption does to weights, in terms of the weights: bias, spread, and the strength of the
plain Gaussian noise that is as strong.

`equivalent` turns the strength of any corruption into a strength of `gaussian-filter-max`, so that
devices and models can be compared. `translate` adds a table of mean and standard deviation over
the size of the weights, which `incorruptible device` prints.

Relies on: a corruption's `moments` are those of its error on the given weights.
Keeps: nothing is drawn at random, and the arrays are only read. Filters of zeros count in no mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from ..errors import UserError
from ..schedules import checked
from ..weights.arrays import Array
from .gaussian import scale_of
from .protocol import Corruption, checked_strengths, traits

# ---- The Gaussian strength that is as strong as a corruption on the weights of one model


class Equivalent(NamedTuple):
    """The equivalent strength over all arrays together, and for each array by its name."""

    strength: float
    arrays: dict[str, float]


def equivalent(
    corruption: Corruption, strength: float, arrays: Sequence[Array], scale: str = "filter-max"
) -> Equivalent:
    """The strength of `gaussian-<scale>` whose error has the same size, computed from the weights
    themselves.

    The equivalent strength s_eq is the root mean square of the error in units of the scale, over
    the weights of filters that are not all zero: s_eq^2 = mean_i (E[e_i]^2 + Var[e_i]) / m_i^2,
    with the error e_i of a weight and its scale m_i. An equivalent filter-max strength can
    therefore be compared between models. The conversion keeps the size of an error, not its shape: an error that
    is biased, or in proportion to the weight, may do more or less harm than Gaussian noise of that
    size. Raises `UserError` for an unknown scale.

    >>> import torch
    >>> from .gaussian import Gaussian
    >>> wide = Array("w", torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    >>> found = equivalent(Gaussian("filter-norm"), 0.1, [wide])  # norms 5 and 2, maxima 4 and 2
    >>> round(found.strength, 4)
    0.1132
    """
    total, count, each = 0.0, 0, {}
    for array in arrays:
        scales = scale_of(scale)(array).double()
        error = corruption.moments(array, strength)
        ratios = ((error.mean.double() ** 2 + error.std.double() ** 2) / scales**2).expand_as(
            array.value
        )
        live = scales > 0
        # Indexing by a mask takes long, and is not needed where all filters are live.
        ratios = ratios.flatten() if bool(live.all()) else ratios[live.expand_as(ratios)]
        ratio, n = float(ratios.sum()), ratios.numel()
        each[array.name] = math.sqrt(ratio / n) if n else 0.0
        total, count = total + ratio, count + n
    return Equivalent(math.sqrt(total / count) if count else 0.0, each)


# ---- The error over the size of the weights, as a table

PLACES = 11  # rows of the table, from -1 to 1


@dataclass(frozen=True)
class TranslationRow:
    """The error of the weights near `x` = w / max|W|: its mean and standard deviation in units of
    max|W|, and the share of these weights among all.

    Mean and standard deviation are nan where there is no such weight. The share is None where there
    is no model.
    """

    x: float
    mean: float
    std: float
    share: float | None


@dataclass(frozen=True)
class LayerEquivalent:
    """One array: how many weights it has, the strength of gaussian-filter-max that is as strong,
    and the share of bias in the square of that strength.
    """

    name: str
    weights: int
    strength: float
    bias: float


@dataclass(frozen=True)
class Translation:
    """A corruption at one strength, in terms of the weights of one model or without a model.

    `rows` is the table that is printed, `fine` the same at four times as many places, for figures.
    `whole` sums up all `layers`, and is None without a model.
    """

    corruption: str
    strength: float
    unit: str
    formula: str
    source: str
    conditions: str
    rows: tuple[TranslationRow, ...]
    fine: tuple[TranslationRow, ...]
    whole: LayerEquivalent | None
    layers: tuple[LayerEquivalent, ...]

    def plain(self) -> dict[str, Any]:
        """Nested dictionaries, lists, texts and numbers."""
        return asdict(self)

    def __str__(self) -> str:
        of = (
            f"{self.whole.weights} weights in {len(self.layers)} arrays"
            if self.whole
            else "alone, no model"
        )
        lines = [f"{self.corruption} at {self.strength:g} [{self.unit}]; {of}"]
        lines += [self.conditions] if self.conditions else []
        lines += [f"source: {self.source}", ""]
        lines.append(
            f"{'w/max|W|':>9}  {'error: mean':>11} {'std':>9}" + ("  weights" if self.whole else "")
        )
        for row in self.rows:
            mean, std = (
                ("-", "-") if math.isnan(row.mean) else (_short(row.mean, "+"), _short(row.std))
            )
            share = "" if row.share is None else f"  {row.share:>7.1%}"
            lines.append(f"{row.x + 0.0:>9.1f}  {mean:>11} {std:>9}{share}")
        lines.append(
            "errors over max|W| of the layer"
            + ("; weights binned to the nearest row" if self.whole else "")
        )
        if self.whole is not None:
            lines += ["", *_table(self.whole, self.layers)]
        return "\n".join(lines)

    __repr__ = __str__


def _short(size: float, sign: str = "") -> str:
    """Four places after the point, or four digits where errors are large: a flipped bit in an
    exponent makes errors of 1e36.
    """
    return f"{size:{sign}.4f}" if abs(size) < 100 else f"{size:{sign}.4g}"


_BIAS = "bias, share of its square"  # the head of a column


def _table(whole: LayerEquivalent, layers: Sequence[LayerEquivalent]) -> list[str]:
    width = max(len(layer.name) for layer in (whole, *layers))
    lines = [f"{'as strong as':<{width}}  gaussian-filter-max  {_BIAS}  weights"]
    for layer in (*layers, whole):
        lines.append(
            f"{layer.name:<{width}}  {_short(layer.strength):>19}  {layer.bias:>{len(_BIAS)}.1%}  "
            f"{layer.weights:>7}"
        )
    return lines


def translate(
    corruption: Corruption,
    strength: float,
    arrays: Sequence[Array] | None = None,
    *,
    places: int = PLACES,
) -> Translation:
    """Mean and standard deviation of the error of `corruption` at `strength` against w / max|W|,
    from the corruption's moments.

    With the `arrays` of a model, the weights are the model's own, in `places` bins from -1 to 1,
    and each array also gets its equivalent strength of gaussian-filter-max (`equivalent`). In the
    square of that strength, the share of bias is sum_i m_i^2 / sum_i (m_i^2 + v_i), with the mean
    m_i and the variance v_i of the error of each weight in units of max|W_f|. Bias is the same on
    every chip, so noise in training does not prepare for it. Without arrays, the weights are those
    of one filter, `places` of them evenly from -1 to 1. A drift compensation depends on the
    weights, so it comes out differently for a model.

    Raises `UserError` for a strength that the corruption does not have, and for a model without
    weights.
    """
    strength = checked_strengths(checked(strength), corruption)[0]
    conditions = traits(corruption).conditions
    said = (
        str(corruption),
        strength,
        corruption.unit,
        corruption.formula,
        corruption.source,
        conditions,
    )
    fine = 4 * (places - 1) + 1
    if arrays is None:
        return Translation(
            *said,
            _alone(corruption, strength, places),
            _alone(corruption, strength, fine),
            None,
            (),
        )
    arrays = [array for array in arrays if array.value.numel()]
    if not arrays:
        raise UserError("the model has no weight to perturb; name some with --also.")
    strengths = equivalent(corruption, strength, arrays)
    points, sums, layers = [], [], []
    for array in arrays:
        found = corruption.moments(array, strength)
        w, mean, std = (
            part.double().expand_as(array.value).cpu() for part in (array.value, *found)
        )
        peak, top = array.peak().double().expand_as(array.value).cpu(), w.abs().amax()
        live = peak > 0
        bias, noise = (float((part[live] / peak[live]).square().sum()) for part in (mean, std))
        layers.append(
            LayerEquivalent(
                array.name, w.numel(), strengths.arrays[array.name], _share(bias, noise)
            )
        )
        sums.append((bias, noise))
        if top > 0:
            points.append(torch.stack([w / top, mean / top, std / top]).flatten(1))
    bias, noise = (sum(each) for each in zip(*sums, strict=True))
    count = sum(layer.weights for layer in layers)
    whole = LayerEquivalent("all of it", count, strengths.strength, _share(bias, noise))
    every = torch.cat(points, dim=1) if points else torch.zeros(3, 0, dtype=torch.float64)
    return Translation(*said, _binned(every, places), _binned(every, fine), whole, tuple(layers))


def _share(bias: float, noise: float) -> float:
    return bias / (bias + noise) if bias + noise > 0 else 0.0


def _alone(corruption: Corruption, strength: float, places: int) -> tuple[TranslationRow, ...]:
    probe = Array("probe", torch.linspace(-1, 1, places, dtype=torch.float64)[None])
    found = corruption.moments(probe, strength)
    mean, std = (part.expand_as(probe.value)[0].tolist() for part in found)
    return tuple(
        TranslationRow(round(x, 6), m, s, None)
        for x, m, s in zip(probe.value[0].tolist(), mean, std, strict=True)
    )


def _binned(points: torch.Tensor, places: int) -> tuple[TranslationRow, ...]:
    """Mean and total standard deviation of the errors of the weights nearest to each of `places`.
    `points` [3, n] holds x, and the mean and standard deviation of the error, of each weight.
    """
    x, mean, std_ = points
    bin_ = ((x + 1) / 2 * (places - 1)).round().long().clamp(0, places - 1)

    def sums(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(places, dtype=torch.float64).index_add(0, bin_, values)

    count = sums(torch.ones_like(x))
    first = sums(mean) / count
    std = (sums(std_**2 + mean**2) / count - first**2).clamp_min(0).sqrt()
    share = (count / max(1, len(x))).tolist()
    at = torch.linspace(-1, 1, places, dtype=torch.float64).tolist()
    each = zip(at, first.tolist(), std.tolist(), share, strict=True)
    return tuple(TranslationRow(round(a, 6), m, s, part) for a, m, s, part in each)
