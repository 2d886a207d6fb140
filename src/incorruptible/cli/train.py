"""`incorruptible train`: one recipe, one folder."""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .targets import (
    AlsoOption,
    DebugOption,
    DeviceOption,
    HomeOption,
    JsonOption,
    ProtectOption,
    device_of,
    tell_share,
)
from .terminal import command, one_voice, progress, put, put_json, say

if TYPE_CHECKING:
    from ..training.recipe import Recipe

__all__ = ["train"]


def train(
    task: Annotated[
        str | None, typer.Argument(help="A task by name, FILE.py:NAME or package.module:NAME.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="For the task images: hf:OWNER/NAME, parquet:PATH or folder:PATH."
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option("--objective", help="Such as 'rwp(gaussian-filter-max)' or sam [plain]."),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option("--strength", help="A schedule: 0.3, linear:0:0.3, warmup-hold:0.5 ... [0]."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="[40]")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="[64]")] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="sgd or adamw [sgd].")
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="[0.05]")] = None,
    momentum: Annotated[float | None, typer.Option("--momentum", help="[0.9]")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="[0.0005]")] = None,
    decay: Annotated[
        str | None, typer.Option("--decay", help="Learning rate: cosine or constant [cosine].")
    ] = None,
    clip: Annotated[
        float | None, typer.Option("--clip", help="Bound on the gradient's norm [none].")
    ] = None,
    clip_weights: Annotated[
        float | None,
        typer.Option(
            "--clip-weights",
            help="Bound on weights, in standard deviations of their layer [none]; 2.5, say.",
        ),
    ] = None,
    batchnorm: Annotated[
        str | None,
        typer.Option(
            "--batchnorm", help="Which pass moves running statistics: noisy, clean, frozen."
        ),
    ] = None,
    checkpoint: Annotated[
        list[float] | None,
        typer.Option(
            "--checkpoint", help="Share of training at which weights are kept too; may come again."
        ),
    ] = None,
    also: AlsoOption = None,
    protect: ProtectOption = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="Weights to fine-tune from: a file, or a run's folder."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="A TOML file with the same entries; options go before it."),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option("--accumulate", help="Parts that a batch is cut into, for less memory [1]."),
    ] = None,
    autocast: Annotated[
        str | None,
        typer.Option(
            "--autocast", help="bf16 or fp16: passes in 16 bits; weights stay fp32 [fp32]."
        ),
    ] = None,
    channels_last: Annotated[
        bool | None,
        typer.Option("--channels-last", help="Lay images out with their channels side by side."),
    ] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile", help="Pass the network through torch.compile.")
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            "--noise", help="exact, or banked: training's normal numbers from a bank [exact]."
        ),
    ] = None,
    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            help="Processes that torchrun starts: torchrun ... -m incorruptible train [1].",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything that is random [0].", min=0)
    ] = None,
    device: DeviceOption = "cpu",
    threads: Annotated[
        int, typer.Option("--threads", help="Processor threads; part of a run's identity.", min=1)
    ] = 1,
    home: HomeOption = Path("runs"),
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a network by a recipe, in a folder of its own; a killed training goes on when called
    again.
    """
    given = {
        "task": task,
        "objective": objective,
        "strength": strength,
        "epochs": epochs,
        "batch": batch,
        "optimizer": optimizer,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "decay": decay,
        "clip": clip,
        "clip_weights": clip_weights,
        "batchnorm": batchnorm,
        "checkpoints": sorted(checkpoint) if checkpoint else None,
        "also": also,
        "protect": protect,
        "start": None
        if start is None
        else str(start / "weights.safetensors" if start.is_dir() else start),
        "accumulate": accumulate,
        "autocast": autocast,
        "channels_last": channels_last,
        "compiled": compiled,
        "ranks": ranks,
        "noise": noise,
        "seed": seed,
    }
    wish = {**_toml(recipe), **{name: value for name, value in given.items() if value is not None}}
    if data is not None:
        from ..tasks import with_data

        wish["task"] = with_data(str(wish.get("task", "images")), data)
    if "task" not in wish:
        raise UserError(
            "no task came: give one (digits, FILE.py:NAME), or a --recipe that names it."
        )
    from ..training.recipe import parse

    with one_voice():
        _train(parse(wish), home, device, threads, json_)


def _train(wanted: Recipe, home: Path, device: str, threads: int, json_: bool) -> None:
    from ..runs import train as train_run
    from ..training import promised

    first = promised(wanted.ranks, command()) == 0
    _agree(wanted)
    bar = progress("train") if first else nullcontext(lambda *said: None)
    # What the user's own code prints is no data.
    with (
        bar as tell,
        redirect_stdout(sys.stderr if first else io.StringIO()),
    ):
        done = train_run(
            wanted,
            home / "trained",
            device=device_of(device),
            threads=threads,
            progress=lambda epoch, total, metrics: tell(
                epoch, total, f"loss {metrics['loss']:.3f}, strength {metrics['strength']:g}"
            ),
        )
    if first and wanted.objective != "plain":
        model = done.model()
        tell_share(wanted.arrays(model), model)
    last = done.record["metrics"][-1]
    diverged = last["loss"] is None
    if first and json_:
        put_json({"folder": str(done.folder), **done.record})
    elif first:
        put(
            f"{wanted.task}: {wanted.objective} at {wanted.strength}, {wanted.epochs} epochs, seed "
            f"{wanted.seed}"
        )
        put(
            f"last epoch: loss {_number(last['loss'])} at strength {last['strength']:g}; steps "
            f"skipped: {done.record['skipped']}"
        )
        put(f"run: {done.folder}")
        if not diverged:
            say(f"next: {_next(done.folder, device)}")
    if first and diverged:
        say(
            "incorruptible: training diverged: the loss is not finite; try a smaller --strength or "
            "--lr, or --clip 1."
        )
    if diverged:
        raise typer.Exit(1)


def _agree(recipe: Recipe) -> None:
    """An objective that perturbs needs a strength, and a strength an objective; half of it would
    train plainly.
    """
    from ..schedules import parse, peak

    asked = parse(recipe.strength)
    if recipe.objective != "plain" and peak(asked) == 0:
        raise UserError(
            f"--objective {recipe.objective!r} at strength 0 trains plainly: add --strength, such "
            "as linear:0:0.3."
        )
    if recipe.objective == "plain" and not peak(asked) == 0:
        raise UserError(
            f"--strength {recipe.strength} does nothing alone: add --objective, such as "
            "'rwp(gaussian-filter-max)'."
        )


def _next(folder: Path, device: str) -> str:
    """What to type next, as a shell takes it.

    >>> _next(Path("my runs/trained/b0"), "cuda")
    "incorruptible measure 'my runs/trained/b0' --corruption gaussian-filter-max:0,.1,.2 --device "
    "cuda"
    """
    where = [] if device == "cpu" else ["--device", device]
    return join(
        [
            "incorruptible",
            "measure",
            str(folder),
            "--corruption",
            "gaussian-filter-max:0,.1,.2",
            *where,
        ]
    )


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} cannot be read as text: {type(problem).__name__}.") from None
    except tomllib.TOMLDecodeError as problem:
        raise UserError(f"{path} is no TOML: {problem}.") from None
