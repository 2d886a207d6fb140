"""`incorruptible measure`: one network, many chips."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Mistake, unknown
from .options import Also, Debug, Device, Force, Json, Protect, Seed, Weights
from .targets import device_of, target_of
from .terminal import command, progress, put, put_json, say

if TYPE_CHECKING:
    from ..measuring import Scores

__all__ = ["measure"]


def measure(
    target: Annotated[str, typer.Argument(help="A run's folder, or a task with --weights.")],
    corruption: Annotated[str, typer.Option("--corruption", help="With strengths: gaussian-filter-max:0,.1,.2.")],
    weights: Weights = None,
    draws: Annotated[int, typer.Option("--draws", help="Chips.", min=1)] = 25,
    reads: Annotated[int, typer.Option("--reads", help="Reads of each chip.", min=1)] = 1,
    read_noise: Annotated[
        str | None, typer.Option("--read-noise", help="What each read adds: gaussian-filter-max:0.01.")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="Data: test, validation or train.")] = "test",
    batchnorm: Annotated[
        str, typer.Option("--batchnorm", help="as-is, folded, or recalibrated on the training data.")
    ] = "as-is",
    also: Also = None,
    protect: Protect = None,
    batch: Annotated[int, typer.Option("--batch", help="Examples at a time.", min=1)] = 1024,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw score against strength here (.png and .svg).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep the result here (.json).")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json_: Json = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Measure a network on many chips: mean, spread, interval, quantiles, worst chip."""
    _check(out, (".json",), force)
    _check(figure, ("", ".png", ".svg"), force)
    if part not in ("test", "validation", "train"):
        raise unknown("part of the data", part, ["test", "validation", "train"])
    from ..arrays import select
    from ..corruptions import parse_sweep
    from ..measuring import measure as measure_model
    from ..tasks import batches, is_user_task

    sweep = parse_sweep(corruption)
    read = None
    if read_noise is not None:
        each = parse_sweep(read_noise)
        if len(each.strengths) != 1:
            raise Mistake(f"--read-noise {read_noise!r}: one strength is needed.")
        read = (each.corruption, each.strengths[0])
    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        task, model = target_of(target, weights, seed)
    model.to(device_of(device))
    arrays = select(model, also=also or (), without=protect or ())
    with progress("measure") as tell, redirect_stdout(sys.stderr):
        scores = measure_model(
            model,
            task.score,
            batches(task.part(part), batch),
            sweep.corruption,
            sweep.strengths,
            draws=draws,
            seed=seed,
            purpose=part,
            reads=reads,
            read=read,
            arrays=arrays,
            batchnorm=batchnorm,
            calibration=batches(task.part("train"), batch) if batchnorm == "recalibrated" else None,
            progress=lambda done, total: tell(done, total, "chips"),
        )
    if weights is None and is_user_task(target):
        say("incorruptible: no --weights came; these are the weights that model() makes.")
    found = {"target": target, "part": part, **scores.plain()}
    if out is not None:
        from ..records import write

        write(out, {**found, "command": command()})
    if figure is not None:
        _draw(scores, figure)
    if json_:
        put_json(found)
    else:
        put(str(scores))


def _check(path: Path | None, suffixes: tuple[str, ...], force: bool) -> None:
    """Whether a result can be written there, before it is measured."""
    if path is None:
        return
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.suffix not in suffixes or path.is_dir() or not folder.is_dir():
        kinds = " or ".join(suffix for suffix in suffixes if suffix)
        raise Mistake(f"{path}: a file that ends in {kinds}, in a folder, is needed.")
    targets = [path] if path.suffix == ".json" else [path.with_suffix(".png"), path.with_suffix(".svg")]
    for one in targets:
        if one.exists() and not force:
            raise Mistake(f"{one} is there already; --force overwrites it.")


def _draw(scores: Scores, path: Path) -> None:
    from ..drawing import Line, Lines, save

    rows = scores.rows()
    band = ([row["low"] for row in rows], [row["high"] for row in rows]) if scores.draws > 1 else None
    curves = [
        Line(scores.strengths, [row["mean"] for row in rows], "mean over chips", band),
        Line(scores.strengths, [row["worst"] for row in rows], "worst chip", dashed=True),
    ]
    chips = f"{scores.draws} chips, {scores.n_examples} examples, BatchNorm {scores.batchnorm}"
    axes = f"{scores.corruption}: {scores.corruption_unit}", f"{scores.name} ({scores.unit})"
    save(Lines("", "", {"": curves}, *axes, f"{chips}; band: 95%, Student's, over chips"), path)
