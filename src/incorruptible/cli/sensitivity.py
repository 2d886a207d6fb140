"""`incorruptible sensitivity`: which layers hurt when they are corrupted, and what is gained by
keeping a layer digital.

Keeps: the chips are those of the purpose that `--part` names, so that what was chosen on validation
data can be measured on other chips of the test data; options that do not fit are refused before the
network is loaded.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError
from .targets import (
    AlsoOption,
    BatchnormOption,
    BatchOption,
    DebugOption,
    DeviceOption,
    ExamplesOption,
    ForceOption,
    JsonOption,
    OneTimeOption,
    OutOption,
    PartOption,
    SeedOption,
    TargetArgument,
    WeightsOption,
    check_part,
    open_target,
    sweep_of,
)
from .terminal import check_output, draw_to, give, progress, say

OneStrengthOption = Annotated[
    str,
    typer.Option(
        "--corruption", help="The corruption and its one strength: gaussian-filter-max:.2."
    ),
]
ByOption = Annotated[
    str,
    typer.Option(
        "--by",
        help="What is corrupted together: layer, block, or block:DEPTH for modules at that depth.",
    ),
]
WhatIfOption = Annotated[
    list[str] | None,
    typer.Option(
        "--what-if-digital",
        help="Show what is gained if parameters that match PATTERNS, separated by commas, stay "
        "digital. May be given several times.",
        metavar="PATTERNS",
    ),
]
MapChipsOption = Annotated[int, typer.Option("--chips", help="The number of chips.")]
MapFigureOption = Annotated[
    Path | None,
    typer.Option("--figure", help="Draw the losses and gains into this file (.png and .svg)."),
]


def sensitivity(
    target: TargetArgument,
    corruption: OneStrengthOption,
    weights: WeightsOption = None,
    time: OneTimeOption = None,
    by: ByOption = "layer",
    what_if_digital: WhatIfOption = None,
    chips: MapChipsOption = 25,
    part: PartOption = "validation",
    batchnorm: BatchnormOption = "as-is",
    also: AlsoOption = None,
    examples: ExamplesOption = None,
    batch: BatchOption = 1024,
    figure: MapFigureOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Corrupt each layer alone, and all layers but one. This shows what each layer costs, and what
    is gained if it stays digital.
    """
    check_output(out, (".json",), force)
    check_output(figure, ("", ".png", ".svg"), force)
    check_part(part)
    from ..evaluation.sensitivity import sensitivity as map_of

    sweep = sweep_of(corruption, time)
    if len(sweep.strengths) != 1:
        raise UserError(f"--corruption {corruption!r}: sensitivity is measured at one strength.")
    on = open_target(
        target,
        weights,
        also,
        None,
        part=part,
        batch=batch,
        examples=examples,
        batchnorm=batchnorm,
        seed=seed,
        device=device,
        choosing="what to protect",
    )
    # A function of the user's own has no direction, and is refused in one line.
    score: Any = on.task.score
    sampling = on.sampling(*sweep, chips=chips, seed=seed, purpose=part)
    # At most 2 layers + 1 sets of arrays: each layer alone, all but each, and all.
    on.tell_cost(sampling, 2 * len(on.arrays) + 1)
    with progress("sensitivity") as tell, redirect_stdout(sys.stderr):
        found = map_of(
            on.model,
            score,
            on.data,
            sampling,
            by=by,
            what_if_digital=what_if_digital or (),
            progress=lambda done, total: tell(done, total, "chips"),
        )
    on.tell([sweep.corruption])
    if part == "test":
        say(
            "incorruptible: what to protect is a choice; chosen on test data, its test score would "
            "flatter it."
        )
    draw_to(figure, found)
    give(on.plain(found.plain()), on.held.before(str(found)), out, json_)
