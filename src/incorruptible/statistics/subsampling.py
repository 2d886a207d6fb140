"""How many images each chip should look at, chosen from what a first look says about variances."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .stopping import needed
from .variance import Components, mean_squares

__all__ = [
    "CHIPS",
    "Costs",
    "SubsampleDesign",
    "SubsamplePlan",
    "choose",
    "plan",
    "variance_of",
    "worth_another",
]

CHIPS = 8  # of the first look
FEWEST, FEWEST_WHOLE = 16, 5  # chips of a main stage
RESOLVED = (
    3.0  # mean square between chips over the rest: then the chips' component is known well enough
)
SURE = 0.01  # the chance that the chips' mean square is below what is taken for its lower limit
CLIMB = 0.05  # of what the best design is going to cost
# A share of the cost of a whole chip. If the first look costs this much, evaluate whole chips instead.
WHOLE = 0.2


class Costs(NamedTuple):
    """What a chip costs that looks at m images: chip + m image, in any one unit; a clean pass costs
    `image` an image.
    """

    chip: float
    image: float


class SubsampleDesign(NamedTuple):
    """Each chip looks at `images` of all; `chips` of them are expected to do, at this cost from
    here on.
    """

    images: int
    beta: float
    chips: float
    cost: float


class SubsamplePlan(NamedTuple):
    """The design that was chosen, among which, and what it was chosen by: `seen` images on `chips`
    chips.

    `ratio` is the chips' mean square over that of the rest.
    """

    design: SubsampleDesign
    designs: tuple[SubsampleDesign, ...]
    components: Components
    seen: int
    ratio: float
    chips: int = CHIPS


def variance_of(parts: Components, images: int, total: int) -> float:
    """Variance of one chip's mean over `images` of `total` examples drawn without replacement, the
    chip being random, too.

    v_chip + v_interaction / n + (v_interaction + v_example) (1 / m - 1 / n); at m = n that of a
    whole chip.
    """
    within = max(0.0, parts.interaction + parts.example)
    return max(0.0, parts.chip) + parts.interaction / total + within * (1 / images - 1 / total)


def plan(
    read: Callable[[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]],
    total: int,
    costs: Costs,
    half: float,
    confidence: float = 0.95,
    span: float = 1.0,
    images: int | None = None,
) -> SubsamplePlan:
    """Look at a few images on CHIPS chips, at four times as many while that is worth it, and choose
    the cheapest design.

    `read(start, stop)` gives the scores [chip, image] of those images of one random order and the
    clean ones [image]; `span` is how far apart two scores can lie; `images` leaves no other choice
    than that many.

    The look starts at 64 images, or as many as cost what making the chip does, or at all of them
    where it would cost a fifth of a whole chip. It climbs while the chips' mean square is below 3
    times that of the rest and the climb costs less than 5% of what the best design would now cost.
    A design of m images takes z^2 V(m) / half^2 chips, each with its making, and one clean pass
    over all images unless beta is 0. It stands to choose only where it would not cost more than
    whole chips do with the chips' component at its lower limit: 8 chips know it badly, and few
    images gain little where it is small.
    """
    seen = _start(total, costs)
    scores, clean = read(0, seen)
    while True:
        found = choose(scores, clean, total, costs, half, confidence, span)
        wider = min(total, 4 * seen)
        climb = CHIPS * (costs.chip + (wider - seen) * costs.image) + (wider - seen) * costs.image
        if seen == total or found.ratio >= RESOLVED or climb > CLIMB * found.design.cost:
            return (
                found
                if images is None
                else choose(scores, clean, total, costs, half, confidence, span, images)
            )
        more, more_clean = read(seen, wider)
        scores, clean = np.concatenate([scores, more], axis=1), np.concatenate([clean, more_clean])
        seen = wider


def choose(
    scores: NDArray[np.float64],
    clean: NDArray[np.float64],
    total: int,
    costs: Costs,
    half: float,
    confidence: float = 0.95,
    span: float = 1.0,
    images: int | None = None,
) -> SubsamplePlan:
    """The cheapest design by the scores [chip, image] of some chips on some images and the clean
    scores there [image].
    """
    choices = [
        choice
        for beta in _betas(scores, clean)
        for choice in _choices(
            scores - beta * clean, beta, total, costs, half, confidence, span, images
        )
    ]
    safe = [choice for choice in choices if choice.safe]
    best = min(safe or choices, key=lambda choice: choice.design.cost)
    designs = tuple(choice.design for choice in choices)
    return SubsamplePlan(best.design, designs, best.components, len(clean), best.ratio, len(scores))


def worth_another(found: SubsamplePlan, total: int, costs: Costs) -> bool:
    """Whether a clean pass, for choosing again by whole chips, costs less than 5% of what they are
    still going to cost.
    """
    return total * costs.image <= CLIMB * found.design.cost


def _start(total: int, costs: Costs) -> int:
    seen = 64
    while seen < total and 4 * seen * costs.image <= costs.chip:
        seen *= 4
    return (
        total
        if costs.chip + seen * costs.image >= WHOLE * (costs.chip + total * costs.image)
        else seen
    )


class _Choice(NamedTuple):
    design: SubsampleDesign
    components: Components
    ratio: float  # mean square between chips over the rest
    safe: (
        bool  # not dearer than whole chips even where the chips' component is as small as it may be
    )


def _choices(
    values: NDArray[np.float64],
    beta: float,
    total: int,
    costs: Costs,
    half: float,
    confidence: float,
    span: float,
    images: int | None,
) -> list[_Choice]:
    """Every design with its predicted cost."""
    from scipy import special

    rows, seen = values.shape
    least_of = (rows - 1) / float(special.chdtri(rows - 1, SURE))
    chip, example, rest = mean_squares(values)
    parts, least = (
        Components(max(0.0, one - rest) / seen, (example - rest) / rows, rest)
        for one in (chip, chip * least_of)
    )
    ratio = chip / rest if rest else np.inf
    clean = (total - seen) * costs.image if beta else 0.0

    def design(images: int, parts: Components) -> SubsampleDesign:
        chips = needed(variance_of(parts, images, total), half, confidence)
        if images == total:
            chips = max(FEWEST_WHOLE, chips)
            there = rows if seen == total else 0
            return SubsampleDesign(
                total, 0.0, chips, max(0.0, chips - there) * (costs.chip + total * costs.image)
            )
        chips = max(FEWEST, chips)
        return SubsampleDesign(
            images, beta, chips, clean + chips * (costs.chip + images * costs.image)
        )

    within = max(0.0, parts.interaction + parts.example)
    limit = design(total, least).cost
    each = [images] if images is not None else [2**k for k in range(3, 63) if 2**k < total]
    found = []
    for m in each:
        # Where less than one answer of a subset differs, most values are 0, and Student's interval
        # does not cover.
        dense = m * within >= span**2
        found.append(
            _Choice(
                design(m, parts),
                parts,
                ratio,
                dense and (design(m, least).cost <= limit or m == images),
            )
        )
    return (
        found if images is not None else [*found, _Choice(design(total, parts), parts, ratio, True)]
    )


def _betas(scores: NDArray[np.float64], clean: NDArray[np.float64]) -> list[float]:
    """How much of the clean score to take off: nothing, all of it, or what fits where that leaves
    5% less variance.
    """
    centred = clean - clean.mean()
    square = float(centred @ centred)
    if square == 0:
        return [0.0]
    fitted = float((scores @ centred).mean()) / square
    left = [float((scores - beta * clean).var(axis=1).mean()) for beta in (1.0, fitted)]
    return [0.0, fitted if left[1] < 0.95 * left[0] else 1.0]
