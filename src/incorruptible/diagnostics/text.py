"""A landscape in words: tables and sentences, made from its record.

Relies on: the record is plain data as `survey` keeps it; a number that is not finite is None there.
Keeps: nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .mechanism import FAILED

COLUMNS = {
    "mean_ratio": "Eg/g0",
    "signal_to_noise": "S/N",
    "cosine": "cosine",
    "dead": "dead",
    "loss_variation": "varies",
    "steepness": "steep",
}
LEGEND = {
    "loss": "perturbed training loss",
    "Eg/g0": "norm of the mean gradient over the clean one's",
    "S/N": "signal to noise",
    "dead": "share of units whose output is the same for every example",
    "varies": "sd of the loss over draws, as a share of its mean",
    "steep": "rise of the loss over the rise that the slope predicts",
    "quadratic": "the rise that the Hessian predicts",
}


def tables(record: Mapping[str, Any]) -> str:
    """The numbers of a landscape: over training at the schedule's strength, and at the end at every
    strength. A legend under the tables explains the columns that are shown.
    """
    looks, lines = record["looks"], []
    if len(looks) > 1:
        head = [
            "step",
            "epoch",
            "strength",
            "clean",
            "loss",
            *COLUMNS.values(),
            "tolerated",
            "top",
            "trace",
            "noise trace",
        ]
        body = [
            [_number(look["step"]), _number(look["epoch"]), *_seen(look, "schedule"), *_shape(look)]
            for look in looks
        ]
        lines += [
            f"Over training, at its own strength ({record['schedule']}):",
            *_aligned([head, *body]),
            "",
        ]
    last = looks[-1]
    head = ["strength", "clean", "loss", *COLUMNS.values(), "rise", "quadratic"]
    body = [
        [*_seen(last, name), *_rise(last["at"][name])] for name in last["at"] if name != "schedule"
    ]
    if body:
        where = "At the end of training" if len(looks) > 1 else "At these weights"
        lines += [f"{where}, {record['objective']}:", *_aligned([head, *body]), ""]
    noise = last["sharpness"]["noise"]
    weights = last["sharpness"]["weights"]
    lines.append(
        f"Sharpness there: top eigenvalue {weights['top']:.3g}, trace {_with(weights)}; per "
        f"{record['scale']}: top {noise['top']:.3g}, trace {_with(noise)} nats."
    )
    if last["tolerated"] is not None:
        lines.append(
            f"Tolerated there: {_tolerated(last, 'at least ')} (perturbed loss up to "
            f"{record['budget']:.3g} nats)."
        )
    shown = {word for line in lines for word in line.split()}
    return "\n".join(
        [
            *lines,
            "; ".join(f"{name}: {what}" for name, what in LEGEND.items() if name in shown) + ".",
        ]
    )


def _tolerated(look: Mapping[str, Any], beyond: str) -> str:
    """The tolerated strength, with `beyond` before it if none was found that is too large."""
    said = _number(look["tolerated"])
    return f"{beyond}{said}" if look.get("beyond") else said


def _with(found: Mapping[str, Any]) -> str:
    """A trace with its standard error, if there is one."""
    return f"{found['trace']:.3g}" + (
        f" ± {found['error']:.2g}" if found["error"] is not None else ""
    )


def _seen(look: Mapping[str, Any], name: str) -> list[str]:
    """The cells of one row: the gradient at the strength `name`."""
    found = look["at"][name]
    return [_number(found[key]) for key in ("strength", "clean_loss", "perturbed_loss", *COLUMNS)]


def _shape(look: Mapping[str, Any]) -> list[str]:
    """The cells of one row: what is tolerated, and the sharpness."""
    found = look["sharpness"]
    return [
        _tolerated(look, ">"),
        *(_number(found["weights"][key]) for key in ("top", "trace")),
        _number(found["noise"]["trace"]),
    ]


def _rise(found: Mapping[str, Any]) -> list[str]:
    """The cells of one row: the rise of the loss, and the rise that the Hessian predicts."""
    return [_number(found["perturbed_loss"] - found["clean_loss"]), _number(found["quadratic"])]


def _number(value: float | None) -> str:
    """A number with three digits, or "-" for None."""
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}" if abs(value) < 1e6 else ">1e6"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns, without columns that are empty in every row."""
    keep = [k for k in range(len(rows[0])) if any(row[k] != "-" for row in rows[1:])]
    widths = [max(len(row[k]) for row in rows) for k in keep]
    return [
        "  ".join(row[k].rjust(width) for k, width in zip(keep, widths, strict=True))
        for row in rows
    ]


