"""The charts that compare PAC-Bayes bounds and predictions with what was measured.

Relies on: `studies.theory` computes every bound and prediction; arms of one number of training
examples differ in their training strength alone.
Keeps: every caption states the assumptions of its bound; a study that does not measure what a chart
needs has the charts before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..plots import Chart, Line, Lines
from ..statistics import Interval, crossed, crossed_sum
from ..studies.evidence import Arm, Lacking
from ..studies.folder import Folder
from ..studies.theory import (
    DELTA,
    DELTA_DRAWS,
    EXPONENT,
    Optima,
    Prediction,
    RiskBounds,
    bounds,
    predict,
    sizes,
)
from .charts import Frame

ABOUT = (
    "Upper bounds at fixed weights are compared here. That one bound is below another does not "
    "prove that its network, or its training strength, is better: both may be far above the risk. "
    "A bound at or above 0.9, the error rate of a constant answer among ten classes, says nothing "
    "(vacuous)."
)
CONSTANT = 0.9  # the error rate of a constant answer among ten classes


Groups = dict[int, list[Arm]]  # by the number of training examples, weakest arm first
Found = dict[str, RiskBounds]  # by the name of the arm


def theory_charts(folder: Folder, arms: Sequence[Arm]) -> list[Chart]:
    """The charts of theory.

    A study that does not measure what bounds need has none, and one without a claim by the rule
    `preferred` has no chart of a prediction.
    """
    found: list[Chart] = []
    with suppress(Lacking):
        groups = sizes(arms)
        able = [arm for group in groups.values() for arm in group]
        frame = Frame(folder, able)
        limits = {arm.name: bounds(arm) for arm in able}
        found += [
            _bound(frame, groups, limits),
            _minimum(frame, groups, limits, "low", frame.tests[len(frame.tests) // 3]),
            _minimum(frame, groups, limits, "high", frame.tests[-2:][0]),
            _growth(frame, groups),
        ]
        claims = {one["rule"]: one["fields"] for one in folder.plan["definition"]["claims"]}
        asked, power = claims.get("preferred"), claims.get("exponent", {})
        tests = (power or asked or {}).get("strengths") or frame.tests
        said = None
        if asked is not None:
            span = asked["span"]
            said = predict(able, asked["strengths"] or tests, asked["fitted"], span)
            found.append(_strength(frame, groups, tests, said, asked["fitted"], span))
        if len(groups) > 2:
            found.append(_exponent(frame, groups, tests, said, power.get("predicted", EXPONENT)))
    return found


def _assumed(chips: int) -> str:
    """The assumptions behind a bound."""
    return (
        "PAC-Bayes-kl at fixed weights: the posterior is the noise around the trained weights, the "
        "prior lies around the start, which has seen only the other images, its scales from a paid "
        f"grid; the risk is that of {chips} chips after the Monte-Carlo correction; counted images "
        "are taken as independent. Each network's bounds hold for all strengths at once with "
        f"probability {1 - DELTA - DELTA_DRAWS:g}, not all networks' together"
    )


def _title(size: int, n: int, limits: np.ndarray) -> str:
    """The name of a panel of bounds, which says where they are vacuous."""
    empty = float((limits >= CONSTANT).mean())
    said = "all vacuous" if empty == 1 else f"{empty:.0%} vacuous" if empty else "none vacuous"
    return f"{size} images, {n} counted: {said}"


def _few(group: Sequence[Arm]) -> list[Arm]:
    """The arms of the weakest, the middle and the strongest training strength."""
    return [group[k] for k in sorted({0, len(group) // 2, len(group) - 1})]


def _range(x: Sequence[float], values: np.ndarray, label: str, **style: Any) -> Line:
    return Line(list(x), values.mean(0), label, (values.min(0), values.max(0)), **style)


def _risk(arm: Arm, k: int) -> Interval:
    return crossed(1.0 - arm.test[:, k]).interval


def _bound(frame: Frame, groups: Groups, limits: Found) -> Lines:
    panels = {}
    places = [k for k, s in enumerate(frame.strengths) if s > 0]
    for size, group in groups.items():
        curves = []
        for number, arm in enumerate(_few(group)):
            limit = limits[arm.name].limit[:, places]
            curves.append(
                _range(frame.tests, limit, f"bound, trained at {arm.peak:g}", colour=number)
            )
            risks = [_risk(arm, k) for k in places]
            curves.append(
                frame.line(
                    frame.tests,
                    risks,
                    f"test risk, trained at {arm.peak:g}",
                    colour=number,
                    dashed=True,
                )
            )
        shown = np.array([limits[arm.name].limit[:, places] for arm in _few(group)])
        panels[_title(size, limits[group[0].name].n, shown)] = curves
    return Lines(
        "theory-bound",
        "The bound on noisy risk, at fixed weights, against the strength at which it is taken",
        panels,
        f"strength s, {frame.noise_unit}",
        "error rate",
        caption="a bound at s holds for every test strength up to s if noisy risk grows with s "
        f"(assumed; see the figure of its growth). {_assumed(frame.chips)}. Bounds: mean and range over "
        f"seeds; risk: 95%, crossed seeds x images. {frame.about}",
        alt="One panel for each number of training images; solid lines are bounds, dashed lines "
        "measured noisy test risk.",
        levels={"vacuous above": CONSTANT},
        columns=2,
    )


def _minimum(frame: Frame, groups: Groups, limits: Found, name: str, s: float) -> Lines:
    k = frame.strengths.index(s)
    panels = {}
    for size, group in groups.items():
        peaks = [arm.peak for arm in group]
        least = np.array([limits[arm.name].limit[:, k:].min(1) for arm in group]).T
        test, train, gap = [], [], []
        for arm in group:
            assert arm.train_score is not None
            seen = 1.0 - arm.train_score[:, k, arm.seen :]
            test.append(_risk(arm, k))
            train.append(crossed(seen).interval)
            gap.append(crossed_sum([1.0 - arm.test[:, k], -seen]).interval)
        panels[_title(size, limits[group[0].name].n, least)] = [
            _range(peaks, least, "least bound", mark=int(least.mean(0).argmin())),
            Line(
                peaks,
                [CONSTANT] * len(peaks),
                "constant answer: vacuous above",
                dashed=True,
                colour=6,
            ),
        ]
        panels[f"{size} images, measured"] = [
            frame.line(
                peaks, test, "noisy test risk", mark=int(np.argmin([one.estimate for one in test]))
            ),
            frame.line(peaks, train, "noisy training risk", dashed=True),
            frame.line(peaks, gap, "gap: test less training", dashed=True),
        ]
    return Lines(
        f"theory-minimum-{name}",
        f"The least bound over strengths s >= {s:g}, beside noisy risk at {s:g}",
        panels,
        "training strength (constant)",
        "error rate",
        caption="rings: the least of a curve. Assumed: noisy risk grows with s. "
        f"{_assumed(frame.chips)}. Training risk and gap on the counted images. Bounds: mean and range "
        f"over seeds; the rest: 95%, crossed seeds x images. {frame.about}",
        alt="Two panels for each number of training images: the bound; test risk, training risk "
        f"and gap at test strength {s:g}.",
        share_y=False,
        columns=2,
    )


def _growth(frame: Frame, groups: Groups) -> Lines:
    panels = {}
    variances = np.diff(np.square(frame.strengths))
    for size, group in groups.items():
        panels[f"{size} training images"] = [
            frame.line(
                frame.strengths[1:],
                [
                    crossed((arm.test[:, k] - arm.test[:, k + 1]) / v).interval
                    for k, v in enumerate(variances)
                ],
                f"trained at {arm.peak:g}",
            )
            for arm in _few(group)
        ]
    return Lines(
        "theory-growth",
        "The assumption that noisy risk grows with the strength: its slope from the strength "
        "before",
        panels,
        f"strength s, {frame.noise_unit}",
        "rise of test error per unit of s^2",
        caption="below 0 the assumption fails. Twice the slope is the trace of the curvature, "
        "averaged between the two strengths. Same chips and images at both strengths; 95%, "
        f"crossed seeds x images. {frame.about}",
        alt="One panel for each number of training images; a line below 0 would contradict the "
        "assumption.",
        levels={"no change": 0.0},
        columns=2,
    )


def _strength(
    frame: Frame,
    groups: Groups,
    tests: Sequence[float],
    said: Prediction,
    fitted: int,
    span: Sequence[float],
) -> Lines:
    panels: dict[str, list[Line]] = {
        f"{size} images{': kappa fitted here' if size == fitted else ''}": [] for size in groups
    }
    for (size, group), curves in zip(groups.items(), panels.values(), strict=True):
        best = [Optima.of([group], s).intervals()[0] for s in tests]
        curves.append(frame.line(tests, best, "best training strength"))
        predicted = np.maximum(tests, said.kappa * said.sigma[size])
        curves.append(Line(tests, predicted, "max(test strength, kappa sigma*)", dashed=True))
        curves.append(Line(tests, tests, "the test strength itself", dashed=True))
    sigma = ", ".join(f"{value:.3f} at {size}" for size, value in said.sigma.items())
    return Lines(
        "theory-strength",
        "The best training strength against the test strength, and what the curvature of the "
        "loss predicts",
        panels,
        frame.test,
        "training strength",
        caption=f"sigma* = (A/(nT))^(1/4): {sigma}; kappa {said.kappa:.3g}. A, the squared "
        "distance from the start, and T, the trace of the bounded loss' curvature between "
        f"strengths {span[0]:g} and {span[1]:g}, are those of networks trained "
        "without noise, on the counted images. Assumed: a linear form of the bound, T the "
        "same at all strengths, one kappa for all sizes. Best: top of a parabola in log "
        "strength, on test images, within the strengths trained; bands: 95%, jackknife over "
        f"seeds and images. {frame.about}",
        alt="One panel for each number of training images: the measured optimum with its "
        "interval, and the prediction.",
        columns=2,
    )


def _exponent(
    frame: Frame,
    groups: Groups,
    tests: Sequence[float],
    said: Prediction | None,
    predicted: float,
) -> Lines:
    n, panels = list(groups), {}
    for s in tests:
        optima = Optima.of(list(groups.values()), s)
        law = np.exp(optima.logs.mean() + predicted * (np.log(n) - np.log(n).mean()))
        curves = [
            frame.line(n, optima.intervals(), "best training strength"),
            Line(n, law, f"n^({predicted:g}) through its middle", dashed=True),
        ]
        if said is not None:
            predictions = [float(np.maximum(s, said.kappa * said.sigma[size])) for size in n]
            curves.append(Line(n, predictions, "max(test strength, kappa sigma*)", dashed=True))
        panels[f"test strength {s:g}"] = curves
    return Lines(
        "theory-exponent",
        "The best training strength against the number of training images, beside "
        f"n^({predicted:g})",
        panels,
        "training images",
        "training strength",
        caption="equal steps at every size. The exponent is predicted for equal A and T, which "
        "change with n (sigma* has them as they are), and where it lies above the test "
        "strength. Bands: 95%, jackknife over seeds and images; optima lie within the "
        f"strengths trained. {frame.about}",
        alt="One panel for each test strength: the optimum over the number of training images, "
        "and the predicted power law.",
        log_x=True,
        columns=2,
    )
