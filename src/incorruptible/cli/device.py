"""`incorruptible device`: what a device, or any corruption, does to weights, and which training
noise is as strong.

Relies on: `corruptions.equivalence.translate` computes every number; this module reads options and
writes the answer as text, JSON and a figure.
Keeps: a file that exists is refused before anything is computed, unless --force is given; stdout holds
the answer alone, and remarks and lines to type next go to stderr.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .advice import tell_drift
from .targets import (
    AlsoOption,
    DebugOption,
    ForceOption,
    JsonOption,
    OneTimeOption,
    OutOption,
    ProtectOption,
    SeedOption,
    WeightsOption,
    at_one_time,
    held_in,
    target_of,
)
from .terminal import check_output, give, say

if TYPE_CHECKING:
    from ..corruptions import Corruption
    from ..corruptions.equivalence import Translation
    from ..weights.arrays import Array

# From this share of bias in the squared error on, training on the device is proposed first, and
# training with Gaussian noise last. The noise has the size of the whole error and stands for its
# spread alone. `scripts/biased_devices.py` compares the two: at 64% bias and more, the device's own
# training is within .2 points on an MLP and 58 to 84 points ahead on a network with BatchNorm; below
# 10% they are within .7 points. Nothing was tried between 10% and 56%.
BIASED = 0.6


def device(
    corruption: Annotated[
        str,
        typer.Argument(
            help="A device (pcm-joshi, measured:file=cells.csv), or any other corruption."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="The network: the folder of a run, or a task together with --weights [none].",
            metavar="MODEL",
        ),
    ] = None,
    weights: WeightsOption = None,
    time: OneTimeOption = None,
    strength: Annotated[
        float | None,
        typer.Option("--strength", help="The strength [for devices 1, the error as measured]."),
    ] = None,
    also: AlsoOption = None,
    protect: ProtectOption = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw error or fit into this file (.png, .svg).")
    ] = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the error of a device against the weight, and the training noise that is as strong. With
    --for, both are for the weights of a network.
    """
    check_output(out, (".json",), force)
    check_output(figure, ("", ".png", ".svg"), force)
    if target is None and (weights, also, protect) != (None, None, None):
        raise UserError("--weights, --also and --protect are of a model: add --for MODEL.")
    from ..corruptions import Measured
    from ..corruptions.equivalence import translate

    chosen, at = _asked(corruption, time, strength)
    fit_figure = None
    if figure is not None and isinstance(chosen, Measured):
        fit_figure = (
            figure if target is None else figure.with_name(f"{figure.stem}-fit{figure.suffix}")
        )
        check_output(fit_figure, ("", ".png", ".svg"), force)
    task, arrays = (None, None) if target is None else _model(target, weights, seed, also, protect)
    found = translate(chosen, at, arrays)
    plain, text = {"target": target, **found.plain()}, str(found)
    if isinstance(chosen, Measured):
        from ..corruptions.fitted_cells import chart, report, rows

        plain["fit"] = rows(chosen)
        # A model asks for its own table.
        text = f"{report(chosen)}\n\n{text}" if target is None else text
        if fit_figure is not None:
            _save(chart(chosen), fit_figure)
    if figure is not None and figure != fit_figure:
        _draw(found, figure)
    if task is not None:
        plain["next"] = _next(found, task, weights)
    give(plain, text, out, json_)
    if task is not None:
        _advise(found, chosen)
    for line in plain.get("next", ()) if not json_ else ():
        say(f"next: {line}")


def _asked(text: str, time: str | None, strength: float | None) -> tuple[Corruption, float]:
    """The corruption and its strength.

    The strength stands in the text (dropconnect:.01) or in --strength. A device needs none: its
    strength is 1, the error as measured.
    """
    from ..corruptions import Device, parse, parse_sweep
    from ..specs.grammar import split

    spec = split(text)
    if spec.values:
        sweep = parse_sweep(spec)
        if strength is not None:
            raise UserError(
                f"{text!r} has a strength, and --strength {strength:g} is given too; give one of "
                "them."
            )
        if len(sweep.strengths) != 1:
            raise UserError(f"{text!r}: {len(sweep.strengths)} strengths; one is needed.")
        found, at = sweep.corruption, sweep.strengths[0]
    else:
        found = parse(spec)
        if strength is None and not isinstance(found, Device):
            raise UserError(
                f"{text}: at which strength? Add --strength S, in units of: {found.unit}."
            )
        at = 1.0 if strength is None else strength
    return at_one_time(found, spec, time), at


