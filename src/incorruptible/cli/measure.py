"""`incorruptible measure`: one network on many chips, alone or beside its weights before.

The verb reads the options into a target (network, arrays and data), one `Sampling` for each
`--corruption` and each time, and a `_Stopping`, which says which function of the library measures
them. Every function gives a result with a table, JSON and a figure, so that the rest of the verb
does not ask which one it was.

Relies on: `--time` splits a corruption into several samplings, whose results come in the same
order. Keeps: options that do not go together and files that may not be overwritten are refused
before the network is loaded; stdout has the result alone, and everything else goes to stderr.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import UserError
from .advice import tell_cost
from .targets import (
    AlsoOption,
    BatchnormOption,
    BatchOption,
    DebugOption,
    DeviceOption,
    ExamplesOption,
    ForceOption,
    JsonOption,
    OutOption,
    PartOption,
    ProtectOption,
    SeedOption,
    TargetArgument,
    WeightsOption,
    at_times,
    check_part,
    open_target,
    target_of,
)
from .terminal import check_output, draw_to, give, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ..corruptions import Corruption
    from ..evaluation import Sampling
    from ..evaluation.base import Charted
    from ..evaluation.sampling import SamplingOptions
    from ..specs.durations import Seconds
    from .targets import ScoringTarget

# ---- Options of this verb alone

CorruptionsOption = Annotated[
    list[str],
    typer.Option(
        "--corruption",
        help="The corruption and its strengths: gaussian-filter-max:0,.1,.2. May be given several"
        " times.",
        metavar="CORRUPTION",
    ),
]
ChipsOption = Annotated[
    int | None,
    typer.Option(
        "--chips",
        help="The number of chips [25]. With --half-width, the largest number [10000; 20000 with "
        "--subsample].",
        min=1,
    ),
]
HalfWidthOption = Annotated[
    float | None,
    typer.Option(
        "--half-width",
        help="Measure chips until the interval of the mean has this half-width, such as 0.0025.",
    ),
]
SubsampleOption = Annotated[
    bool,
    typer.Option(
        "--subsample",
        help="With --half-width: let each chip look at few images, which takes less time.",
    ),
]
ImagesOption = Annotated[
    int | None,
    typer.Option(
        "--images",
        help="With --subsample: the number of images for each chip [chosen by a first look].",
        min=1,
    ),
]
IntervalConfidenceOption = Annotated[
    float | None,
    typer.Option(
        "--confidence",
        help="With --half-width: the confidence of the interval [0.95].",
        metavar="FRACTION",
    ),
]
TimeOption = Annotated[
    str | None,
    typer.Option(
        "--time", help="The time since programming, or several times: 1s,1h,1d,1y.", metavar="TIMES"
    ),
]
ReadsOption = Annotated[
    int, typer.Option("--reads", help="The number of reads of each chip.", min=1)
]
ReadNoiseOption = Annotated[
    str | None,
    typer.Option("--read-noise", help="The noise that each read adds: gaussian-filter-max:0.01."),
]
AutocastOption = Annotated[
    str | None,
    typer.Option(
        "--autocast",
        help="bf16 computes forward passes in 16 bits. This saves time and models no chip [fp32].",
    ),
]
ChannelsLastOption = Annotated[
    bool,
    typer.Option(
        "--channels-last", help="Store images and kernels with their channels side by side."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="The number of processes, of one thread each, that share the chips on the CPU.",
        min=1,
    ),
]
FigureOption = Annotated[
    Path | None,
    typer.Option(
        "--figure", help="Draw the score against the strength into this file (.png and .svg)."
    ),
]


BeforeOption = Annotated[
    Path | None,
    typer.Option(
        "--before",
        help="Compare with these weights, or with the run in this folder, on the same chips.",
    ),
]


def measure(
    target: TargetArgument,
    corruption: CorruptionsOption,
    weights: WeightsOption = None,
    before: BeforeOption = None,
    chips: ChipsOption = None,
    half_width: HalfWidthOption = None,
    subsample: SubsampleOption = False,
    images: ImagesOption = None,
    confidence: IntervalConfidenceOption = None,
    time: TimeOption = None,
    reads: ReadsOption = 1,
    read_noise: ReadNoiseOption = None,
    part: PartOption = "test",
    batchnorm: BatchnormOption = "as-is",
    also: AlsoOption = None,
    protect: ProtectOption = None,
    examples: ExamplesOption = None,
    batch: BatchOption = 1024,
    autocast: AutocastOption = None,
    channels_last: ChannelsLastOption = False,
    workers: WorkersOption = None,
    figure: FigureOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a network on many chips: mean, spread, interval, quantiles and worst chip."""
    check_output(out, (".json",), force)
    check_output(figure, ("", ".png", ".svg"), force)
    check_part(part)
    stopping = _Stopping(chips, half_width, subsample, images, confidence, workers, before)
    stopping.check(reads)
    requests = _requests(corruption, time, figure is not None, stopping)
    on = open_target(
        target,
        weights,
        also,
        protect,
        part=part,
        batch=batch,
        examples=examples,
        batchnorm=batchnorm,
        seed=seed,
        device=device,
    )
    options: SamplingOptions = {
        "seed": seed,
        "purpose": part,
        "reads": reads,
        "read": _read(read_noise),
        "autocast": None if autocast == "fp32" else autocast,
        "channels_last": channels_last,
    }
    each = [
        on.sampling(one, request.strengths, **options)
        for request in requests
        for one in request.each
    ]
    found = stopping.found(on, each, _network_before(before, target, seed, device))
    on.tell(one.corruption for one in each)
    wholes = _gathered(requests, found)
    draw_to(figure, wholes[0])
    results = [whole.plain() for whole in wholes]
    plain = on.plain(results[0] if len(results) == 1 else {"results": results})
    give(plain, on.held.before("\n\n".join(map(str, wholes))), out, json_)


