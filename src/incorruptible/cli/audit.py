"""`incorruptible audit`: which parameters a corruption touches and by how much, and which it
skips.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from ..errors import UserError
from .targets import (
    AlsoOption,
    DebugOption,
    JsonOption,
    ProtectOption,
    SeedOption,
    WeightsOption,
    held_in,
    target_of,
)
from .terminal import put, put_json


def audit(
    target: Annotated[str, typer.Argument(help="The folder of a run, or a task.")],
    corruption: Annotated[
        str, typer.Option("--corruption", help="The corruption and its one strength.")
    ] = "gaussian-filter-max:0.1",
    weights: WeightsOption = None,
    also: AlsoOption = None,
    protect: ProtectOption = None,
    seed: SeedOption = 0,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List what a corruption changes, by how much, and what it skips and why."""
    from ..corruptions import parse_sweep
    from ..evaluation.audit import audit as audit_model

    sweep = parse_sweep(corruption)
    if len(sweep.strengths) != 1:
        raise UserError(f"--corruption {corruption!r}: an audit takes one strength.")
    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        # Shapes are what matters here, so a task needs no weights.
        network = target_of(target, weights, seed, need_weights=False)
    held = held_in(network.recipe, also, protect)
    found = audit_model(
        network.model,
        sweep.corruption,
        sweep.strengths[0],
        also=held.also,
        protect=held.protect,
        seed=seed,
    )
    if json_:
        # What is held stands before the share and the rows.
        first = {"corruption": found.corruption, "strength": found.strength}
        put_json({**first, **held.plain(), **found.plain()})
    else:
        put(held.before(str(found)))
