"""The charts of a study, from its arms.

Relies on: all arms of a task have the same test strengths and test examples, so that one panel and
one caption serve all of them; of the arms that a study names in `shown`, at least one is finished,
or the best arm of each method takes their place.
Keeps: validation chooses every arm that a chart marks or compares, never the test score; scores
that are fractions are shown in percent, and their differences in points.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..diagnostics.mechanism import before_stall, probes
from ..plots import Bars, Chart, Heat, Line, Lines
from ..schedules import parse
from ..statistics import crossed
from ..studies.evidence import Arm, best, constants, difference, shown_in
from ..studies.folder import Folder
from ..studies.results import conclude

MEASURES = {
    "probe_mean_ratio": ("norm of mean g / norm of g0", "ratio"),
    "probe_signal_to_noise": ("signal / noise", "ratio"),
    "probe_dead": ("dead units", "share"),
}


def charts(folder: Folder, arms: Sequence[Arm]) -> list[Chart]:
    """The charts for which the study's arms have data, in the order in which they are read.

    Where arms differ in their task, or in the arrays that are in hardware, each such group has its
    own charts.
    """
    drawers: list[Callable[[Frame], list[Chart]]] = [
        _accuracy,
        _crossover,
        _maps,
        _strength,
        _chips,
        _gap,
        _curves,
    ]
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        if arm.role != "checkpoint":
            groups.setdefault(f"{arm.task}, {arm.held}" if arm.held else arm.task, []).append(arm)
    frames = {task: Frame(folder, group) for task, group in groups.items()}
    found = [
        (task, chart)
        for draw in [*drawers, _gradient, _tolerated]
        for task, one in frames.items()
        for chart in draw(one)
    ]
    if len(frames) < 2:
        return [chart for _, chart in found]
    return [
        replace(
            chart,
            name=f"{chart.name}-{re.sub(r'[^A-Za-z0-9.]+', '-', task)}",
            title=f"{chart.title}: {task}",
        )
        for task, chart in found
    ]


class Frame:
    """What the charts of one group of arms share: arms, names, units and the caption."""

    def __init__(self, folder: Folder, arms: Sequence[Arm]) -> None:
        definition, noise, score = (
            folder.plan["definition"],
            folder.plan["noises"][0],
            folder.plan["score"],
        )
        names = [
            arm.name
            for arm in arms
            if any(fnmatchcase(arm.name, one) for one in definition["shown"])
        ]
        # Where a study has several tasks, the task may stand before an arm's name. The title of a
        # chart names the task already.
        head = f"{arms[0].task}: "
        self.arms = [replace(arm, name=arm.name.removeprefix(head)) for arm in arms]
        self.schedules = {
            arm["name"].removeprefix(head): arm["recipe"]["strength"] for arm in definition["arms"]
        }
        self.noun, self.unit = score["name"], score["unit"]
        self.factor, _, unit, self.points = shown_in(score["unit"])
        self.score = f"{self.noun} ({unit})"
        self.strengths: tuple[float, ...] = arms[0].strengths
        self.tests = [s for s in self.strengths if s > 0] or list(self.strengths)
        self.noise_unit = noise["unit"]
        self.test = f"test strength, {self.noise_unit}"
        self.required = definition["test"]["required"]
        self.methods = list(dict.fromkeys(arm.kind for arm in arms))
        self.seeds, _, n = arms[0].test.shape
        self.chips = arms[0].chips.shape[2]
        self.about = (
            f"{noise['corruption']}, {self.seeds} seeds, {self.chips} chips, {n} test examples"
        )
        self.caption = f"{self.about}; bands: 95%, crossed seeds x examples"
        shown = {name.removeprefix(head) for name in names}
        self.shown = [arm for arm in self.arms if arm.name in shown] or _telling(
            self.arms, self.methods, self.tests
        )

    def line(
        self, x: Sequence[float], found: Sequence[Any], label: str, factor: float = 1, **style: Any
    ) -> Line:
        """A curve with its band, from intervals."""
        low, middle, high = (
            factor * np.array([getattr(one, side) for one in found])
            for side in ("low", "estimate", "high")
        )
        return Line(list(x), middle, label, (low, high), **style)

    def ladder(self, method: str) -> list[Arm]:
        """The constant arms of a method, weakest first.

        Of several arms of one strength, the one that is best on validation is taken.
        """
        steps: dict[float, list[Arm]] = {}
        for arm in constants(self.arms, method):
            steps.setdefault(arm.peak, []).append(arm)
        return [
            max(one, key=lambda arm: arm.sign * float(arm.validation.mean()))
            for one in steps.values()
        ]


def _telling(arms: Sequence[Arm], methods: Sequence[str], tests: Sequence[float]) -> list[Arm]:
    """The arms to show where the study names none: of each method the arm that is best on
    validation at the middle test strength.
    """
    middle = tests[len(tests) // 2]
    return [best([arm for arm in arms if arm.kind == method], middle) for method in methods]


def _accuracy(frame: Frame) -> list[Chart]:
    curves = [
        frame.line(
            arm.strengths,
            [crossed(arm.test[:, k]).interval for k in range(len(arm.strengths))],
            arm.name,
            frame.factor,
            dashed=arm.kind != frame.shown[min(1, len(frame.shown) - 1)].kind,
        )
        for arm in frame.shown
    ]
    levels = {} if frame.required is None else {"required of a chip": frame.factor * frame.required}
    alt = (
        f"{frame.score} of {len(curves)} arms against test strength; the numbers are in the table "
        "below."
    )
    return [
        Lines(
            "accuracy",
            f"{frame.noun.capitalize()} against test strength",
            {"": curves},
            frame.test,
            frame.score,
            caption=frame.caption,
            alt=alt,
            levels=levels,
        )
    ]


def _crossover(frame: Frame) -> list[Chart]:
    """How far the best candidate of each method is ahead of the best of the method that has most
    candidates. Validation chooses both at each test strength.
    """
    ours = {
        m: [a for a in frame.arms if a.kind == m and a.role == "candidate"] for m in frame.methods
    }
    ours = {method: arms for method, arms in ours.items() if arms}
    tuned = {method: arms for method, arms in ours.items() if len(arms) > 1}
    # A single arm that is far behind would only flatten the others' curves.
    ours = tuned if len(tuned) > 1 else ours
    if len(ours) < 2:
        return []
    reference = max(ours, key=lambda method: len(ours[method]))
    others = [method for method in ours if method != reference]
    curves, picks = [], []
    for method in others:
        chosen = [(best(ours[method], s), best(ours[reference], s), s) for s in frame.strengths]
        curves.append(
            frame.line(
                frame.strengths, [difference(*one).interval for one in chosen], method, frame.factor
            )
        )
        picks.append(f"{method}: " + ", ".join(f"{one.name} at {s:g}" for one, _, s in chosen))
    return [
        Lines(
            "crossover",
            f"Which method wins where: ahead of {reference}",
            {"": curves},
            frame.test,
            f"{frame.noun}, ahead of {reference} ({frame.points})",
            caption=f"the best candidate of each method, chosen on validation. {frame.caption}",
            alt="Lines that cross show where one method takes over from another. Chosen: "
            + "; ".join(picks),
            levels={f"{reference}": 0.0},
        )
    ]


def _maps(frame: Frame) -> list[Chart]:
    found: list[Chart] = []
    for method in frame.methods:
        arms = frame.ladder(method)
        if len(arms) < 3 or len(frame.tests) < 2:
            continue
        values = np.array(
            [[frame.factor * float(arm.accuracy(s).mean()) for s in frame.tests] for arm in arms]
        )
        marks = [(arms.index(best(arms, s)), k) for k, s in enumerate(frame.tests)]
        names = [f"{arm.peak:g}" for arm in arms]
        picks = ", ".join(f"{names[row]} at {frame.tests[column]:g}" for row, column in marks)
        found.append(
            Heat(
                f"map-{method}",
                f"{method}: training strength against test strength",
                values,
                names,
                [f"{s:g}" for s in frame.tests],
                frame.test,
                "training strength (constant)",
                frame.score,
                marks,
                caption=f"framed: the optimum, chosen on validation; {frame.about}",
                alt=f"The optimum of {method}, chosen on validation, is training strength {picks}.",
            )
        )
    return found


def _strength(frame: Frame) -> list[Chart]:
    panels = {}
    for method in frame.methods:
        arms = frame.ladder(method)
        if len(arms) < 3:
            continue
        curves = []
        for s in frame.strengths:
            each = [crossed(arm.test[:, arm.index(s)]).interval for arm in arms]
            mark = arms.index(best(arms, s))
            curves.append(
                frame.line([a.peak for a in arms], each, f"test {s:g}", frame.factor, mark=mark)
            )
        panels[method] = curves
    if not panels:
        return []
    return [
        Lines(
            "strength",
            f"{frame.noun.capitalize()} against training strength",
            panels,
            "training strength (constant)",
            frame.score,
            caption=f"rings: validation's choice; {frame.caption}",
            alt="One line for each test strength; rings mark the training strength that validation "
            "chooses.",
            log_x=True,
        )
    ]


def _chips(frame: Frame) -> list[Chart]:
    panels = {
        f"{s:g}": {
            arm.name: frame.factor * arm.chips[:, arm.index(s)].ravel() for arm in frame.shown[:5]
        }
        for s in frame.tests
    }
    levels = {} if frame.required is None else {"required": frame.factor * frame.required}
    return [
        Bars(
            "chips",
            "How far chips differ, and how many would pass",
            panels,
            frame.score,
            "chips",
            levels,
            caption=f"chips of all {frame.seeds} seeds; {frame.about}",
            alt="Histograms of the score of single chips; the legend says how many reach what is "
            "required.",
            selector=True,
        )
    ]


def _gap(frame: Frame) -> list[Chart]:
    method = next((m for m in frame.methods if len(frame.ladder(m)) > 2), None)
    arms = frame.ladder(method) if method else []
    if not arms or any(arm.train_loss is None for arm in arms):
        return []
    panels = {}
    for s in frame.tests:
        k, peaks = arms[0].index(s), [arm.peak for arm in arms]
        panels[f"{s:g}"] = [
            frame.line(
                peaks, [crossed(arm.test_loss[:, k]).interval for arm in arms], "noisy test loss"
            ),
            frame.line(
                peaks,
                [crossed(_present(arm)[:, k]).interval for arm in arms],
                "noisy training loss",
                dashed=True,
            ),
        ]
    return [
        Lines(
            "gap",
            f"The noise-robust generalisation gap of {method}",
            panels,
            "training strength (constant)",
            "loss (nats)",
            caption=frame.caption,
            alt=f"Noisy training and noisy test loss of {method} against training strength, for "
            "each test strength.",
            share_y=False,
            selector=True,
        )
    ]


def _present(arm: Arm) -> NDArray[np.float64]:
    assert arm.train_loss is not None
    return arm.train_loss


def _curves(frame: Frame) -> list[Chart]:
    panels: dict[str, list[Line]] = {
        "training loss, as trained": [],
        "strength": [],
        "learning rate": [],
    }
    for arm in frame.shown:
        seeds = [[one for one in seed if "epoch" in one] for seed in arm.metrics]
        epochs = [one["epoch"] for one in seeds[0]]
        for title, key in zip(panels, ("loss", "strength", "lr"), strict=True):
            values = np.array(
                [[np.nan if one[key] is None else one[key] for one in seed] for seed in seeds],
                dtype=float,
            )
            panels[title].append(over_seeds(epochs, values, arm.name))
    return [
        Lines(
            "curves",
            "Training curves",
            panels,
            "epoch",
            ["loss (nats)", "strength", "learning rate"],
            caption=f"{frame.seeds} seeds; bands: two standard errors over seeds; the loss is at "
            "perturbed weights",
            alt="Loss, strength of the perturbation and learning rate over the epochs of training.",
            share_y=False,
        )
    ]


def over_seeds(x: Sequence[float], values: NDArray[np.float64], label: str, **style: Any) -> Line:
    """The mean of `values` [seeds, x], with a band of two standard errors; one seed has no band."""
    middle = values.mean(0)
    if len(values) < 2:
        return Line(list(x), middle, label, **style)
    half = 2.0 * values.std(0, ddof=1) / np.sqrt(len(values))
    return Line(list(x), middle, label, (middle - half, middle + half), **style)


def _gradient(frame: Frame) -> list[Chart]:
    counts = {arm.name: min(len(probes(seed)) for seed in arm.metrics) for arm in frame.arms}
    most = max(counts.values())
    if most < 4:
        return []
    watched = [arm for arm in frame.arms if counts[arm.name] == most]
    panels: dict[str, list[Line]] = {}
    # Without a perturbation there is no noise, and signal / noise is without bound. Its axis ends
    # just above the largest value of the arms that are perturbed.
    noisy = [0.0]
    fractions = frame.factor == 100  # the stall is defined for fractions of right answers alone
    measures = {**MEASURES, "probe_clean_accuracy": (f"clean training {frame.noun}", frame.unit)}
    for measure, (title, _) in measures.items():
        curves = []
        for arm in watched:
            steps = [one["step"] for one in probes(arm.metrics[0])]
            values = np.array(
                [[one[measure] for one in probes(seed)] for seed in arm.metrics], dtype=float
            )
            curves.append(
                over_seeds(
                    steps,
                    values,
                    arm.name,
                    mark=before_stall(arm.metrics)[0] if fractions else None,
                )
            )
            if measure == "probe_signal_to_noise":
                perturbed = np.array([one["probe_strength"] for one in probes(arm.metrics[0])]) > 0
                ends = (curves[-1].edges or curves[-1].points)[1]
                noisy += list(ends[perturbed])
        panels[title] = curves
    signal, top = MEASURES["probe_signal_to_noise"][0], 1.05 * max(noisy)
    beyond = top > 0 and any((line.points[1] > top).any() for line in panels[signal])
    rings = (
        "rings: the last probe before the stall",
        "Rings mark the last probe before the stall.",
    )
    marked = rings if fractions else ("the stall is judged by fractions of right answers only", "")
    return [
        Lines(
            "gradient",
            "The gradient under the arm's own perturbation, over training",
            panels,
            "optimiser step",
            [unit for _, unit in measures.values()],
            caption=f"{frame.seeds} seeds; bands: two standard errors over seeds; {marked[0]}"
            + f"; triangles: {signal} above {top:.3g}, where nothing is perturbed" * beyond,
            alt=f"Size, signal to noise and direction of the gradient over training. {marked[1]}".rstrip(),
            log_x=True,
            share_y=False,
            columns=2,
            tops={signal: top} if top > 0 else None,
        )
    ]


def _asked(written: str, seen: Sequence[Sequence[Any]], steps: NDArray[np.float64]) -> list[float]:
    """The strength at those steps: the schedule's, or a controller's own, averaged over seeds."""
    schedule = parse(written)
    if callable(schedule):
        return [schedule(min(1.0, step / steps[-1])) for step in steps]
    return list(np.mean([[one["strength"] for one in seed] for seed in seen], axis=0))


def _tolerated(frame: Frame) -> list[Chart]:
    panels: dict[str, list[Line]] = {}
    colours = {
        schedule: place
        for place, schedule in enumerate(dict.fromkeys(arm.schedule for arm in frame.arms))
    }
    for arm in frame.arms:
        seen = [[one for one in seed if "tolerated" in one] for seed in arm.metrics]
        if not seen[0]:
            continue
        steps = np.array([one["step"] for one in seen[0]], dtype=float)
        values = np.array([[one["tolerated"] for one in seed] for seed in seen])
        curves = panels.setdefault(f"{arm.kind}, peak {arm.peak:g}", [])
        number = colours[arm.schedule]
        asked = _asked(frame.schedules[arm.name], seen, steps)
        curves.append(over_seeds(list(steps), values, f"{arm.schedule}: tolerated", colour=number))
        curves.append(
            Line(list(steps), asked, f"{arm.schedule}: asked", dashed=True, colour=number)
        )
    if not panels:
        return []
    return [
        Lines(
            "tolerated",
            "The strength that the network tolerates, beside the strength that its schedule asks "
            "for",
            panels,
            "optimiser step",
            "strength",
            caption="tolerated: the largest strength with perturbed training loss within half of a "
            f"constant predictor's, at most 4 times the peak; {frame.seeds} seeds, bands: two "
            "standard errors",
            alt="Where the asked strength runs above the tolerated one, training is pushed beyond "
            "what it can bear.",
            share_y=False,
            columns=2,
        )
    ]


def shortfalls(folder: Folder, arms: Sequence[Arm]) -> list[Chart]:
    """How far one run falls short of the arms that were tuned for each test strength.

    All claims by the rule `shortfall` share one chart, with a panel for each of their groups.
    Without such a claim there is no chart.
    """
    noise, score = folder.plan["noises"][0], folder.plan["score"]
    factor, _, _, unit = shown_in(score["unit"])
    rules = {
        one["name"]: one
        for one in folder.plan["definition"]["claims"]
        if one["rule"] == "shortfall"
    }
    panels: dict[str, list[Line]] = {}
    for one in conclude(folder, arms) if rules else []:
        rows = [row for row in one.rows if row.difference is not None and one.claim in rules]
        for title in dict.fromkeys(row.question for row in rows):
            own = [row for row in rows if row.question == title]
            low, middle, high = (
                factor * np.array([getattr(row.difference.interval, side) for row in own])  # type: ignore[union-attr]
                for side in ("low", "estimate", "high")
            )
            panels.setdefault(title, []).append(
                Line([float(row.at) for row in own], middle, one.claim, (low, high))
            )
    if not panels:
        return []
    fields = next(iter(rules.values()))["fields"]
    return [
        Lines(
            "shortfall",
            "One run against the arm that was tuned hardest for each test strength",
            panels,
            f"test strength, {noise['unit']}",
            f"ahead of tuned ({unit})",
            caption="each seed's checkpoint is chosen on its own validation data, the tuned arm by "
            "its mean over all seeds; bands: 95%, crossed seeds x examples; target: within "
            f"{factor * fields['target']:g} {unit}",
            alt="Where a line lies above 0, one run that was not tuned is ahead of the best of all "
            "tuned arms.",
            levels={"as good": 0.0, "target": -factor * fields["target"]},
            share_y=False,
        )
    ]
