"""The charts of a landscape, drawn from its record.

Relies on: the record is plain data as `survey` keeps it; a number that is not finite is None there.
Keeps: nothing is measured here, so a chart can be drawn again from the file alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plots import Chart, Heat, Line, Lines
from .mechanism import NOISY, VANISHING, before_stall, probes

# larger ratios are drawn at this height, because the question is whether ratios are small
RATIOS = 3.0


def charts(record: Mapping[str, Any]) -> list[Chart]:
    """Every chart for which the record has data: over training, at its end, and of trainings that
    fail.
    """
    looks = record["looks"]
    found: list[Chart] = []
    if len(looks) > 1:
        found += [_gradient(record), _uneven(record), _sharpness(record)]
        if looks[0]["tolerated"] is not None:
            found.append(_tolerated(record))
    found += around(record)
    if record.get("failing") and record["failing"]["arms"]:
        found.append(_failing(record))
    return found


def around(record: Mapping[str, Any]) -> list[Chart]:
    """The charts of the loss around the weights at the end: slices, and the surface if there is
    one.
    """
    return [
        _slices(record),
        *([_surface(record)] if record["slices"]["surface"] is not None else []),
    ]


def _about(record: Mapping[str, Any]) -> str:
    """The words that every caption ends with: task, examples, draws."""
    images = "one batch" if record["images"] is None else f"{record['images']} training examples"
    return f"{record['task']}, {images}, {record['draws']} draws"


def _floats(values: Sequence[Any]) -> NDArray[np.float64]:
    """Values as numbers, with nan for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _over(record: Mapping[str, Any], measure: str, ceiling: float = np.inf) -> list[Line]:
    """The values of `measure` over training, one curve for each strength. Strength 0 has no values,
    and a curve without values is left out.
    """
    looks = record["looks"]
    steps = [look["step"] for look in looks]

    def values(name: str) -> NDArray[np.float64]:
        seen = [look["at"][name] for look in looks]
        return np.minimum(
            ceiling, _floats([one[measure] if one["strength"] > 0 else None for one in seen])
        )

    def twice(name: str) -> bool:
        """Whether a constant strength is the same as the schedule's at every look."""
        return name != "schedule" and all(
            look["at"][name]["strength"] == look["at"]["schedule"]["strength"] for look in looks
        )

    curves = [Line(steps, values(name), name) for name in looks[0]["at"] if not twice(name)]
    return [line for line in curves if np.isfinite(line.points[1]).any()]


def _gradient(record: Mapping[str, Any]) -> Chart:
    """Size, noise and direction of the gradient, and dead units, over training."""
    measures = {
        "mean_ratio": "norm of mean g / norm of g0",
        "signal_to_noise": "signal / noise",
        "cosine": "cosine of mean g with g0",
        "dead": "share of dead units",
    }
    return Lines(
        "gradient",
        f"The gradient under {record['objective']}, over training",
        {title: _over(record, measure, RATIOS) for measure, title in measures.items()},
        "optimiser step",
        ["ratio", "ratio", "cosine", "share"],
        caption=f"strengths: the schedule's ({record['schedule']}) and constant ones, all measured "
        f"on the same training; {_about(record)}; ratios above {RATIOS:g} are drawn at "
        f"{RATIOS:g}",
        alt="Size, signal to noise and direction of the gradient at perturbed weights, over "
        "training, for each strength.",
        log_x=True,
        share_y=False,
        columns=2,
    )


def _uneven(record: Mapping[str, Any]) -> Chart:
    """The perturbed loss, its spread over draws, and how far the slope misleads, over training."""
    measures = {
        "perturbed_loss": ("perturbed training loss", "loss (nats)"),
        "loss_variation": ("how far draws differ", "sd / mean over draws"),
        "steepness": ("how far the slope misleads", "rise / predicted"),
    }
    ceiling = 2 * record["reference"] if record["reference"] else np.inf
    panels = {
        title: (_over(record, measure, ceiling if measure == "perturbed_loss" else np.inf), unit)
        for measure, (title, unit) in measures.items()
    }
    panels = {title: pair for title, pair in panels.items() if pair[0]}
    return Lines(
        "unevenness",
        f"How uneven the loss is under {record['objective']}, over training",
        {title: curves for title, (curves, _) in panels.items()},
        "optimiser step",
        [unit for _, unit in panels.values()],
        caption=_about(record)
        + (
            "; losses above twice a constant predictor's are drawn at that height"
            if record["reference"]
            else ""
        ),
        alt="Perturbed loss and its coefficient of variation over draws, over training, for each "
        "strength.",
        log_x=True,
        share_y=False,
    )


def _sharpness(record: Mapping[str, Any]) -> Chart:
    """Top eigenvalue and trace of the Hessian over training, in both units."""
    looks = record["looks"]
    steps = [look["step"] for look in looks]
    panels = {}
    for name, where in (
        ("weights", "per unit of the weights"),
        ("noise", f"per {record['scale']}"),
    ):
        seen = [look["sharpness"][name] for look in looks]
        trace, error = (
            _floats([one["trace"] for one in seen]),
            _floats([one["error"] for one in seen]),
        )
        panels[f"top eigenvalue, {where}"] = [
            Line(steps, _floats([one["top"] for one in seen]), "top eigenvalue")
        ]
        panels[f"trace, {where}"] = [
            Line(steps, trace, "trace", (trace - 2 * error, trace + 2 * error))
        ]
    return Lines(
        "sharpness",
        "Sharpness of the clean loss, over training",
        panels,
        "optimiser step",
        "nats per squared unit",
        caption=f"{_about(record)}; bands of the traces: two standard errors (Hutchinson)",
        alt="Top eigenvalue and trace of the Hessian over training, in units of the weights and of "
        "the noise's scale.",
        log_x=True,
        share_y=False,
        columns=2,
    )


