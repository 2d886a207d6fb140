"""What PAC-Bayes says of a study's arms: bounds on noisy risk, predicted training strengths, and
the best training strengths that were measured.

Relies on: of an arm's training examples, the first `Arm.seen` have influenced the starting weights,
and only the others count in a bound; all arms of a study have the same test examples in the same
order. Keeps: nothing here draws random numbers, so equal arms give equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pacbayes import (
    complexity,
    curvature,
    kl_inverse,
    monte_carlo,
    paid_divergence,
    preferred_strength,
)
from ..statistics import Difference, Interval
from .evidence import Arm, Lacking

# How often the bound may fail, and how often the estimate of the mean over chips in it.
DELTA, DELTA_DRAWS = 0.025, 0.01
GROUPS = 20  # of test images, for the jackknife
EXPONENT = -0.25  # of the best training strength in the number of training examples


def sizes(arms: Sequence[Arm]) -> dict[int, list[Arm]]:
    """The arms of constant strength by the number of their training examples, weakest first.

    Raises `Lacking` where the study did not measure what bounds need, and for a score that is not a
    fraction of right answers.
    """
    able = [arm for arm in arms if arm.displacement and arm.train_score is not None]
    able = [arm for arm in able if arm.role == "candidate" and arm.schedule == "constant"]
    if not able:
        raise Lacking("the study does not ask for bounds: [test] bounds = true")
    if any(arm.unit != "points" or arm.sign != 1 for arm in able):
        raise Lacking("bounds are for scores between 0 and 1, such as accuracy")
    found: dict[int, list[Arm]] = {}
    for arm in sorted(able, key=lambda arm: arm.peak):
        assert arm.train_score is not None
        found.setdefault(arm.train_score.shape[2], []).append(arm)
    return dict(sorted(found.items()))


class RiskBounds(NamedTuple):
    """The bounds of one arm, for S seeds and K strengths.

    `risk` [S, K] is the noisy error rate on the `n` training examples that have not influenced the
    starting weights, `divergence` [S, K] the paid divergence in nats, and `limit` [S, K] the upper
    bound of the noisy risk at each strength.
    """

    risk: NDArray[np.float64]
    divergence: NDArray[np.float64]
    limit: NDArray[np.float64]
    n: int


def bounds(arm: Arm) -> RiskBounds:
    """PAC-Bayes-kl bounds for each network of the arm under noise of each strength, with the
    Monte-Carlo correction.

    Each network's limits hold for all strengths at once with probability 1 - DELTA - DELTA_DRAWS,
    because both are divided by the number of strengths above 0. At strength 0 there is no bound,
    and the limit is 1.
    """
    assert arm.train_score is not None
    held = arm.train_score[:, :, arm.seen :]
    n, draws = held.shape[2], arm.chips.shape[2]
    risk = 1.0 - held.mean(2)
    nats = np.array(
        [[paid_divergence(one, s)[0] for s in arm.strengths] for one in arm.displacement]
    )
    count = max(1, sum(s > 0 for s in arm.strengths))
    seen = monte_carlo(np.clip(risk, 0.0, 1.0), draws, DELTA_DRAWS / count)
    return RiskBounds(risk, nats, kl_inverse(seen, complexity(nats, n, DELTA / count)), n)


def preferred(arm: Arm, span: tuple[float, float]) -> NDArray[np.float64]:
    """The strength sigma* = (A/(nT))^(1/4) [S] that a linear form of the bound prefers.

    A is the squared distance from the start, and T the trace of the curvature of the bounded loss
    on the n counted training examples, taken between the two strengths of `span`. A network whose
    loss does not grow between them gets nan.
    """
    assert arm.train_bounded is not None
    held = arm.train_bounded[:, :, arm.seen :].mean(2)
    trace = curvature(held[:, arm.index(span[0])], held[:, arm.index(span[1])], span)
    distance = np.array([one.distance() for one in arm.displacement])
    return preferred_strength(distance, arm.train_bounded.shape[2] - arm.seen, trace)


def best_strength(
    scores: Sequence[float] | NDArray[np.float64], strengths: Sequence[float]
) -> float:
    """The strength at which the score is best, within the strengths given.

    A parabola in the logarithm of the strength is fitted by least squares to the best place and up
    to two neighbours on each side; its top is the answer. Where the points bend upwards, or there
    are fewer than three, the answer is the best place itself.
    """
    values, logs = np.asarray(scores, dtype=float), np.log(strengths)
    top = int(values.argmax())
    near = slice(max(0, top - 2), top + 3)
    if len(logs[near]) < 3:
        return float(strengths[top])
    square, slope, _ = np.polyfit(logs[near] - logs[top], values[near], 2)
    if not square < 0:
        return float(strengths[top])
    place = np.clip(logs[top] - slope / (2 * square), logs[near][0], logs[near][-1])
    return float(np.exp(place))


@dataclass(frozen=True, eq=False)
class Optima:
    """The best training strengths of Z groups of arms at one test strength, on the test images.

    `logs` [Z] are their logarithms. The replicates of the jackknife are `seeds` [S, Z], the same
    without each seed, and `images` [G, Z], the same without each of G groups of images. `edged`
    says that one of all these is the weakest or the strongest arm. Then the true optimum may lie
    beyond, and neither estimate nor interval knows how far.
    """

    logs: NDArray[np.float64]
    seeds: NDArray[np.float64]
    images: NDArray[np.float64]
    edged: bool = False

    @classmethod
    def of(cls, groups: Sequence[Sequence[Arm]], strength: float) -> Optima:
        """The optima over the arms of a strength above 0.

        Raises `Lacking` for a group with fewer than 3 such arms.
        """
        columns = [
            _replicates([arm for arm in group if arm.peak > 0], strength) for group in groups
        ]
        whole, seeds, images = (np.log(np.array(part)).T for part in zip(*columns, strict=True))
        edged = False
        for column, group in enumerate(groups):
            peaks = [math.log(arm.peak) for arm in group if arm.peak > 0]
            every = np.concatenate([part[..., column].ravel() for part in (whole, seeds, images)])
            edged |= bool(
                np.isclose(every, min(peaks)).any() or np.isclose(every, max(peaks)).any()
            )
        return cls(whole, seeds, images, edged)

    def combined(
        self, weights: Sequence[float] | NDArray[np.float64], less: float = 0.0
    ) -> Difference:
        """The number weights . logs - less, with an interval for new seeds and new images.

        The variance is the sum of the variances of two jackknives, over seeds and over groups of
        images. The sum counts the interaction of seeds and images twice, so the interval is rather
        too wide. It is Student's, with seeds - 1 degrees of freedom.
        """
        from scipy import special

        w = np.asarray(weights, dtype=float)
        estimate = float(self.logs @ w) - less
        error = math.sqrt(sum(_jackknife(part @ w) for part in (self.seeds, self.images)))
        freedom = len(self.seeds) - 1
        half = float(special.stdtrit(freedom, 0.975)) * error
        # Without any variance in the replicates, nothing can be said against chance.
        p = 2 * float(special.stdtr(freedom, -abs(estimate) / error)) if error else 1.0
        return Difference(
            Interval(estimate - half, estimate, estimate + half),
            p,
            math.nan,
            error,
            freedom,
            (len(self.seeds), GROUPS),
        )

    def intervals(self) -> list[Interval]:
        """Each best strength with its interval."""
        found = [self.combined(row).interval for row in np.eye(len(self.logs))]
        return [Interval(*(math.exp(side) for side in one)) for one in found]


def _replicates(arms: Sequence[Arm], strength: float) -> tuple[float, list[float], list[float]]:
    if len(arms) < 3:
        raise Lacking(
            "at least 3 training strengths above 0 are needed for each number of training examples"
        )
    peaks = [arm.peak for arm in arms]
    values = np.array([arm.sign * arm.test[:, arm.index(strength)] for arm in arms])  # [arms, S, n]
    _, s, n = values.shape
    by_seed, by_image = values.mean(2), values.mean(1)
    seeds = [best_strength(np.delete(by_seed, k, 1).mean(1), peaks) for k in range(s)]
    groups = np.arange(n) % min(GROUPS, n)
    images = [
        best_strength(by_image[:, groups != g].mean(1), peaks) for g in range(groups.max() + 1)
    ]
    return best_strength(values.mean((1, 2)), peaks), seeds, images


def _jackknife(values: NDArray[np.float64]) -> float:
    return float((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum())


def kappa(best: Mapping[float, float], sigma: float) -> float:
    """The kappa for which max(test strength, kappa sigma) comes closest to the best strengths.

    `best` maps test strengths to best training strengths. Distances are squares of differences of
    logarithms; the candidates are 2,000 values from .01 to 100, and of equally good ones the
    smallest is taken. The answer is nan for a sigma that is not above 0.
    """
    if not sigma > 0:
        return math.nan
    tests, wanted = np.array(list(best)), np.log(list(best.values()))
    candidates = np.geomspace(0.01, 100, 2000)
    errors = [
        float(((np.log(np.maximum(tests, k * sigma)) - wanted) ** 2).sum()) for k in candidates
    ]
    return float(candidates[int(np.argmin(errors))])


class Prediction(NamedTuple):
    """What the theory names as the best training strength.

    `sigma` is sigma* by the number of training examples, `strength` the training strength
    max(test strength, kappa sigma*) by (number of training examples, test strength).
    """

    sigma: dict[int, float]
    kappa: float
    strength: dict[tuple[int, float], float]


def predict(
    arms: Sequence[Arm], tests: Sequence[float], fitted: int, span: Sequence[float]
) -> Prediction:
    """Predict the best training strength for each number of training examples and test strength.

    sigma* of each number of training examples is the geometric mean of `preferred` over the seeds
    of the arm of strength 0. kappa is fitted to validation's best training strengths at `fitted`
    training examples. Raises `Lacking` where an arm is not finished that this needs.
    """
    groups, low_high = sizes(arms), (span[0], span[1])
    if fitted not in groups:
        raise Lacking(
            f"no arms of {fitted} training examples are finished; there are {list(groups)}"
        )
    sigma = {}
    for size, group in groups.items():
        if lacking := [s for s in span if s not in group[0].strengths]:
            raise Lacking(f"the span's {lacking[0]:g} is not among the test strengths")
        if group[0].peak > 0:
            raise Lacking(f"no arm of strength 0 with {size} training examples is finished")
        each = preferred(group[0], low_high)
        sigma[size] = float(np.exp(np.log(each).mean())) if np.isfinite(each).all() else np.nan
    noisy = [arm for arm in groups[fitted] if arm.peak > 0]
    if len(noisy) < 3:
        raise Lacking("at least 3 training strengths above 0 are needed to fit kappa")
    peaks = [arm.peak for arm in noisy]
    chosen = {
        s: best_strength([arm.validation[:, arm.index(s)].mean() for arm in noisy], peaks)
        for s in tests
    }
    fit = kappa(chosen, sigma[fitted])
    if not np.isfinite(fit):
        raise Lacking(
            f"the loss of some network with {fitted} training examples does not curve upwards: no "
            "kappa"
        )
    strengths = {(n, s): float(np.maximum(s, fit * sigma[n])) for n in groups for s in tests}
    return Prediction(sigma, fit, strengths)
