"""The command line: verbs that call the library."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import Mistake, unknown

if TYPE_CHECKING:
    from torch import nn

    from .tasks import Task

__all__ = ["app", "run"]

app = typer.Typer(
    name="incorruptible",
    help="Train neural networks whose weights may go wrong at inference, and say how wrong they may go.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Home = Annotated[Path, typer.Option("--home", help="Folder for runs and results.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is random.", min=0)]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Weights for the task's model: .safetensors or a state_dict.")
]
Patterns = list[str]


def run() -> None:
    """Entry point: a user's mistake is one line and exit code 2, Ctrl-C 130, a defect of this package 1."""
    debug = "--debug" in sys.argv
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, typer.Abort):
        _say("incorruptible: stopped; the same command goes on from here.")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as problem:
        # typer's own errors come from click, or from its copy of click, depending on the version; both format themselves
        usage = getattr(problem, "format_message", None)
        if usage is not None and not usage().strip().startswith("Usage:"):
            _say(f"incorruptible: {' '.join(usage().split())} Try 'incorruptible --help'.")
            sys.exit(2)
        if usage is not None:
            _say(usage())
            sys.exit(2)
        if debug:
            raise
        if isinstance(problem, Mistake):
            _say(f"incorruptible: {' '.join(str(problem).split())}")
            sys.exit(2)
        _say(f"incorruptible: {type(problem).__name__}: {' '.join(str(problem).split())} (--debug shows where)")
        sys.exit(1)


def _say(text: str) -> None:
    sys.stderr.write(text.rstrip("\n") + "\n")


