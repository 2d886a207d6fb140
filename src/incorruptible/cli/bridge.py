"""`incorruptible bridge`: simulates a network in CrossSim, or writes it for aihwkit-lightning.

Relies on: the simulators are optional and are imported inside the verbs, so help works without
them. Keeps: what the user's own code and CrossSim print goes to standard error, because standard
output is for data; `crosssim` measures the same chips twice, with converters and wires and without,
so the difference is theirs alone.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from pickle import PicklingError
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .targets import (
    BatchOption,
    DebugOption,
    ForceOption,
    JsonOption,
    OutOption,
    PartOption,
    ProtectOption,
    SeedOption,
    TargetArgument,
    WeightsOption,
    check_part,
    first_of,
    target_of,
)
from .terminal import Once, check_output, give, progress, put, put_json

if TYPE_CHECKING:
    from ..evaluation import Sampling, Scores

bridge = typer.Typer(
    help="Simulate a network in CrossSim, or hand it to aihwkit-lightning.", no_args_is_help=True
)


PeerDeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="The device of CrossSim: PCMJoshi, RRAMMilo, RRAMWan, SONOS or another."
    ),
]
MagnitudeOption = Annotated[
    float | None, typer.Option("--magnitude", help="The size of a plain device's error.")
]
SmallestOption = Annotated[
    float | None, typer.Option("--r-min", help="The smallest resistance of a cell in ohm.")
]
LargestOption = Annotated[
    float | None, typer.Option("--r-max", help="The largest resistance of a cell in ohm.")
]
SinceOption = Annotated[
    str, typer.Option("--time", help="The time since programming, for SONOS: 1d.")
]
CellBitsOption = Annotated[
    int,
    typer.Option(
        "--cell-bits", help="The number of bits of a cell; 0 allows any conductance.", min=0
    ),
]
AdcBitsOption = Annotated[
    int, typer.Option("--adc-bits", help="The number of bits of the ADCs; 0 is ideal.", min=0)
]
DacBitsOption = Annotated[
    int, typer.Option("--dac-bits", help="The number of bits of the DACs; 0 is ideal.", min=0)
]
WireOption = Annotated[
    float,
    typer.Option(
        "--wire", help="The resistance in ohm between two cells of a row, and of a column."
    ),
]
SimulatedChipsOption = Annotated[int, typer.Option("--chips", help="The number of chips.", min=1)]
FewExamplesOption = Annotated[
    int | None,
    typer.Option(
        "--examples",
        help="Use only this many examples, the first ones; CrossSim is slow [all].",
        min=1,
    ),
]


@bridge.command("crosssim", cls=Once)
def crosssim(
    target: TargetArgument,
    device: PeerDeviceOption,
    weights: WeightsOption = None,
    magnitude: MagnitudeOption = None,
    r_min: SmallestOption = None,
    r_max: LargestOption = None,
    time: SinceOption = "0s",
    cell_bits: CellBitsOption = 0,
    adc_bits: AdcBitsOption = 0,
    dac_bits: DacBitsOption = 0,
    wire: WireOption = 0.0,
    chips: SimulatedChipsOption = 10,
    examples: FewExamplesOption = None,
    part: PartOption = "test",
    protect: ProtectOption = None,
    batch: BatchOption = 256,
    out: OutOption = None,
    seed: SeedOption = 0,
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Simulate a network on chips of CrossSim.

    The same chips are also measured by this package, with the errors of the weights alone. The
    difference is what converters and wires do.
    """
    check_output(out, (".json",), force)
    check_part(part)
    from ..bridges import CrossSim, parameters, programmed
    from ..evaluation import Sampling
    from ..tasks import batches
    from ..weights.arrays import select

    params = parameters(
        device,
        r_min=r_min,
        r_max=r_max,
        magnitude=magnitude,
        time=time,
        cell_bits=cell_bits,
        adc_bits=adc_bits,
        dac_bits=dac_bits,
        wire=wire,
    )
    with redirect_stdout(sys.stderr):  # what the user's own code, and CrossSim, print is no data
        network = target_of(target, weights, seed).trained(target, seed)
        task, model = network.task, network.model
        data = first_of(batches(task.part(part), batch), examples)
        calibration = batches(task.part("train"), batch) if adc_bits or dac_bits else None
        sampling = Sampling(
            CrossSim(programmed(params)),
            [0, 1],
            chips=chips,
            seed=seed,
            purpose=part,
            arrays=select(model, protect=protect or ()),
        )
        simulated, native = _both(
            model, task.score, data, params, protect or [], calibration, sampling
        )
    network.tell()
    apart = _difference(simulated.values[0] - native.values[1])
    plain = {
        "target": target,
        "part": part,
        "simulated": simulated.plain(),
        "weights_alone": native.plain(),
        "difference": apart,
    }
    give(plain, _told(simulated, native, apart), out, json_)


def _both(
    model: Any,
    score: Any,
    data: Any,
    params: Any,
    protect: list[str],
    calibration: Any,
    sampling: Sampling,
) -> tuple[Scores, Scores]:
    """Scores of the full simulation (at strength 1), and of the weights' errors alone (at the
    strengths of `sampling`), on the same chips.
    """
    from ..bridges import evaluate
    from ..evaluation import measure

    with progress("bridge crosssim") as tell:
        simulated = evaluate(
            model,
            score,
            data,
            params,
            protect=protect,
            calibration=calibration,
            chips=sampling.chips,
            seed=sampling.seed,
            purpose=sampling.purpose,
            progress=lambda done, total: tell(done, total, "chips"),
        )
    return simulated, measure(model, score, data, sampling)


