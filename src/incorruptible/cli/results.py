"""`incorruptible results` and `incorruptible compare`: what a study has found so far.

Relies on: the library computes every number here; this module only writes tables.
Keeps: stdout holds the results alone, so that it can be read by programs, and no time, host or
path, so that equal studies print equal bytes. Remarks go to stderr.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .study import StudyName
from .targets import DebugOption, HomeOption, JsonOption
from .terminal import put, put_json, say

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV on stdout.")]


def results(
    name: StudyName,
    home: HomeOption = Path("runs"),
    csv_: Csv = False,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print what a study has found so far: every arm at every test strength, with 95% intervals
    over crossed seeds and examples. JSON has the verdicts too. Equal studies print equal bytes.
    """
    from ..studies.evidence import shown_in
    from ..studies.folder import find, named
    from ..studies.ranges import tabulated
    from ..studies.results import COLUMNS, findings, listed, summary

    folder = find(home, named(name), name)
    if json_:
        put_json(summary(folder))
        return
    if csv_:
        put_csv(COLUMNS, listed(folder))
        return
    every = list(findings(folder))
    shown = shown_in(folder.plan["score"]["unit"])
    for place, noise in enumerate(folder.plan["noises"]):
        if place:
            put("")
        put(
            f"{folder.plan['score']['name']} ({shown.unit}) under {noise['corruption']} "
            f"({noise['unit']})"
        )
        if noise.get("conditions"):
            put(noise["conditions"])
        own = [found for found in every if found.noise == noise["corruption"]]
        put_table(
            ["arm", *(f"{s:g}" for s in noise["strengths"]), "seeds"],
            [
                [
                    found.arm,
                    *(shown.half(cell.interval, " ±") for cell in found.cells),
                    str(found.cells[0].seeds),
                ]
                for found in own
            ],
        )
        whole = tabulated(
            [found.whole for found in own if found.whole is not None], folder.plan["score"]["unit"]
        )
        if whole is not None:
            put(f"\n{whole.title}")
            put_table(whole.head, whole.body)
    ends = folder.ends()
    say(
        f"{sum(ends.get(job.name) == 'finished' for job in folder.jobs)} of {len(folder.jobs)} "
        "runs finished; ± is half a 95% interval, over crossed seeds and examples, of worst and "
        "tolerance over seeds"
    )


def compare(
    name: StudyName,
    arms: Annotated[
        tuple[str, str],
        typer.Option(
            "--arms",
            help="Two arms, or two groups of arms by patterns: 'rwp *' sgd.",
            metavar="ARM ARM",
        ),
    ],
    home: HomeOption = Path("runs"),
    noise: Annotated[
        int,
        typer.Option(
            "--noise", help="The number of the noise in the study's list, counted from 1.", min=1
        ),
    ] = 1,
    csv_: Csv = False,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare two arms, or two groups of arms: paired differences at every test strength, with
    intervals over crossed seeds and examples, in words after Holm's correction over all rows.

    The table shows p after Holm's correction, on which the words rest. JSON and CSV hold p before
    the correction.
    """
    from ..errors import UserError
    from ..statistics import holm
    from ..studies import results as found
    from ..studies.evidence import shown_in
    from ..studies.folder import find, named
    from ..studies.outcomes import Outcomes

    folder = find(home, named(name), name)
    noises = folder.plan["noises"]
    if noise > len(noises):
        raise UserError(f"--noise {noise}: the study has {len(noises)}.")
    compared = found.compare(Outcomes(folder).whole(noise - 1), *arms)
    head = ["left", "right", "strength", "difference", "low", "high", "p", "word"]
    plain: list[list[Any]] = [
        [a.name, b.name, s, d.interval.estimate, d.interval.low, d.interval.high, d.p, word]
        for a, b, s, d, word in compared
    ]
    if json_:
        put_json([dict(zip(head, row, strict=True)) for row in plain])
    elif csv_:
        put_csv(head, plain)
    else:
        adjusted = holm([row[-2] for row in plain])
        factor, places, _, unit = shown_in(folder.plan["score"]["unit"])
        put_table(
            ["left", "right", "strength", f"left - right ({unit})", "p (Holm)", "word"],
            [
                [a, b, f"{s:g}", f"{d} ({low} to {high})", f"{p:.4f}", word]
                for (a, b, s, *ends, _, word), p in zip(plain, adjusted, strict=True)
                for d, low, high in [[f"{factor * end:+.{places}f}" for end in ends]]
            ],
        )
        say(
            f"{noises[noise - 1]['corruption']}; 95% intervals, crossed seeds x examples; p and "
            f"words after Holm over {len(plain)} rows"
        )


def put_csv(head: Sequence[str], body: list[list[Any]]) -> None:
    """Print a head and rows as comma-separated values."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *body])
    put(out.getvalue())


def put_table(head: list[str], body: list[list[str]]) -> None:
    """Print a head and rows in columns that are as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    for row in [head, *body]:
        put("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
