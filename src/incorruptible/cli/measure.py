"""`incorruptible measure`: one network, many chips."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import UserError
from .advice import tell_cost, tell_drift
from .targets import (
    AlsoOption,
    DebugOption,
    DeviceOption,
    ExamplesOption,
    ForceOption,
    JsonOption,
    ProtectOption,
    SeedOption,
    WeightsOption,
    check_part,
    device_of,
    first_of,
    held_in,
    target_of,
    tell_share,
)
from .terminal import check_output, give, progress, say

if TYPE_CHECKING:
    from ..corruptions import Corruption
    from ..evaluation import AnytimeMeans, Means, OverTime, Scores
    from ..specs.durations import Seconds

__all__ = ["measure"]


def measure(
    target: Annotated[str, typer.Argument(help="A run's folder, or a task with --weights.")],
    corruption: Annotated[
        list[str],
        typer.Option(
            "--corruption", help="With strengths: gaussian-filter-max:0,.1,.2; may come again."
        ),
    ],
    weights: WeightsOption = None,
    chips: Annotated[
        int | None,
        typer.Option(
            "--chips",
            help="How many [25; at most 10000 with --half-width, 20000 with --subsample].",
            min=1,
        ),
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option(
            "--half-width", help="Take chips until the mean is known to this half-width: 0.0025."
        ),
    ] = None,
    subsample: Annotated[
        bool,
        typer.Option(
            "--subsample", help="With --half-width: sooner, by chips that look at few images each."
        ),
    ] = False,
    images: Annotated[
        int | None,
        typer.Option(
            "--images", help="Of each chip, with --subsample [chosen by a first look].", min=1
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Of that interval [0.95].", metavar="FRACTION"),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", help="Since programming, with units: 1s,1h,1d,1y.", metavar="TIMES"),
    ] = None,
    reads: Annotated[int, typer.Option("--reads", help="Reads of each chip.", min=1)] = 1,
    read_noise: Annotated[
        str | None,
        typer.Option("--read-noise", help="What each read adds: gaussian-filter-max:0.01."),
    ] = None,
    part: Annotated[str, typer.Option("--part", help="Data: test, validation or train.")] = "test",
    batchnorm: Annotated[
        str,
        typer.Option("--batchnorm", help="as-is, folded, or recalibrated on the training data."),
    ] = "as-is",
    also: AlsoOption = None,
    protect: ProtectOption = None,
    examples: ExamplesOption = None,
    batch: Annotated[int, typer.Option("--batch", help="Examples at a time.", min=1)] = 1024,
    autocast: Annotated[
        str | None,
        typer.Option(
            "--autocast",
            help="bf16: forward passes in 16 bits, for speed; no property of the chip [fp32].",
        ),
    ] = None,
    channels_last: Annotated[
        bool,
        typer.Option(
            "--channels-last", help="Lay images and kernels out with their channels side by side."
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", help="Processes of one thread that share the chips, on the CPU.", min=1
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw score against strength here (.png and .svg)."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep the result here (.json).")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a network on many chips: mean, spread, interval, quantiles, worst chip."""
    check_output(out, (".json",), force)
    check_output(figure, ("", ".png", ".svg"), force)
    check_part(part)
    _check_asked(half_width, subsample, images, confidence, reads, workers)
    from ..evaluation import OverTime
    from ..evaluation.scoring import count_of
    from ..tasks import batches, is_user_task
    from ..weights.arrays import select

    asked = [_asked(text, time) for text in corruption]
    if len(set(corruption)) < len(corruption):
        raise UserError(
            f"--corruption {next(one for one in corruption if corruption.count(one) > 1)} came "
            "twice."
        )
    if len(asked) > 1 and figure is not None:
        raise UserError(
            "--figure draws one corruption, and several came: draw each in a call of its own."
        )
    if len(asked[0].each) > 1 and half_width is not None:
        raise UserError(f"--time {time}: --half-width stops at one time; give one, or --chips.")
    with redirect_stdout(sys.stderr):  # what the user's own code prints is no data
        held = held_in(target, also, protect)
        task, model = target_of(target, weights, seed)
    model.to(device_of(device))
    data = first_of(batches(task.part(part), batch), examples)
    common: dict[str, Any] = {
        "seed": seed,
        "purpose": part,
        "reads": reads,
        "read": _read(read_noise),
        "arrays": select(model, held.also, held.protect),
        "batchnorm": batchnorm,
        "calibration": batches(task.part("train"), batch) if batchnorm == "recalibrated" else None,
        "autocast": None if autocast == "fp32" else autocast,
        "channels_last": channels_last,
        **({} if workers is None else {"workers": workers}),
    }
    level = 0.95 if confidence is None else confidence
    calls = [(one, sweep.strengths) for sweep in asked for one in sweep.each]
    if half_width is None:
        total = (chips or 25) * sum(len(strengths) for _, strengths in calls) * reads
        with redirect_stdout(sys.stderr):
            tell_cost(
                total,
                lambda: count_of(data),
                lambda n: _found(
                    (model, task.score, data, calls[0][0], calls[0][1][-1:]), n, None, level, common
                ),
            )
    found: list[Any] = []
    with progress("measure") as tell, redirect_stdout(sys.stderr):
        for place, call in enumerate(calls):
            common["progress"] = lambda done, total, p=place: tell(
                p * total + done, len(calls) * total, "chips"
            )
            what = model, task.score, data, *call
            if half_width is not None and subsample:
                found.append(_mean(what, chips, half_width, level, images, common))
            else:
                found.append(_found(what, chips, half_width, level, common))
    if weights is None and is_user_task(target):
        say("incorruptible: no --weights came; these are the weights that model() makes.")
    tell_share(common["arrays"], model)
    tell_drift(corruption for corruption, _ in calls)
    wholes = []
    for sweep in asked:
        own, found = found[: len(sweep.each)], found[len(sweep.each) :]
        wholes.append(own[0] if len(own) == 1 else OverTime(sweep.times, tuple(own)))
    if figure is not None:
        _draw(wholes[0], figure)
    results = [whole.plain() for whole in wholes]
    plain = {"target": target, "part": part, **held.plain()}
    plain |= results[0] if len(results) == 1 else {"results": results}
    give(plain, held.before("\n\n".join(map(str, wholes))), out, json_)