def _tolerated(record: Mapping[str, Any]) -> Chart:
    """The tolerated strength beside the one that training asks for."""
    looks = record["looks"]
    steps = [look["step"] for look in looks]
    curves = [
        Line(steps, _floats([look["tolerated"] for look in looks]), "tolerated"),
        Line(
            steps,
            _floats([look["asked"] for look in looks]),
            f"asked: {record['schedule']}",
            dashed=True,
        ),
    ]
    return Lines(
        "tolerated",
        "The strength that the network tolerates, beside the one that training asks for",
        {"": curves},
        "optimiser step",
        f"strength ({record['unit']})",
        caption=f"tolerated: the largest strength of {record['objective']} with a perturbed "
        f"training loss of at most {record['budget']:.3g} nats; {_about(record)}",
        alt="Where the asked strength is above the tolerated one, training asks for more than the "
        "network can bear.",
    )


def _slices(record: Mapping[str, Any]) -> Chart:
    """The loss along each path, with the range over draws, and along random directions."""
    panels = {}
    for text, path in record["slices"]["along"].items():
        losses = np.asarray(path["losses"], dtype=float)
        band = (losses.min(1), losses.max(1)) if losses.shape[1] > 1 else None
        panels[f"{text}: {path['unit']}"] = [
            Line(path["places"], losses.mean(1), "mean, and the range over draws", band, colour=0)
        ]
    straight = record["slices"]["line"]
    losses = np.asarray(straight["losses"], dtype=float)
    panels["random direction, in units of each filter's norm"] = [
        Line(straight["places"], losses[:, k], f"random direction {k + 1}", colour=k + 1)
        for k in range(losses.shape[1])
    ]
    return Lines(
        "slices",
        "Slices of the training loss through the weights",
        panels,
        "distance, in the unit of the panel",
        "loss (nats)",
        caption=f"{_about(record)}; weights {record['mode']}",
        alt="Training loss against the distance along noise, along the steepest ascent, and along "
        "random directions.",
        levels={"a constant predictor": record["reference"]} if record["reference"] else None,
        share_y=False,
        columns=2,
    )


def _surface(record: Mapping[str, Any]) -> Chart:
    """The loss on a random plane; every fifth place has a label."""
    found = record["slices"]["surface"]
    losses = np.asarray(found["losses"], dtype=float)
    places = [
        f"{place:g}" if k % 5 == 0 else "" for k, place in enumerate(np.round(found["places"], 3))
    ]
    middle = len(places) // 2
    return Heat(
        "surface",
        "The training loss on a random plane through the weights",
        losses,
        places,
        places,
        "second direction, in units of each filter's norm",
        "first direction",
        "loss (nats)",
        [(middle, middle)],
        caption="the frame marks the weights; in each direction every filter is as long as the "
        "weights' own; "
        f"{_about(record)}",
        alt="Training loss over two random directions whose filters are as long as the weights' "
        "own.",
    )


def _failing(record: Mapping[str, Any]) -> Chart:
    """The gradient of trainings at constant strengths, with a ring at the probe that is judged."""
    failing = record["failing"]
    measures = {
        "norm of mean g / norm of g0": "mean_ratio",
        "signal / noise": "signal_to_noise",
        "norm of mean g": "mean_norm",
        "clean training accuracy": "clean_accuracy",
    }
    panels: dict[str, list[Line]] = {title: [] for title in measures}
    for arm in failing["arms"]:
        seen = probes(arm["course"])
        at, step = before_stall([arm["course"]])
        mark = at if step is not None and arm["word"] != "no failure" else None
        found = {
            name: _floats([one.get(f"probe_{name}") for one in seen]) for name in measures.values()
        }
        # ratios are relative to the clean gradient of the same probe, so this is the norm itself
        found["mean_norm"] = found["mean_ratio"] * _floats(
            [one["probe_clean_norm"] for one in seen]
        )
        for title, name in measures.items():
            line = Line(
                [one["step"] for one in seen],
                found[name],
                f"{arm['strength']:g}: {arm['word']}",
                mark=mark,
            )
            panels[title].append(line)
    return Lines(
        "failing",
        f"Trainings at constant strengths of {failing['objective']}, until one fails",
        panels,
        "optimiser step",
        ["ratio", "ratio", "nats per unit", "fraction"],
        caption="rings mark the last probe before the stall; a failure is called vanishing if the "
        f"ratio there is below {VANISHING:g} and clipping does not cure it, and variance if signal "
        f"/ noise is below {NOISY:g} and clipping cures it; {_about(record)}",
        alt="The gradient of trainings at constant strengths; the ring marks the probe at which "
        "the failing one is judged.",
        log_x=True,
        share_y=False,
        columns=2,
    )