@bridge.command("aihwkit-lightning", cls=Once)
def aihwkit_lightning(
    target: TargetArgument,
    out: Annotated[
        Path,
        typer.Option("--out", help="The file for the whole network, written by torch.save (.pt)."),
    ],
    weights: WeightsOption = None,
    noise: Annotated[
        float,
        typer.Option(
            "--noise",
            help="The strength of AddNormalPerChannel in training mode, which is our "
            "gaussian-filter-max.",
        ),
    ] = 0.0,
    protect: ProtectOption = None,
    seed: SeedOption = 0,
    json_: JsonOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a network with aihwkit-lightning's layers."""
    import torch

    from ..bridges import noisy_configuration, to_aihwkit_lightning
    from ..files.records import write_atomically

    if out.suffix != ".pt" or out.is_dir():
        raise UserError(f"{out}: a file that ends in .pt is needed.")
    if out.exists() and not force:
        raise UserError(f"{out} is there already; --force overwrites it.")
    config = noisy_configuration(noise)
    with redirect_stdout(sys.stderr):
        network = target_of(target, weights, seed)
        task, model = network.task, network.model
        made = to_aihwkit_lightning(model, config, protect=protect or ())
        far = _apart(model, made, task.test)
        _refuse_task_layers(made)
        try:
            write_atomically(out, lambda temporary: torch.save(made, temporary))
        except (AttributeError, TypeError, PicklingError) as problem:
            # pickle raises these for objects that it cannot name.
            raise UserError(
                f"{type(model).__name__} cannot be pickled ({problem}); call "
                "bridges.to_aihwkit_lightning."
            ) from problem
    network.tell()
    kinds = [
        type(module).__name__
        for module in made.modules()
        if type(module).__name__.startswith("Analog")
    ]
    plain = {
        "target": target,
        "out": str(out),
        "layers": kinds,
        "noise": noise,
        "largest_difference": far,
    }
    if json_:
        put_json(plain)
    else:
        put(
            f"{out}: {', '.join(f'{kinds.count(kind)} {kind}' for kind in dict.fromkeys(kinds))}; "
            f"largest difference from ours on a batch of the test data, without noise: {far:.2g}\n"
            f'torch.load("{out}", weights_only=False) reads it where aihwkit_lightning is installed; '
            "this runs code, so load only files of your own."
        )


def _refuse_task_layers(made: Any) -> None:
    """Raises `UserError` for layers whose classes are in the task's file, where torch.load would
    not find them.
    """
    for module in made.modules():
        # A file of the user's is imported under a name that begins so.
        if type(module).__module__.startswith("incorruptible_task_"):
            raise UserError(
                f"{type(module).__name__} is a class of the task's file, where torch.load would not "
                "find it: name the task as package.module:NAME, or call "
                "incorruptible.bridges.to_aihwkit_lightning in a script of your own."
            )


def _difference(values: Any) -> dict[str, float]:
    """The mean of the differences over chips, with Student's 95% interval."""
    from ..statistics import t_interval

    if len(values) < 2:
        return {"mean": float(values.mean()), "low": float("nan"), "high": float("nan")}
    low, mean, high = t_interval(values, 0.95)
    return {"mean": mean, "low": low, "high": high}


def _told(simulated: Scores, native: Scores, difference: dict[str, float]) -> str:
    titles = ("", "chips", "mean", "sd", "worst")
    lines = [
        f"{simulated.name} ({simulated.unit}) under {simulated.corruption}; {simulated.n_examples} "
        f"examples, seed {simulated.seed} ({simulated.purpose}), BatchNorm {simulated.batchnorm}",
        "  ".join(f"{title:>{width}}" for title, width in zip(titles, _WIDTHS, strict=True)),
    ]
    for name, scores, row in (
        ("clean", native, 0),
        ("weights alone", native, 1),
        ("full simulation", simulated, 0),
    ):
        chips = 1 if name == "clean" else scores.chips
        spread = f"{scores.spread()[row]:.4f}" if chips > 1 else "-"
        cells = name, f"{chips}", f"{scores.mean()[row]:.4f}", spread, f"{scores.worst()[row]:.4f}"
        lines.append(
            "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
        )
    low, mean, high = difference["low"], difference["mean"], difference["high"]
    interval = (
        f", 95% interval {low:+.4f} to {high:+.4f} over chips (Student's)" if low == low else ""
    )
    lines.append(f"full simulation - weights alone, on the same chips: {mean:+.4f}{interval}")
    return "\n".join(lines)


_WIDTHS = (15, 6, 7, 7, 7)


def _apart(model: Any, made: Any, data: Any) -> float:
    """The largest difference between two networks' answers to the first batch, in eval mode."""
    import torch

    from ..tasks import batches
    from ..tasks.scores import predict
    from ..weights.batchnorm import evaluating

    batch = next(iter(batches(data, 64)))
    with evaluating(model), evaluating(made), torch.inference_mode():
        return float((predict(model, batch)[0] - predict(made, batch)[0]).abs().max())
