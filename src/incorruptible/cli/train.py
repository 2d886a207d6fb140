"""`incorruptible train`: train a network by a recipe, in a folder of its own.

Relies on: `ENTRIES` has an option for every entry of a `Recipe` but the task and the probe; a test
compares the two. Keeps: standard output holds the result alone; progress, scores and advice go to
standard error, and under torchrun only the first process prints.
"""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext, redirect_stdout
from inspect import Parameter, Signature, signature
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import UserError
from .targets import (
    DebugOption,
    DeviceOption,
    HomeOption,
    JsonOption,
    device_of,
    tell_share,
)
from .terminal import command, one_voice, progress, put, put_json, say

if TYPE_CHECKING:
    from ..training.recipe import Recipe


class _Entry(NamedTuple):
    """One entry of a recipe as an option of the command line: the entry's name, the help, the type,
    the option's own name where it differs, and the smallest value.
    """

    name: str
    help: str
    kind: Any = str
    option: str = ""
    least: float | None = None
    # The value's name in the help, where the option's name would mislead.
    metavar: str | None = None

    def parameter(self) -> Parameter:
        """The option as typer reads it from a function's signature."""
        option = self.option or f"--{self.name.replace('_', '-')}"
        said = typer.Option(option, help=self.help, min=self.least, metavar=self.metavar)
        kind = Annotated[self.kind | None, said]  # type: ignore[name-defined]
        return Parameter(self.name, Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=kind)


# The entries of a `Recipe` that can be typed as options.
ENTRIES = (
    _Entry("objective", "The objective, such as 'rwp(gaussian-filter-max)' or sam [plain]."),
    _Entry(
        "strength",
        "The objective's strength, as a number or a schedule: 0.3, linear:0:0.3, "
        "warmup-hold:0.5, or auto, which finds it [0].",
    ),
    _Entry("epochs", "The number of epochs [40].", int),
    _Entry("batch", "The number of examples in a batch [64].", int),
    _Entry("optimizer", "The optimiser: sgd or adamw [sgd]."),
    _Entry("lr", "The learning rate [0.05].", float),
    _Entry("momentum", "The momentum [0.9].", float),
    _Entry("weight_decay", "The weight decay [0.0005].", float),
    _Entry("decay", "How the learning rate decays: cosine or constant [cosine]."),
    _Entry("clip", "The largest norm of the gradient [none].", float),
    _Entry(
        "clip_weights",
        "The largest weight, in standard deviations of its layer, such as 2.5 [none].",
        float,
        metavar="FACTOR",
    ),
    _Entry(
        "batchnorm",
        "Which pass updates the running statistics of BatchNorm: noisy, clean, or frozen for none.",
    ),
    _Entry(
        "checkpoints",
        "Keep the weights at this share of the training too. May be given several times.",
        list[float],
        "--checkpoint",
        metavar="FRACTION",
    ),
    _Entry(
        "also",
        "Perturb the parameters whose names match PATTERN too. May be given several times.",
        list[str],
        metavar="PATTERN",
    ),
    _Entry(
        "protect",
        "Keep the parameters whose names match PATTERN digital. May be given several times.",
        list[str],
        metavar="PATTERN",
    ),
    _Entry(
        "start",
        "The weights to fine-tune from: a file, or the folder of a run.",
        Path,
        "--from",
        metavar="WEIGHTS",
    ),
    _Entry("accumulate", "The number of parts that a batch is cut into, to save memory [1].", int),
    _Entry(
        "autocast", "bf16 or fp16 compute the passes in 16 bits; the weights stay in 32 [fp32]."
    ),
    _Entry("channels_last", "Store images with their channels side by side.", bool),
    _Entry("compiled", "Pass the network through torch.compile.", bool, "--compile"),
    _Entry(
        "noise",
        "Where normal numbers come from: exact draws each, banked reads them from a bank [exact].",
    ),
    _Entry("ranks", "The number of processes that torchrun started [1].", int),
    _Entry("seed", "The seed of everything that is random [0].", int, least=0),
)


