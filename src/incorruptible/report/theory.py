"""The charts that hold PAC-Bayes bounds against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..plots import Chart, Line, Lines
from ..statistics import Interval, crossed, crossed_sum
from ..studies.evidence import Arm, Lacking
from ..studies.folder import Folder
from ..studies.rules import Exponent, Preferred
from ..studies.theory import DELTA, DELTA_DRAWS, Optima, RiskBounds, bounds, sizes

__all__ = ["ABOUT", "theory_charts"]

ABOUT = (
    "Upper bounds at fixed weights are compared here. That one bound is below another does not "
    "prove that its network, or its training strength, is better: both may be far above the risk. "
    "A bound at or above 0.9, the error rate of a constant answer among ten classes, says nothing "
    "(vacuous)."
)
CONSTANT = 0.9


class _TheoryFrame:
    """What the charts share: arms by size, their bounds, and the words under them."""

    def __init__(self, folder: Folder, arms: Sequence[Arm]) -> None:
        noise = folder.plan["noises"][0]
        self.arms, self.groups = arms, sizes(arms)
        self.bounds: dict[str, RiskBounds] = {
            arm.name: bounds(arm) for group in self.groups.values() for arm in group
        }
        one = next(iter(self.groups.values()))[0]
        self.seeds, self.chips, self.strengths = len(one.test), one.chips.shape[2], one.strengths
        self.tests = [s for s in self.strengths if s > 0]
        self.x = f"strength s, {noise['unit']}"
        self.test = f"test strength, {noise['unit']}"
        self.about = f"{noise['corruption']}, {self.seeds} seeds, {self.chips} chips, {one.test.shape[2]} test images"
        self.claims = {
            claim["rule"]: claim["fields"] for claim in folder.plan["definition"]["claims"]
        }

    def assumed(self) -> str:
        """What stands behind a bound."""
        return (
            "PAC-Bayes-kl at fixed weights: the posterior is the noise around the trained "
            "weights, the prior lies around the start, which has seen only the other images, its "
            f"scales from a paid grid; the risk is that of {self.chips} chips after the "
            "Monte-Carlo correction; counted images are taken as independent. Each network's "
            f"bounds hold for all strengths at once with probability {1 - DELTA - DELTA_DRAWS:g}, "
            "not all networks' together"
        )

    def title(self, size: int, limits: np.ndarray) -> str:
        """The name of a panel of bounds, which says where they are vacuous."""
        n = self.bounds[self.groups[size][0].name].n
        empty = float((limits >= CONSTANT).mean())
        said = "all vacuous" if empty == 1 else f"{empty:.0%} vacuous" if empty else "none vacuous"
        return f"{size} images, {n} counted: {said}"


def theory_charts(folder: Folder, arms: Sequence[Arm]) -> list[Chart]:
    """The charts of theory; none for a study that does not measure what bounds need."""
    try:
        frame = _TheoryFrame(folder, arms)
    except Lacking:
        return []
    places = {"low": frame.tests[len(frame.tests) // 3], "high": frame.tests[-2:][0]}
    minima = [_minimum(frame, name, s) for name, s in places.items()]
    found: list[Chart] = [_bound(frame), *minima, _growth(frame)]
    for draw in (_strength, _exponent):
        try:
            found += draw(frame)
        except Lacking:
            continue
    return found


def _few(group: Sequence[Arm]) -> list[Arm]:
    """The weakest, the middle and the strongest training strength."""
    return [group[k] for k in sorted({0, len(group) // 2, len(group) - 1})]


def _line(x: Sequence[float], found: Sequence[Interval], label: str, **style: Any) -> Line:
    low, middle, high = (
        np.array([getattr(one, side) for one in found]) for side in ("low", "estimate", "high")
    )
    return Line(list(x), middle, label, (low, high), **style)


def _range(x: Sequence[float], values: np.ndarray, label: str, **style: Any) -> Line:
    return Line(list(x), values.mean(0), label, (values.min(0), values.max(0)), **style)


def _risk(arm: Arm, k: int) -> Interval:
    return crossed(1.0 - arm.test[:, k]).interval


def _bound(frame: _TheoryFrame) -> Lines:
    panels = {}
    places = [k for k, s in enumerate(frame.strengths) if s > 0]
    for size, group in frame.groups.items():
        curves = []
        for number, arm in enumerate(_few(group)):
            limit = frame.bounds[arm.name].limit[:, places]
            curves.append(
                _range(frame.tests, limit, f"bound, trained at {arm.peak:g}", colour=number)
            )
            risks = [_risk(arm, k) for k in places]
            curves.append(
                _line(
                    frame.tests,
                    risks,
                    f"test risk, trained at {arm.peak:g}",
                    colour=number,
                    dashed=True,
                )
            )
        shown = np.array([frame.bounds[arm.name].limit[:, places] for arm in _few(group)])
        panels[frame.title(size, shown)] = curves
    return Lines(
        "theory-bound",
        "The bound on noisy risk, at fixed weights, against the strength at which it is taken",
        panels,
        frame.x,
        "error rate",
        caption="a bound at s holds for every test strength up to s if noisy risk grows with s "
        f"(assumed; see the figure of its growth). {frame.assumed()}. Bounds: mean and range over "
        f"seeds; risk: 95%, crossed seeds x images. {frame.about}",
        alt="One panel for each number of training images; solid lines are bounds, dashed lines "
        "measured noisy test risk.",
        levels={"vacuous above": CONSTANT},
        columns=2,
    )


def _minimum(frame: _TheoryFrame, name: str, s: float) -> Lines:
    k = frame.strengths.index(s)
    panels = {}
    for size, group in frame.groups.items():
        peaks = [arm.peak for arm in group]
        least = np.array([frame.bounds[arm.name].limit[:, k:].min(1) for arm in group]).T
        test, train, gap = [], [], []
        for arm in group:
            assert arm.train_score is not None
            seen = 1.0 - arm.train_score[:, k, arm.seen :]
            test.append(_risk(arm, k))
            train.append(crossed(seen).interval)
            gap.append(crossed_sum([1.0 - arm.test[:, k], -seen]).interval)
        panels[frame.title(size, least)] = [
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
            _line(
                peaks, test, "noisy test risk", mark=int(np.argmin([one.estimate for one in test]))
            ),
            _line(peaks, train, "noisy training risk", dashed=True),
            _line(peaks, gap, "gap: test less training", dashed=True),
        ]
    return Lines(
        f"theory-minimum-{name}",
        f"The least bound over strengths s >= {s:g}, beside noisy risk at {s:g}",
        panels,
        "training strength (constant)",
        "error rate",
        caption="rings: the least of a curve. Assumed: noisy risk grows with s. "
        f"{frame.assumed()}. Training risk and gap on the counted images. Bounds: mean and range "
        f"over seeds; the rest: 95%, crossed seeds x images. {frame.about}",
        alt="Two panels for each number of training images: the bound; test risk, training risk "
        f"and gap at test strength {s:g}.",
        share_y=False,
        columns=2,
    )


def _growth(frame: _TheoryFrame) -> Lines:
    panels = {}
    variances = np.diff(np.square(frame.strengths))
    for size, group in frame.groups.items():
        panels[f"{size} training images"] = [
            _line(
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
        frame.x,
        "rise of test error per unit of s^2",
        caption="below 0 the assumption fails. Twice the slope is the trace of the curvature, "
        "averaged between the two strengths. Same chips and images at both strengths; 95%, "
        f"crossed seeds x images. {frame.about}",
        alt="One panel for each number of training images; a line below 0 would contradict the "
        "assumption.",
        levels={"no change": 0.0},
        columns=2,
    )


def _rules(frame: _TheoryFrame) -> tuple[Preferred | None, list[float]]:
    """The rule that predicts, as the study has it, and the test strengths that the study asks
    for.
    """
    asked = frame.claims.get("preferred")
    fields: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in (asked or {}).items()
    }
    rule = None if asked is None else Preferred(**fields)
    wanted = (frame.claims.get("exponent") or asked or {}).get("strengths")
    return rule, list(wanted or frame.tests)


def _strength(frame: _TheoryFrame) -> list[Chart]:
    rule, tests = _rules(frame)
    if rule is None:
        return []
    said = rule.predict(frame.arms, tests)
    panels: dict[str, list[Line]] = {
        f"{size} images{': kappa fitted here' if size == rule.fitted else ''}": []
        for size in frame.groups
    }
    for (size, group), curves in zip(frame.groups.items(), panels.values(), strict=True):
        best = [Optima.of([group], s).intervals()[0] for s in tests]
        curves.append(_line(tests, best, "best training strength"))
        predicted = np.maximum(tests, said.kappa * said.sigma[size])
        curves.append(Line(tests, predicted, "max(test strength, kappa sigma*)", dashed=True))
        curves.append(Line(tests, tests, "the test strength itself", dashed=True))
    sigma = ", ".join(f"{value:.3f} at {size}" for size, value in said.sigma.items())
    return [
        Lines(
            "theory-strength",
            "The best training strength against the test strength, and what the curvature of the "
            "loss predicts",
            panels,
            frame.test,
            "training strength",
            caption=f"sigma* = (A/(nT))^(1/4): {sigma}; kappa {said.kappa:.3g}. A, the squared "
            "distance from the start, and T, the trace of the bounded loss' curvature between "
            f"strengths {rule.span[0]:g} and {rule.span[1]:g}, are those of networks trained "
            "without noise, on the counted images. Assumed: a linear form of the bound, T the "
            "same at all strengths, one kappa for all sizes. Best: top of a parabola in log "
            "strength, on test images, within the strengths trained; bands: 95%, jackknife over "
            f"seeds and images. {frame.about}",
            alt="One panel for each number of training images: the measured optimum with its "
            "interval, and the prediction.",
            columns=2,
        )
    ]


def _exponent(frame: _TheoryFrame) -> list[Chart]:
    if len(frame.groups) < 3:
        return []
    rule, tests = _rules(frame)
    predicted = float(frame.claims.get("exponent", {}).get("predicted", Exponent.predicted))
    n, panels = list(frame.groups), {}
    said = rule.predict(frame.arms, tests) if rule is not None else None
    for s in tests:
        optima = Optima.of(list(frame.groups.values()), s)
        law = np.exp(optima.logs.mean() + predicted * (np.log(n) - np.log(n).mean()))
        curves = [
            _line(n, optima.intervals(), "best training strength"),
            Line(n, law, f"n^({predicted:g}) through its middle", dashed=True),
        ]
        if said is not None:
            predictions = [float(np.maximum(s, said.kappa * said.sigma[size])) for size in n]
            curves.append(Line(n, predictions, "max(test strength, kappa sigma*)", dashed=True))
        panels[f"test strength {s:g}"] = curves
    return [
        Lines(
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
    ]