class _Stopping(NamedTuple):
    """How many chips are measured: a number of them, as many as a half-width takes, or a number of
    them for two networks, if `before` names weights to compare with.
    """

    chips: int | None
    half_width: float | None
    subsample: bool
    images: int | None
    confidence: float | None
    workers: int | None
    before: Path | None = None

    def check(self, reads: int) -> None:
        """Raises `UserError` for options that do not go together."""
        if self.half_width is None and self.subsample:
            raise UserError(
                "--subsample goes with --half-width, which says when to stop: --half-width 0.0025 "
                "--subsample."
            )
        if self.half_width is None and self.confidence is not None:
            raise UserError(
                "--confidence goes with --half-width: the interval without it is at 0.95."
            )
        if not self.subsample and self.images is not None:
            raise UserError(
                f"--images {self.images} goes with --subsample: without --subsample every chip "
                "looks at all images."
            )
        if self.workers is not None and self.half_width is not None:
            raise UserError(
                "--workers goes with --chips: --half-width looks at each chip before it takes the "
                "next."
            )
        if self.before is not None and self.half_width is not None:
            raise UserError(
                "--before compares a number of chips: give --chips in place of --half-width."
            )
        if self.subsample and reads > 1:
            raise UserError(
                f"--reads {reads}: --subsample reads each chip once; leave --reads or --subsample "
                "out."
            )

    def found(
        self, on: ScoringTarget, each: list[Sampling], before: nn.Module | None
    ) -> list[Charted]:
        """Measure each of these samplings, and say beforehand what that costs if it is much."""
        from ..evaluation.scoring import count_of

        if self.half_width is None:
            total = (self.chips or 25) * sum(len(one.strengths) * one.reads for one in each)
            networks = 1 if before is None else 2  # one after the other
            few = replace(each[0], strengths=each[0].strengths[-1:])
            with redirect_stdout(sys.stderr):
                tell_cost(
                    networks * total,
                    lambda: count_of(on.data),
                    lambda n: self._replace(chips=n)._one(on, few, lambda done, total: None),
                    at_once=networks,
                )
        found = []
        with progress("measure") as tell, redirect_stdout(sys.stderr):
            for place, sampling in enumerate(each):

                def told(done: int, total: int, place: int = place) -> None:
                    tell(place * total + done, len(each) * total, "chips")

                found.append(self._one(on, sampling, told, before))
        return found

    def _one(
        self,
        on: ScoringTarget,
        sampling: Sampling,
        tell: Callable[[int, int], None],
        before: nn.Module | None = None,
    ) -> Charted:
        from ..evaluation import measure, measure_mean, measure_until
        from ..evaluation.comparison import compare

        if self.chips is not None:
            sampling = replace(sampling, chips=self.chips)
        what = on.model, on.task.score, on.data, sampling
        if before is not None:
            return compare(before, *what, workers=self.workers or 0, progress=tell)
        if self.half_width is None:
            # None: the scores of examples are kept only if the examples come in one order.
            return measure(*what, keep_examples=None, workers=self.workers or 0, progress=tell)
        until = partial(measure_mean, images=self.images) if self.subsample else measure_until
        level = 0.95 if self.confidence is None else self.confidence
        return until(*what, half_width=self.half_width, confidence=level, progress=tell)