def train(
    task: Annotated[
        str | None, typer.Argument(help="A task: its name, FILE.py:NAME or package.module:NAME.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="The data of the task images: hf:OWNER/NAME, parquet:PATH or folder:PATH.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            help="A TOML file with these entries. Options on the command line win over the file.",
        ),
    ] = None,
    device: DeviceOption = "cpu",
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            help="The number of processor threads. It is part of the run's identity.",
            min=1,
        ),
    ] = 1,
    home: HomeOption = Path("runs"),
    json_: JsonOption = False,
    debug: DebugOption = False,
    **entries: Any,
) -> None:
    """Train a network by a recipe, in a folder of its own. If the training is killed, the same
    command continues it.
    """
    start: Path | None = entries["start"]
    if start is not None:
        entries["start"] = str(start / "weights.safetensors" if start.is_dir() else start)
    if entries["checkpoints"]:
        entries["checkpoints"] = sorted(entries["checkpoints"])
    given = {"task": task, **entries}
    wish = _toml(recipe) | {name: one for name, one in given.items() if one not in (None, [])}
    if data is not None:
        from ..tasks import with_data

        wish["task"] = with_data(str(wish.get("task", "images")), data)
    if "task" not in wish:
        raise UserError("the task is missing: digits, FILE.py:NAME, or a --recipe that names it.")
    from ..training.recipe import parse

    with one_voice():
        _train(parse(wish), home, device, threads, json_)


def _with_entries(verb: Signature) -> Signature:
    """The verb's signature, with an option for each entry of a recipe inserted behind its first two
    parameters. typer reads the options from it.
    """
    own = [one for one in verb.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    return verb.replace(parameters=[*own[:2], *(one.parameter() for one in ENTRIES), *own[2:]])


train.__signature__ = _with_entries(signature(train, eval_str=True))  # type: ignore[attr-defined]


def _train(wanted: Recipe, home: Path, device: str, threads: int, json_: bool) -> None:
    from ..runs import train as train_run
    from ..training import promised

    first = promised(wanted.ranks, command()) == 0
    _agree(wanted)
    bar = progress("train") if first else nullcontext(lambda *said: None)
    validation = None

    def told(epoch: int, epochs: int, metrics: dict[str, Any]) -> None:
        nonlocal validation
        validation = metrics.get("validation")
        score = "" if validation is None else f", {validation}"
        tell(epoch, epochs, f"loss {metrics['loss']:.3f}, strength {metrics['strength']:g}{score}")

    # Output of the user's own code must not mix with the result on standard output.
    with (
        bar as tell,
        redirect_stdout(sys.stderr if first else io.StringIO()),
    ):
        task = wanted.parts.task.task()
        done = train_run(
            wanted,
            home / "trained",
            task=task,
            device=device_of(device),
            threads=threads,
            progress=told,
            validate=True,
        )
    if validation is not None:
        say(f"{validation}, with the clean weights")
    if first and wanted.objective != "plain":
        model = done.model(task)
        tell_share(wanted.arrays(model), model)
    last = done.record["metrics"][-1]
    diverged = last["loss"] is None
    if first and json_:
        put_json({"folder": str(done.folder), **done.record})
    elif first:
        put(
            f"{wanted.task}: {wanted.objective} at {done.record['recipe']['strength']}, "
            f"{wanted.epochs} epochs, seed {wanted.seed}"
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
    """Raise `UserError` for an objective without a strength, or a strength without an objective:
    either alone would train plainly, which the user did not ask for.
    """
    from ..schedules import peak

    top = peak(recipe.parts.strength)
    if recipe.objective != "plain" and top == 0:
        raise UserError(
            f"--objective {recipe.objective!r} at strength 0 trains plainly: add --strength, such "
            "as linear:0:0.3 or auto."
        )
    if recipe.objective == "plain" and not top == 0:
        raise UserError(
            f"--strength {recipe.strength} does nothing alone: add --objective, such as "
            "'rwp(gaussian-filter-max)'."
        )


def _next(folder: Path, device: str) -> str:
    """The command to type next, quoted for a shell.

    >>> _next(Path("my runs/b0"), "cuda")
    "incorruptible measure 'my runs/b0' --corruption gaussian-filter-max:0,.1,.2 --device cuda"
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
    """The entries of the TOML file at `path`, or none without a file."""
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
        raise UserError(f"{path} is not TOML: {problem}.") from None