def _print(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


def _print_json(data: Any) -> None:
    from .records import plain

    _print(json.dumps(plain(data), indent=1, allow_nan=False))


def _version(wanted: bool) -> None:
    if wanted:
        from .version import __version__

        _print(f"incorruptible {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Debug = False,
) -> None:
    pass


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr where that is a terminal; elsewhere a line every ten seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task(what, total=None)
            yield lambda done, total, label: bars.update(
                bar, completed=done, total=total, description=f"{what}: {label}"
            )
        return
    import time

    last = time.monotonic()

    def line(done: int, total: int, label: str) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            _say(f"{what}: {done} of {total} ({label})")

    yield line


@app.command()
def demo(
    home: Home = Path("runs"),
    workers: Annotated[
        int | None, typer.Option("--workers", help="Worker processes [default: one for each core].")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds for each arm.")] = 8,
    epochs: Annotated[int, typer.Option("--epochs", help="Epochs of each training.")] = 40,
    json_: Json = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Test the claims C1 to C4 of arXiv 2602.07320 on handwritten digits; minutes on two cores."""
    from .engines import cores
    from .records import read

    folder = home / "demo"
    if (folder / "summary.json").is_file() and not force:
        before = read(folder / "summary.json")
        if (before["seeds"], before["epochs"]) != (seeds, epochs):
            raise Mistake(
                f"{folder} holds the summary of {before['seeds']} seeds and {before['epochs']} epochs; "
                "--force overwrites it, another --home keeps it."
            )
    workers = cores() if workers is None else workers
    _say("incorruptible: testing the claims on UCI digits ...")
    from .report import report
    from .studies import conclude, study

    with _progress("demo") as tell:
        found = study(home / "trained", seeds=seeds, epochs=epochs, workers=workers, progress=tell)
    summary = report(found, conclude(found), folder, _command())
    if json_:
        _print_json(summary)
        return
    for claim in ("C1", "C2", "C3", "C4"):
        _print(f"{claim}  {summary[claim]['verdict']:<12}  {summary[claim]['claim']}")
    _print(
        f"{found.seeds} seeds an arm, {len(found.arms)} arms; evidence: {folder / 'summary.md'}, figures: {folder / 'figures'}"
    )


@app.command()
def train(
    task: Annotated[str | None, typer.Argument(help="A task by name, FILE.py:NAME or package.module:NAME.")] = None,
    objective: Annotated[
        str | None, typer.Option("--objective", help="Such as 'rwp(gaussian-filter-max)' or sam [plain].")
    ] = None,
    strength: Annotated[
        str | None, typer.Option("--strength", help="A schedule: 0.3, linear:0:0.3, warmup-hold:0.5 ... [0].")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="[40]")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="[64]")] = None,
    optimizer: Annotated[str | None, typer.Option("--optimizer", help="sgd or adamw [sgd].")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="[0.05]")] = None,
    momentum: Annotated[float | None, typer.Option("--momentum", help="[0.9]")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="[0.0005]")] = None,
    decay: Annotated[str | None, typer.Option("--decay", help="Learning rate: cosine or constant [cosine].")] = None,
    clip: Annotated[float | None, typer.Option("--clip", help="Bound on the gradient's norm [none].")] = None,
    batchnorm: Annotated[
        str | None, typer.Option("--batchnorm", help="Which pass moves running statistics: noisy, clean, frozen.")
    ] = None,
    start: Annotated[Path | None, typer.Option("--from", help="Weights to fine-tune from.")] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="A TOML file with the same entries; options go before it.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything that is random [0].", min=0)] = None,
    device: Device = "cpu",
    threads: Annotated[int, typer.Option("--threads", help="Processor threads; part of a run's identity.", min=1)] = 1,
    home: Home = Path("runs"),
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network by a recipe, in a folder of its own; a killed training goes on when called again."""
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
        "batchnorm": batchnorm,
        "start": None if start is None else str(start),
        "seed": seed,
    }
    data = {**_toml(recipe), **{name: value for name, value in given.items() if value is not None}}
    if "task" not in data:
        raise Mistake("no task came: give one (digits, FILE.py:NAME), or a --recipe that names it.")
    from .recipes import parse
    from .runs import train as train_run

    wanted = parse(data)
    with _progress("train") as tell:
        done = train_run(
            wanted,
            home / "trained",
            device=_device(device),
            threads=threads,
            progress=lambda epoch, total, metrics: tell(
                epoch, total, f"loss {metrics['loss']:.3f}, strength {metrics['strength']:g}"
            ),
        )
    last = done.record["metrics"][-1]
    if json_:
        _print_json({"folder": str(done.folder), **done.record})
    else:
        _print(f"{wanted.task}: {wanted.objective} at {wanted.strength}, {wanted.epochs} epochs, seed {wanted.seed}")
        _print(
            f"last epoch: loss {_number(last['loss'])} at strength {last['strength']:g}; steps skipped: {done.record['skipped']}"
        )
        _print(f"run: {done.folder}")
        _say(f"next: incorruptible measure {done.folder} --corruption gaussian-filter-max:0,.1,.2")
    if last["loss"] is None:
        _say("incorruptible: training diverged: the loss is not finite; try a smaller --strength or --lr, or --clip 1.")
        raise typer.Exit(1)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Mistake(f"{path}: no such file.") from None
    except tomllib.TOMLDecodeError as problem:
        raise Mistake(f"{path} is no TOML: {problem}.") from None


def _device(name: str) -> str:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown("device", name, ["cpu", "cuda", "cuda:0", "mps"]) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Mistake(f"device {name!r}: this torch sees no CUDA GPU; use --device cpu.")
    return name


def _target(target: str, weights: Path | None, seed: int) -> tuple[Task, nn.Module]:
    """The task and network that a run's folder, or a task with weights, stands for."""
    import torch

    from . import tasks
    from .runs import open_run
    from .streams import key
    from .training import load_weights

    if Path(target).is_dir() or (os.sep in target and ".py:" not in target):
        done = open_run(Path(target))
        task = done.task()
        model = done.model(task)
    else:
        task = tasks.load(target)
        if weights is None and not tasks.is_user_task(target):
            raise Mistake(
                f"{target} has no weights yet: give --weights FILE, or a run's folder (incorruptible train {target})."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "weights") >> 1)
            model = task.model()
        if not isinstance(model, torch.nn.Module):
            raise Mistake(f"{target}: model() gave {type(model).__name__}; a torch.nn.Module is needed.")
        if weights is None:
            _say("incorruptible: no --weights; taking the weights that model() makes.")
    if weights is not None:
        load_weights(model, weights)
    return task, model


@app.command()
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
    also: Annotated[Patterns | None, typer.Option("--also", help="Parameters to perturb as well (pattern).")] = None,
    protect: Annotated[Patterns | None, typer.Option("--protect", help="Parameters to keep digital (pattern).")] = None,
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
    files = [*([out] if out else []), *([figure.with_suffix(s) for s in (".png", ".svg")] if figure else [])]
    for path in files:
        if path.exists() and not force:
            raise Mistake(f"{path} is there already; --force overwrites it.")
    if part not in ("test", "validation", "train"):
        raise unknown("part of the data", part, ["test", "validation", "train"])
    from .corruptions import parse_sweep
    from .measuring import measure as measure_model
    from .tasks import batches

    sweep = parse_sweep(corruption)
    read = None
    if read_noise is not None:
        each = parse_sweep(read_noise)
        if len(each.strengths) != 1:
            raise Mistake(f"--read-noise {read_noise!r}: one strength is needed.")
        read = (each.corruption, each.strengths[0])
    task, model = _target(target, weights, seed)
    model.to(_device(device))
    folded, policy = model, batchnorm
    if batchnorm == "folded":
        from .batchnorm import fold_batchnorm

        folded, policy = fold_batchnorm(model), "as-is"
    from .arrays import select

    arrays = select(folded, also=also or (), without=protect or ())
    with _progress("measure") as tell:
        scores = measure_model(
            folded,
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
            batchnorm=policy,
            calibration=batches(task.part("train"), batch) if batchnorm == "recalibrated" else None,
            progress=lambda done, total: tell(done, total, "chips"),
        )
    if batchnorm == "folded":
        from dataclasses import replace

        scores = replace(scores, batchnorm="folded")
    found = {
        "target": target,
        "corruption": scores.corruption,
        "unit": scores.corruption_unit,
        "score": scores.name,
        "score_unit": scores.unit,
        "higher_is_better": scores.higher_is_better,
        "part": part,
        "draws": draws,
        "reads": reads,
        "examples": scores.n_examples,
        "seed": seed,
        "batchnorm": batchnorm,
        "rows": scores.rows(),
        "values": scores.values,
    }
    if out is not None:
        from .records import write

        write(out, {**found, "command": _command()})
    if figure is not None:
        from .drawing import Line, lines, save

        rows = scores.rows()
        band = ([row["low"] for row in rows], [row["high"] for row in rows])
        curves = [
            Line(scores.strengths, [row["mean"] for row in rows], "mean over chips", band if draws > 1 else None),
            Line(scores.strengths, [row["worst"] for row in rows], "worst chip", dashed=True),
        ]
        caption = (
            f"{draws} chips, {scores.n_examples} examples, BatchNorm {batchnorm}; band: 95%, Student's, over chips"
        )
        save(
            lines(
                {"": curves},
                f"{scores.corruption}: {scores.corruption_unit}",
                f"{scores.name} ({scores.unit})",
                caption=caption,
            ),
            figure,
        )
    if json_:
        _print_json(found)
    else:
        _print(str(scores))


@app.command()
def audit(
    target: Annotated[str, typer.Argument(help="A run's folder, or a task.")],
    corruption: Annotated[str, typer.Option("--corruption", help="With one strength.")] = "gaussian-filter-max:0.1",
    weights: Weights = None,
    also: Annotated[Patterns | None, typer.Option("--also", help="Parameters to perturb as well (pattern).")] = None,
    protect: Annotated[Patterns | None, typer.Option("--protect", help="Parameters to keep digital (pattern).")] = None,
    seed: Seed = 0,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """List what a corruption touches, by how much, and what is skipped and why."""
    from dataclasses import asdict

    from . import tasks
    from .audit import audit as audit_model
    from .corruptions import parse_sweep

    sweep = parse_sweep(corruption)
    if len(sweep.strengths) != 1:
        raise Mistake(f"--corruption {corruption!r}: an audit takes one strength.")
    if weights is None and not Path(target).is_dir() and os.sep not in target and not tasks.is_user_task(target):
        model = tasks.load(target).model()  # shapes are all that matters here
    else:
        _, model = _target(target, weights, seed)
    found = audit_model(model, sweep.corruption, sweep.strengths[0], also=also or (), without=protect or (), seed=seed)
    if json_:
        _print_json(
            {
                "corruption": found.corruption,
                "strength": found.strength,
                "share": found.share(),
                "rows": [asdict(r) for r in found.rows],
            }
        )
    else:
        _print(str(found))


@app.command("list")
def list_(
    what: Annotated[
        str | None, typer.Argument(help="corruptions, objectives, schedules, tasks or networks [all].")
    ] = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """List the catalogues, with units and one line for each member."""
    from .catalogues import catalogues

    shelves = catalogues()
    if what is not None and what not in shelves:
        raise unknown("catalogue", what, shelves)
    chosen = {name: rows for name, rows in shelves.items() if what in (None, name)}
    if json_:
        _print_json(chosen)
        return
    for name, rows in chosen.items():
        _print(f"{name}:")
        widths = [max(len(row[key]) for row in rows) for key in ("name", "unit")]
        for row in rows:
            _print(f"  {row['name']:<{widths[0]}}  {row['unit']:<{widths[1]}}  {row['summary']}".rstrip())


def _command() -> str:
    return shlex.join(["incorruptible", *sys.argv[1:]])