class _Request(NamedTuple):
    """One --corruption: its strengths, and itself at each time of --time, or once."""

    strengths: tuple[float, ...]
    times: tuple[Seconds, ...]
    each: list[Corruption]


def _asked(text: str, time: str | None) -> _Request:
    from ..corruptions import parse_sweep
    from ..specs.grammar import split

    sweep = parse_sweep(text)
    if time is not None and "time" in split(text).fields:
        raise UserError(f"{text!r} has a time, and --time {time} came too; give one.")
    times, each = _at_times(sweep.corruption, time)
    return _Request(sweep.strengths, tuple(times), each)


def _check_asked(
    half_width: float | None,
    subsample: bool,
    images: int | None,
    confidence: float | None,
    reads: int,
    workers: int | None,
) -> None:
    """A `UserError` for options that do not go together."""
    if half_width is None and subsample:
        raise UserError(
            "--subsample goes with --half-width, which says when to stop: --half-width 0.0025 "
            "--subsample."
        )
    if half_width is None and confidence is not None:
        raise UserError("--confidence goes with --half-width: the interval without it is at 0.95.")
    if not subsample and images is not None:
        raise UserError(
            f"--images {images} goes with --subsample: without it every chip looks at all of them."
        )
    if workers is not None and half_width is not None:
        raise UserError(
            "--workers goes with --chips: --half-width looks at each chip before it takes the next."
        )
    if subsample and reads > 1:
        raise UserError(
            f"--reads {reads}: --subsample reads each chip once; leave --reads or --subsample out."
        )


def _mean(
    asked: tuple[Any, ...],
    chips: int | None,
    half_width: float,
    confidence: float,
    images: int | None,
    common: dict[str, Any],
) -> Means:
    from ..evaluation import measure_mean

    options = {name: value for name, value in common.items() if name != "reads"}
    if chips is not None:
        options["max_chips"] = chips
    return measure_mean(
        *asked, half_width=half_width, confidence=confidence, images=images, **options
    )


