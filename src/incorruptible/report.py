"""What a study found, on paper: a summary that people read, one that programs read, and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import records
from .drawing import Line, lines, save
from .statistics import crossed
from .strengths import parse as parse_strength
from .studies import Arm, Row, Study, Verdict
from .studies.digits import ARMS, NOISE, PLANS, TESTS
from .studies.verdicts import before_stall, probes

__all__ = ["report"]

_SHOWN = ("sgd", "rwp 0.1", "rwp 0.3", "rwp 0.5, warm-up-hold", "sam 0.2", "sam 1, linear", "sam-metric 2")
_FIGURES = {
    "accuracy": "Test accuracy against test noise",
    "strength": "Test accuracy against training strength, one line for each test strength; rings mark the best on test data, "
    "for orientation: no choice rests on them",
    "gap": "Noisy training and noisy test loss against training strength",
    "gradient": "The gradient under the arm's own perturbation over training; rings mark the last probe before the stall",
    "tolerated": "The strength that the network tolerates, beside the strength that each schedule asks for",
}


def report(found: Study, verdicts: Sequence[Verdict], folder: Path, command: str) -> dict[str, Any]:
    """Write summary.json, summary.md and figures/ into `folder`; returns what summary.json holds."""
    for name, draw in _DRAWERS.items():
        save(draw(found), folder / "figures" / name)
    summary = {
        "question": "Which of the claims of arXiv 2602.07320 hold on handwritten digits?",
        **{verdict.claim: verdict.plain() for verdict in verdicts},
        "arms": [_arm(arm) for arm in found.arms],
        "noise": NOISE,
        "seeds": found.seeds,
        "epochs": found.epochs,
        "chips": {
            part: {"draws": plan.draws, "purpose": plan.purpose, "seed": plan.seed} for part, plan in PLANS.items()
        },
        "made": found.made,
        "command": command,
    }
    records.write(folder / "summary.json", summary)
    records.write_text(folder / "summary.md", _markdown(found, verdicts, command))
    return summary


def _arm(arm: Arm) -> dict[str, Any]:
    design = next(one for one in ARMS if one.name == arm.name)
    return {
        "name": arm.name,
        "role": arm.role,
        "objective": design.objective,
        "strength": design.strength,
        "clip": design.clip,
        "epochs_factor": design.epochs,
        "strengths": list(arm.strengths),
        "test_accuracy": [crossed_mean(arm, s) for s in arm.strengths],
        "sd_over_chips": arm.spread,
        "validation_accuracy": arm.validation.mean(0),
        "noisy_test_loss": arm.test_loss.mean((0, 2)),
        "noisy_train_loss": arm.train_loss.mean((0, 2)),
        "noisy_train_accuracy": arm.train.mean(0),
    }


def crossed_mean(arm: Arm, strength: float) -> dict[str, float]:
    """Mean test accuracy at that strength, with the interval over crossed seeds and images."""
    low, estimate, high = crossed(arm.test[:, arm.index(strength)]).interval
    return {"low": low, "mean": estimate, "high": high}


def _markdown(found: Study, verdicts: Sequence[Verdict], command: str) -> str:
    n = found.arms[0].test.shape[2]
    out = [
        "# The claims of arXiv 2602.07320 on handwritten digits",
        "",
        f"UCI optical digits (500 training, 300 validation, {n} test images), MLP 64-128-128-10, noise `{NOISE}`; "
        f"{found.seeds} seeds an arm, {found.epochs} epochs, {PLANS['test'].draws} test chips, "
        f"{PLANS['validation'].draws} other chips for validation. SGD, momentum .9, learning rate .05 to 0 along a cosine, "
        "weight decay 5e-4, batch 64, no clipping unless an arm says so. Every choice is made on validation images and "
        "chips. Intervals are 95%, over crossed seeds and test images; words after Holm's correction over the rows of a "
        "question. An arm's name gives the peak of its strength: for RWP the std of the noise in max|W_f|, for SAM rho.",
        "",
        *(f"- **{v.claim}: {v.word}.** {v.text[0].upper()}{v.text[1:]}." for v in verdicts),
        "",
        "Not asked: C4b (does a changing strength pay in practice, against constant ones tuned as hard?) and C5.",
        "",
    ]
    for verdict in verdicts:
        out += [f"## {verdict.claim}: {verdict.word}", "", f"Claim: {verdict.text}.", "", *_table(verdict.rows), ""]
    out += ["## Every arm", "", "Test accuracy in %, mean over seeds, chips and images.", ""]
    out += ["| arm | " + " | ".join(f"{s:g}" for s in found.arms[0].strengths) + " |"]
    out += ["|---" * (1 + len(found.arms[0].strengths)) + "|"]
    for arm in found.arms:
        out.append(f"| {arm.name} | " + " | ".join(f"{100 * arm.accuracy(s).mean():.2f}" for s in arm.strengths) + " |")
    out += ["", "## Figures", ""]
    out += [f"![{title}](figures/{name}.png)\n\n{title}.\n" for name, title in _FIGURES.items()]
    made = ", ".join(f"{name} {value}" for name, value in found.made.items())
    out += ["## How it was made", "", f"`{command}`; {made}.", ""]
    return "\n".join(out)


def _table(rows: Sequence[Row]) -> list[str]:
    out = ["| question | at | left - right | difference | p | word | notes |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        size, p = "", ""
        if row.difference is not None:
            factor, unit = (100, "") if row.unit == "points" else (1, f" {row.unit}")
            low, middle, high = (factor * value for value in row.difference.interval)
            size, p = f"{middle:+.2f} ({low:+.2f} to {high:+.2f}){unit}", f"{row.difference.p:.4f}"
        out.append(f"| {row.question} | {row.at} | {row.left} - {row.right} | {size} | {p} | {row.word} | {row.note} |")
    return out


def _caption(found: Study) -> str:
    n = found.arms[0].test.shape[2]
    chips = f"{PLANS['test'].draws} chips, {n} test images"
    return f"digits MLP, {NOISE}, {found.seeds} seeds, {chips}; bands: 95%, crossed seeds x images"


def _accuracy(found: Study) -> Any:
    curves = []
    for name in _SHOWN:
        arm = found.arm(name)
        each = [crossed_mean(arm, s) for s in arm.strengths]
        band = ([100 * one["low"] for one in each], [100 * one["high"] for one in each])
        curves.append(Line(arm.strengths, [100 * one["mean"] for one in each], name, band, dashed=arm.kind != "rwp"))
    return lines(
        {"": curves}, "test strength, std of the error in max|W_f|", "test accuracy (%)", caption=_caption(found)
    )


def _constant(found: Study, kind: str) -> list[Arm]:
    arms = [a for a in found.arms if a.kind == kind and a.schedule == "constant" and a.role == "candidate"]
    return sorted(arms, key=lambda arm: arm.peak)


_KINDS = {"rwp": "RWP: strength", "sam": "SAM, Euclidean: rho", "sam-metric": "SAM, the noise's metric: rho"}


def _strength(found: Study) -> Any:
    panels = {}
    for kind, title in _KINDS.items():
        arms, curves = _constant(found, kind), []
        for s in (0.0, *TESTS):
            each = [crossed_mean(arm, s) for arm in arms]
            means = [100 * one["mean"] for one in each]
            band = ([100 * one["low"] for one in each], [100 * one["high"] for one in each])
            curves.append(Line([a.peak for a in arms], means, f"test {s:g}", band, mark=int(np.argmax(means))))
        panels[title] = curves
    return lines(panels, "training strength (constant)", "test accuracy (%)", caption=_caption(found), log_x=True)


def _gap(found: Study) -> Any:
    arms = _constant(found, "rwp")
    panels = {}
    for s in TESTS[1:]:
        k = arms[0].index(s)
        curves = []
        for name, pick, dashed in (("test", _test_loss, False), ("training", _train_loss, True)):
            each = [crossed(pick(arm)[:, k]).interval for arm in arms]
            band = ([one.low for one in each], [one.high for one in each])
            curves.append(
                Line([a.peak for a in arms], [one.estimate for one in each], f"noisy {name} loss", band, dashed)
            )
        panels[f"test strength {s:g}"] = curves
    caption = f"digits MLP, constant RWP, {found.seeds} seeds, {PLANS['test'].draws} chips; bands: 95%, crossed seeds x images"
    return lines(
        panels, "training strength, std in max|W_f|", "cross-entropy (nats)", caption=caption, columns=4, share_y=False
    )


def _test_loss(arm: Arm) -> Any:
    return arm.test_loss


def _train_loss(arm: Arm) -> Any:
    return arm.train_loss


_COURSES = ("rwp 0.6", "sam 1", "sam-metric 8")
_MEASURES = {
    "probe_mean_ratio": "norm of mean g / norm of g0",
    "probe_signal_to_noise": "signal / noise",
    "probe_dead": "dead units (share)",
    "probe_clean_accuracy": "clean training accuracy",
}


def _gradient(found: Study) -> Any:
    panels: dict[str, list[Line]] = {}
    for measure, title in _MEASURES.items():
        curves = []
        for name in _COURSES:
            arm = found.arm(name)
            steps = [one["step"] for one in probes(arm.metrics[0])]
            values = np.array([[one[measure] for one in probes(seed)] for seed in arm.metrics], dtype=float)
            middle, half = values.mean(0), 2.0 * values.std(0, ddof=1) / np.sqrt(len(values))
            at, _ = before_stall(arm)
            curves.append(Line(steps, middle, name, (middle - half, middle + half), mark=at))
        panels[title] = curves
    caption = (
        f"constant arms that fail, {found.seeds} seeds, all training images, 16 draws; bands: two standard errors over seeds; "
        "rings: last probe before the stall"
    )
    return lines(
        panels,
        "optimiser step",
        ["ratio", "ratio", "share", "fraction"],
        caption=caption,
        log_x=True,
        share_y=False,
        columns=2,
    )


def _tolerated(found: Study) -> Any:
    panels: dict[str, list[Line]] = {}
    groups = {
        "RWP, peak 0.6": ("rwp 0.6, warm-up-hold", "rwp 0.6, linear", "rwp 0.6, reversed"),
        "SAM, peak 1": ("sam 1, warm-up-hold", "sam 1, linear", "sam 1, reversed"),
    }
    for title, names in groups.items():
        curves = []
        for i, name in enumerate(names):
            arm = found.arm(name)
            seen = [[one for one in seed if "tolerated" in one] for seed in arm.metrics]
            steps = np.array([one["step"] for one in seen[0]], dtype=float)
            values = np.array([[one["tolerated"] for one in seed] for seed in seen])
            middle, half = values.mean(0), 2.0 * values.std(0, ddof=1) / np.sqrt(len(values))
            design = next(one for one in ARMS if one.name == name)
            schedule = parse_strength(design.strength)
            last = steps[-1] if len(steps) else 1.0
            short = name.split(", ")[1]
            curves.append(Line(steps, middle, f"{short}: tolerated", (middle - half, middle + half), colour=i))
            curves.append(
                Line(steps, [schedule(min(1.0, s / last)) for s in steps], f"{short}: asked", dashed=True, colour=i)
            )
        panels[title] = curves
    caption = (
        "tolerated: largest strength with perturbed training loss within half of ln 10, at most 4 times the peak; "
        f"{found.seeds} seeds, bands: two standard errors"
    )
    return lines(panels, "optimiser step", "strength", caption=caption, share_y=False, columns=2)


_DRAWERS: dict[str, Callable[[Study], Any]] = {
    "accuracy": _accuracy,
    "strength": _strength,
    "gap": _gap,
    "gradient": _gradient,
    "tolerated": _tolerated,
}
