"""How many images each chip should answer, chosen from a first look at the variances.

The mean over all chips and all images of a test set can be measured on whole chips, or on more
chips that answer a random subset of the images each. More chips average out what differs between
chips; subsets add the luck of the images. Which is cheaper depends on the variances, on what it
costs to make a chip, and on what an image costs. `plan` takes a first look at a few chips and
images and chooses.

`beta` times the clean score of an image may be subtracted from a chip's score, because the
difference varies less between images; the mean clean score over all images, times `beta`, is added
again (a control variate). This takes one clean pass over all images, and beta = 0 does without it.
docs/how-to/mean-over-chips.md has the mathematics.

Keeps: among all sizes of a subset, one is chosen only if it is not expected to cost more than whole
chips, even if chips differ as little as the first look allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .stopping import needed
from .variance import Components, mean_squares

CHIPS = 8  # in the first look
FEWEST, FEWEST_WHOLE = 16, 5  # chips after it, of subsets and of whole chips
# If the mean square between chips is this many times that of the rest, the chips' component of the
# variance is known well enough.
RESOLVED = 3.0
# The chance that the expectation of the chips' mean square lies below the lower limit that is used.
SURE = 0.01
# A wider look, or a clean pass, may cost this share of what the best design is going to cost.
CLIMB = 0.05
# A share of the cost of a whole chip. If the first look costs this much for each chip, look at
# whole chips instead.
WHOLE = 0.2


class Costs(NamedTuple):
    """What a chip costs that answers m images: `chip` + m `image`, in any unit of time or money. A
    clean pass costs `image` for each image.
    """

    chip: float
    image: float


class SubsampleDesign(NamedTuple):
    """Each chip answers `images` of all images. `chips` chips are expected to be enough, at `cost`
    from here on.
    """

    images: int
    beta: float
    chips: float
    cost: float


class SubsamplePlan(NamedTuple):
    """The design that was chosen, all designs that it was chosen from, and what the choice rests
    on: the variance components from `seen` images on `chips` chips.

    `ratio` is the mean square between chips divided by that of the rest.
    """

    design: SubsampleDesign
    designs: tuple[SubsampleDesign, ...]
    components: Components
    seen: int
    ratio: float
    chips: int = CHIPS


def variance_of(parts: Components, images: int, total: int) -> float:
    """The variance of one chip's mean over `images` examples of `total`, drawn without replacement,
    where the chip is random too.

    With m = images and n = total: v_chip + v_interaction / n + (v_interaction + v_example) (1 / m -
    1 / n). At m = n this is the variance of a whole chip. By hand, below: 1 + 4 / 100 + 6 (1 / 10 -
    1 / 100) = 1.58.

    >>> round(variance_of(Components(1.0, 2.0, 4.0), images=10, total=100), 6)
    1.58
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
    """Look at a few images on `CHIPS` chips, at four times as many for as long as that is
    worthwhile, and choose the cheapest design.

    `read(start, stop)` gives the scores [chip, image] of images start to stop - 1 in one random
    order, and the clean scores [image] of the same images. `half` is the half-width that is wanted,
    `span` how far apart two scores can lie. If `images` is given, it is the only size of a subset.

    The first look is at 64 images, or at as many as cost what making the chip costs if that is
    more. If it would cost a fifth of a whole chip, it is at all images. It widens while the mean
    square between chips is below 3 times that of the rest and the wider look costs less than 5% of
    what the best design would now cost.

    A design of m images takes z^2 V(m) / half^2 chips, where V is `variance_of`. Its cost is that
    of these chips, and of one clean pass over all images unless beta is 0. A design may be chosen
    only if it would not cost more than whole chips even with the chips' component of the variance
    at its lower limit. The reason: 8 chips know this component badly, and where it is small, few
    images gain little.
    """
    seen = _start(total, costs)
    scores, clean = read(0, seen)
    while True:
        found = choose(scores, clean, total, costs, half, confidence, span)
        wider = min(total, 4 * seen)
        # Each chip is made again and answers the new images, which need clean scores too.
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
    """The cheapest design, from the scores [chip, image] of some chips on some images and the clean
    scores [image] of the same images. The other arguments are those of `plan`.
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
    """Whether a clean pass, after which the design could be chosen again, costs at most 5% of what
    the design `found` is still going to cost.
    """
    return total * costs.image <= CLIMB * found.design.cost


def _start(total: int, costs: Costs) -> int:
    """The number of images of the first look (see `plan`)."""
    seen = 64  # and then times 4, as `plan` widens its look
    while seen < total and 4 * seen * costs.image <= costs.chip:
        seen *= 4
    return (
        total
        if costs.chip + seen * costs.image >= WHOLE * (costs.chip + total * costs.image)
        else seen
    )


class _Choice(NamedTuple):
    """A design, the components and the ratio that it was computed from, and whether it is `safe`:
    not more expensive than whole chips, even if chips differ as little as the first look allows.
    """

    design: SubsampleDesign
    components: Components
    ratio: float
    safe: bool


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
    """Every design with its predicted cost, from `values` [chip, image], the scores minus `beta`
    times the clean scores.
    """
    from scipy import special

    rows, seen = values.shape
    # A mean square times its degrees of freedom over its expectation follows chi-squared. This
    # factor makes the chips' mean square a lower limit of its expectation with chance 1 - SURE.
    least_of = (rows - 1) / float(special.chdtri(rows - 1, SURE))
    chip, example, rest = mean_squares(values)
    parts, least = (
        Components(max(0.0, one - rest) / seen, (example - rest) / rows, rest)
        for one in (chip, chip * least_of)
    )
    ratio = chip / rest if rest else np.inf
    clean = (total - seen) * costs.image if beta else 0.0  # the first look has `seen` of them

    def design(images: int, parts: Components) -> SubsampleDesign:
        chips = needed(variance_of(parts, images, total), half, confidence)
        if images == total:
            chips = max(FEWEST_WHOLE, chips)
            # Chips of the first look that answered all images are whole chips already.
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
        # If less than one answer of a subset differs, most values are 0, and Student's interval
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
    """The candidates for beta: 0, and the better of 1 and the least-squares slope. The slope is
    taken only if it leaves 5% less variance between images than 1 does, and only 0 is left if all
    clean scores are equal.
    """
    centred = clean - clean.mean()
    square = float(centred @ centred)
    if square == 0:
        return [0.0]
    fitted = float((scores @ centred).mean()) / square
    left = [float((scores - beta * clean).var(axis=1).mean()) for beta in (1.0, fitted)]
    return [0.0, fitted if left[1] < 0.95 * left[0] else 1.0]