def _requests(
    texts: list[str], time: str | None, drawn: bool, stopping: _Stopping
) -> list[_Request]:
    """One request for each --corruption. Raises `UserError` for a text that is given twice, and for
    several corruptions or times where the other options take one.
    """
    asked = [_asked(text, time) for text in texts]
    if len(set(texts)) < len(texts):
        twice = next(one for one in texts if texts.count(one) > 1)
        raise UserError(f"--corruption {twice} is given twice.")
    if len(asked) > 1 and drawn:
        raise UserError(
            "--figure draws one corruption, and several are given: draw each in a call of its own."
        )
    if len(asked[0].each) > 1 and stopping.half_width is not None:
        raise UserError(
            f"--time {time}: --half-width stops at one time; give one time, or --chips."
        )
    if len(asked[0].each) > 1 and stopping.before is not None:
        raise UserError(f"--time {time}: --before compares at one time; give one time.")
    return asked


def _network_before(before: Path | None, target: str, seed: int, device: str) -> nn.Module | None:
    """The network of --before: that of a run's folder, or the target's with other weights."""
    if before is None:
        return None
    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        if before.is_dir():
            return target_of(str(before), None, seed).model.to(device)
        return target_of(target, before, seed).model.to(device)


def _gathered(requests: list[_Request], found: list[Any]) -> list[Charted]:
    """One result for each --corruption: those of several times are put together."""
    from ..evaluation import OverTime

    wholes, rest = [], iter(found)
    for request in requests:
        own = [next(rest) for _ in request.each]
        wholes.append(own[0] if len(own) == 1 else OverTime(request.times, tuple(own)))
    return wholes


class _Request(NamedTuple):
    """One --corruption: its strengths, and the corruption at each time of --time. Without --time,
    `times` is empty and `each` holds the corruption once.
    """

    strengths: tuple[float, ...]
    times: tuple[Seconds, ...]
    each: list[Corruption]


def _asked(text: str, time: str | None) -> _Request:
    from ..corruptions import parse_sweep
    from ..specs.grammar import split

    spec = split(text)
    sweep = parse_sweep(spec)
    times, each = at_times(sweep.corruption, spec, time)
    return _Request(sweep.strengths, tuple(times), each)


def _read(read_noise: str | None) -> tuple[Corruption, float] | None:
    """The corruption and the strength of --read-noise."""
    from ..corruptions import parse_sweep

    if read_noise is None:
        return None
    each = parse_sweep(read_noise)
    if len(each.strengths) != 1:
        raise UserError(f"--read-noise {read_noise!r}: one strength is needed.")
    return each.corruption, each.strengths[0]