def _found(
    asked: tuple[Any, ...],
    chips: int | None,
    half_width: float | None,
    confidence: float,
    common: dict[str, Any],
) -> Scores | AnytimeMeans:
    from ..evaluation import measure, measure_until

    if half_width is None:
        # None: where examples come in another order each time, they cannot be told apart
        return measure(*asked, chips=chips or 25, keep_examples=None, **common)
    return measure_until(
        *asked, half_width=half_width, max_chips=chips or 10_000, confidence=confidence, **common
    )


def _at_times(corruption: Corruption, time: str | None) -> tuple[list[Seconds], list[Corruption]]:
    """The times in --time and the corruption at each of them; itself, at no time, without."""
    from ..corruptions import at_time
    from ..specs.durations import seconds

    if time is None:
        return [], [corruption]
    times = [seconds(one) for one in time.split(",")]
    if len(set(times)) < len(times):
        raise UserError(f"--time {time}: one comes twice.")
    return times, [at_time(corruption, one) for one in times]


def _read(read_noise: str | None) -> tuple[Corruption, float] | None:
    """What each read adds."""
    from ..corruptions import parse_sweep

    if read_noise is None:
        return None
    each = parse_sweep(read_noise)
    if len(each.strengths) != 1:
        raise UserError(f"--read-noise {read_noise!r}: one strength is needed.")
    return each.corruption, each.strengths[0]


def _draw(found: Scores | AnytimeMeans | Means | OverTime, path: Path) -> None:
    from ..evaluation import Means, OverTime, Scores
    from ..plots import Line, Lines, save

    if isinstance(found, OverTime):
        _draw_over_time(found, path)
        return

    rows, last = found.rows(), "worst" if isinstance(found, Scores) else "lowest"
    band = None
    if not isinstance(found, Scores) or found.chips > 1:
        band = [row["low"] for row in rows], [row["high"] for row in rows]
    curves = [
        Line(found.strengths, [row["mean"] for row in rows], "mean over chips", band),
    ]
    if not isinstance(found, Means):  # chips that look at few images have no score of their own
        curves.append(
            Line(found.strengths, [row[last] for row in rows], f"{last} chip", dashed=True)
        )
    few, many = min(map(len, found.values)), max(map(len, found.values))
    chips = f"{many} chips" if few == many else f"{few} to {many} chips"
    if isinstance(found, Scores):
        level = "95%, Student's"
    else:
        kind = "Student's, corrected for stopping" if isinstance(found, Means) else "anytime-valid"
        level = f"confidence {found.confidence:g}, {kind}"
    note = (
        f"{chips}, {found.n_examples} examples, BatchNorm {found.batchnorm}; band: {level}, over "
        "chips"
    )
    note = "; ".join(filter(None, [getattr(found, "conditions", ""), note]))
    axes = f"{found.corruption}: {found.corruption_unit}", f"{found.name} ({found.unit})"
    save(Lines("", "", {"": curves}, *axes, note), path)


def _draw_over_time(found: OverTime, path: Path) -> None:
    from ..plots import Line, Lines, save

    last, curves = found.scores[-1], []
    # 0 s has no place on a logarithmic axis.
    later = [place for place, time in enumerate(found.times) if time > 0]
    for k, strength in enumerate(last.strengths):
        rows = [found.scores[place].rows()[k] for place in later]
        band = (
            ([row["low"] for row in rows], [row["high"] for row in rows])
            if last.chips > 1
            else None
        )
        label = f"strength {strength:g}"
        curves.append(
            Line([float(found.times[p]) for p in later], [row["mean"] for row in rows], label, band)
        )
    left = " (0 s is left out)" if len(later) < len(found.times) else ""
    note = (
        f"{found.conditions}; {last.chips} chips, {last.n_examples} examples; band: 95%, "
        f"Student's, over chips{left}"
    )
    axes = "time after programming", f"{last.name} ({last.unit})"
    ticks = {float(time): str(time) for time in found.times}
    save(Lines("", "", {"": curves}, *axes, note, log_x=True, ticks=ticks), path)