def _model(
    target: str, weights: Path | None, seed: int, also: list[str] | None, protect: list[str] | None
) -> tuple[str, list[Array]]:
    """The name of the task, and the weights that a corruption would perturb."""
    from ..weights.arrays import select

    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        network = target_of(target, weights, seed).trained(target, seed)
    held = held_in(network.recipe, also, protect)
    network.tell()
    if held.told:
        say(f"incorruptible: {held.told}.")
    task = network.recipe.task if network.recipe else target
    return task, list(select(network.model, held.also, held.protect))


def _biased(found: Translation) -> bool:
    """Whether bias is at least `BIASED` of the squared error on the weights of a model, and
    training on the corruption itself is possible.
    """
    return found.whole is not None and found.whole.bias >= BIASED and found.strength > 0


def _advise(found: Translation, corruption: Corruption) -> None:
    """Say on stderr why the corruption itself is the first training to try where bias is most of
    its error, and what corrects its drift.
    """
    if (whole := found.whole) is not None and _biased(found):
        say(
            f"incorruptible: {whole.bias:.0%} of the squared error is bias, which is the same on "
            "every chip. Gaussian noise in training cannot stand for it; train on "
            f"{found.corruption} itself first."
        )
    tell_drift([corruption])


def _next(found: Translation, task: str, weights: Path | None) -> list[str]:
    """The commands of two trainings: with plain noise that is as strong, and with the corruption.

    Plain noise comes last where it cannot stand for the error (`_biased`). It is left out above
    strength 1, where the noise is larger than the largest weight of a filter (a flipped exponent
    bit is as strong as 1e36).
    """
    import shlex

    assert found.whole is not None
    plain = found.whole.strength if found.whole.strength <= 1 else 0.0
    start = [] if weights is None else ["--from", str(weights)]
    ways = [("gaussian-filter-max", plain), (found.corruption, found.strength)]
    ways = ways[::-1] if _biased(found) else ways
    return [
        shlex.join(
            [
                "incorruptible",
                "train",
                task,
                "--objective",
                f"rwp({name})",
                "--strength",
                f"{strength:.3g}",
                *start,
            ]
        )
        for name, strength in ways
        if strength > 0
    ]


def _save(chart: Any, path: Path) -> None:
    from ..plots import save

    save(chart, path)


def _draw(found: Translation, path: Path) -> None:
    from ..plots import Line, Lines

    rows = found.fine
    x, mean = [row.x for row in rows], [row.mean for row in rows]
    band = [row.mean - row.std for row in rows], [row.mean + row.std for row in rows]
    # This line also gives both panels the same axis.
    none = Line([-1, 1], [0, 0], "no error", dashed=True, colour=6)
    panels = {"error": [Line(x, mean, "mean of the error, ± its standard deviation", band), none]}
    labels, of = ["error / max|W|"], "alone"
    if found.whole is not None:
        panels["weights"] = [
            Line(x, [100 * (row.share or 0.0) for row in rows], "weights of the model", colour=1)
        ]
        labels, of = (
            [*labels, f"% in each 1/{(len(rows) - 1) // 2} of max|W|"],
            f"{found.whole.weights} weights",
        )
    empty = sum(row.share == 0 for row in rows)
    gap = (
        f"no line at {empty} of {len(rows)} places, where the model has no weight" if empty else ""
    )
    asked = f"{found.corruption} at {found.strength:g} [{found.unit}]"
    note = "; ".join(filter(None, [asked, found.conditions, of, gap]))
    _save(
        Lines("", "", panels, "w / max|W| of the layer", labels, note, share_y=False, columns=1),
        path,
    )