def overrun_sentence(looks: Sequence[Mapping[str, Any]]) -> str | None:
    """Says at which step the asked strength first exceeds the tolerated one. Returns None if no
    strength was asked for, or if the clean loss was beyond the budget at every look.
    """
    # at the other looks even the clean loss is beyond the budget
    within = [look for look in looks if look["tolerated"]]
    if not within or not any(look["asked"] for look in looks):
        return None
    over = [look for look in within if look["asked"] > look["tolerated"]]
    if not over:
        return (
            f"From step {within[0]['step']} on the network tolerates the strength that training "
            "asks for."
        )
    first = over[0]
    return (
        f"Training asks for more than the network tolerates at {len(over)} of {len(within)} looks, "
        f"first at step {first['step']} (epoch {first['epoch']:g}): {first['asked']:.3g} asked, "
        f"{first['tolerated']:.3g} tolerated."
    )


def arm_sentence(objective: str, plain: float, arm: Mapping[str, Any]) -> str:
    """The result of one training: how much it lost and, if it failed, when and why."""
    said = (
        f"{objective} at {_strength(arm['strength'])}: {100 * arm['score']:.1f}% clean against "
        f"{100 * plain:.1f}%"
    )
    if arm["lost"] <= FAILED:
        return f"{said}: does not fail."
    said += ": fails"
    if arm.get("ratio") is None:
        return f"{said}; {arm['cause']}."
    when = (
        "no probe lies before the stall"
        if arm["step"] is None
        else f"at step {arm['step']}{_epoch(arm)}, before the stall"
    )
    said += (
        f"; {when}: mean gradient {arm['ratio']:.2f} of the clean one, signal to noise "
        f"{arm['signal']:.2f}, cosine {arm['cosine']:.2f}, {arm['dead']:.0%} dead units"
    )
    if arm["clipped_score"] is not None:
        idle = f", above all mean norms (up to {arm['norm']:.2f})," if arm["norm"] < 1 else ""
        cure = "restores" if arm["restored"] else "does not restore"
        said += f"; clipping at 1{idle} {cure} it ({100 * arm['clipped_score']:.1f}%)"
    elif arm["restored"] is False:
        said += "; it fails although its gradient is clipped already"
    return (
        f"{said}: "
        f"{arm['word']}{f' ({cause})' if (cause := arm['cause']) and arm['word'] == 'neither' else ''}."
    )


def _strength(value: float | str) -> str:
    """A constant strength as a number; a schedule as its text."""
    return value if isinstance(value, str) else f"{value:g}"


def _epoch(arm: Mapping[str, Any]) -> str:
    """The epoch in brackets, if it is known."""
    return "" if arm["epoch"] is None else f" (epoch {arm['epoch']:g})"


def failing_sentence(failing: Mapping[str, Any]) -> str:
    """Says at which strength, when, and by which mechanism training fails."""
    tried = ", ".join(f"{arm['strength']:g}" for arm in failing["arms"])
    if failing["fails_from"] is None:
        return (
            f"Training does not fail at any of {tried}; try stronger ones: --strengths "
            f"{2 * failing['arms'][-1]['strength']:g}."
            if failing["arms"]
            else "No constant strength was tried."
        )
    arm = failing["arms"][-1]
    when = (
        "from the first look on"
        if arm["step"] is None
        else f"stalling after step {arm['step']}{_epoch(arm)}"
    )
    return (
        f"Training with {failing['objective']} fails from {failing['fails_from']:g} on (of "
        f"{tried}), {when}, {_why(arm)}. This is one seed; a study compares seeds."
    )


def _why(arm: Mapping[str, Any]) -> str:
    """The mechanism of a failed training, as the end of a sentence."""
    if arm["word"] == "vanishing":
        return "because the gradient vanishes"
    if arm["word"] == "variance":
        return "by gradient variance"
    if arm.get("ratio") is None or arm["step"] is None or arm["restored"] is None:
        return f"by an unknown mechanism: {arm['cause']}"
    return (
        "and neither by a vanishing gradient nor by variance as they are defined (Eg/g0 "
        f"{arm['ratio']:.2f}, S/N {arm['signal']:.2f}, clipping "
        f"{'restores' if arm['restored'] else 'does not restore'} it)"
    )
