"""What a verb works on, and the options that say so: a run's folder or a task with weights, its
arrays, the device.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Unpack

import typer

from ..errors import UserError, unknown
from .advice import tell_drift
from .terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor, nn

    from ..corruptions import Corruption
    from ..evaluation.sampling import Sampling, SamplingOptions
    from ..tasks import Task
    from ..weights.arrays import Array

# ---- Options that several verbs share

TargetArgument = Annotated[
    str, typer.Argument(help="The folder of a run, or a task together with --weights.")
]
PartOption = Annotated[
    str, typer.Option("--part", help="The part of the data: test, validation or train.")
]
BatchOption = Annotated[
    int, typer.Option("--batch", help="The number of examples in one forward pass.", min=1)
]
BatchnormOption = Annotated[
    str,
    typer.Option(
        "--batchnorm",
        help="How BatchNorm computes: as-is, folded into the weights, or recalibrated on the "
        "training data.",
    ),
]
HomeOption = Annotated[Path, typer.Option("--home", help="The folder that holds runs and results.")]
SeedOption = Annotated[
    int, typer.Option("--seed", help="The seed of everything that is random.", min=0)
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="The device that computes: cpu, cuda or cuda:N.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Write the result to this file (.json).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite files that exist already.")]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="The file with the weights of the task's model: .safetensors or a state_dict.",
    ),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        help="Perturb the parameters whose names match PATTERN too. May be given several times.",
        metavar="PATTERN",
    ),
]
ExamplesOption = Annotated[
    int | None,
    typer.Option("--examples", help="Use only this many examples, the first ones [all].", min=1),
]
ProtectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--protect",
        help="Keep the parameters whose names match PATTERN digital. May be given several times.",
        metavar="PATTERN",
    ),
]


# ---- What a verb works on: a run's folder, or a task with weights; and where


class HeldArrays(NamedTuple):
    """Patterns of what is in arrays besides the usual ones, and of what is not; `told` says so,
    where it is by a run's recipe.
    """

    also: tuple[str, ...]
    protect: tuple[str, ...]
    told: str = ""

    def plain(self) -> dict[str, Any]:
        """As results keep it; nothing where the usual arrays are in hardware."""
        return {
            name: list(patterns)
            for name in ("also", "protect")
            if (patterns := getattr(self, name))
        }

    def before(self, text: str) -> str:
        """`text`, under a line that says what is in arrays where nobody who typed the command
        did.
        """
        return f"{self.told}\n{text}" if self.told else text


_PARTS = ("test", "validation", "train")


def check_part(part: str) -> None:
    """A `UserError` unless data of that name may exist."""
    if part not in _PARTS:
        raise unknown("part of the data", part, _PARTS)


def device_of(name: str) -> str:
    """`name`, if torch knows that device and this machine has it."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown("device", name, ["cpu", "cuda", "cuda:0", "mps"]) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r}: this torch sees no CUDA GPU; use --device cpu.")
    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except (RuntimeError, NotImplementedError, AssertionError):
        raise UserError(
            f"device {name!r} cannot be used with this torch; use --device cpu."
        ) from None
    return name


def is_run(target: str) -> bool:
    """Whether `target` is meant as a folder, and not as a task's name."""
    return Path(target).is_dir() or (os.sep in target and ".py:" not in target)


def held_in(target: str, also: list[str] | None, protect: list[str] | None) -> HeldArrays:
    """What is in arrays: as the command line says, and where it says nothing, as the run that
    `target` may be was trained.
    """
    from ..runs import open_run

    _refuse_files(target)
    own: dict[str, list[str]] = open_run(Path(target)).recipe.held() if is_run(target) else {}
    given = {name: one for name, one in (("also", also), ("protect", protect)) if one}
    used = {name: tuple({**own, **given}.get(name, ())) for name in ("also", "protect")}
    said = [
        f"{what} {' '.join(used[name])}"
        for name, what in (("also", "in arrays too:"), ("protect", "kept digital:"))
        if name in own and name not in given
    ]
    return HeldArrays(**used, told=f"as it was trained: {'; '.join(said)}" if said else "")


def target_of(
    target: str, weights: Path | None, seed: int, untrained: bool = False
) -> tuple[Task, nn.Module]:
    """The task and network that a run's folder, or a task with weights, stands for; `untrained`
    does without weights.
    """
    import torch

    from .. import tasks
    from ..randomness.streams import key
    from ..runs import open_run
    from ..training import load_weights

    _refuse_files(target)
    if is_run(target):
        done = open_run(Path(target))
        task = done.task()
        model = done.model(task)
    else:
        task = tasks.load(target)
        if weights is None and not untrained and not tasks.is_user_task(target):
            raise UserError(
                f"{target} has no weights yet: give --weights FILE, or a run's folder "
                f"(incorruptible train {target})."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "weights") >> 1)
            model = task.model()
        if not isinstance(model, torch.nn.Module):
            raise UserError(
                f"{target}: model() gave {type(model).__name__}; a torch.nn.Module is needed."
            )
    if weights is not None:
        load_weights(model, weights)
    return task, model


@dataclass(frozen=True)
class ScoringTarget:
    """What a verb that scores chips works on: a network, which of its weights are in arrays, and the
    data. `open_target` makes it from what was typed.
    """

    name: str
    part: str
    task: Task
    model: nn.Module
    arrays: list[Array]
    held: HeldArrays
    data: Any
    batchnorm: str
    calibration: Any
    untrained: bool  # a task of the user's own came without weights

    def sampling(
        self,
        corruption: Corruption,
        strengths: Sequence[float],
        **options: Unpack[SamplingOptions],
    ) -> Sampling:
        """Chips of this network, under its BatchNorm policy."""
        from ..evaluation.sampling import Sampling

        options |= {
            "batchnorm": self.batchnorm,
            "calibration": self.calibration,
            "arrays": self.arrays,
        }
        return Sampling(corruption, strengths, **options)

    def tell(self, corruptions: Iterable[Corruption]) -> None:
        """Say on stderr what a reader of the result must know of the network and its chips."""
        if self.untrained:
            say("incorruptible: --weights is missing; these are the weights that model() makes.")
        tell_share(self.arrays, self.model)
        tell_drift(corruptions)

    def plain(self, found: dict[str, Any]) -> dict[str, Any]:
        """A result as it is kept, under what it is a result of."""
        return {"target": self.name, "part": self.part, **self.held.plain(), **found}


def open_target(
    name: str,
    weights: Path | None,
    also: list[str] | None,
    protect: list[str] | None,
    *,
    part: str,
    batch: int,
    examples: int | None,
    batchnorm: str,
    seed: int,
    device: str,
    choosing: str = "",
) -> ScoringTarget:
    """The network, arrays and data that a command line names. What the user's own code prints goes to
    stderr, for stdout is for data.

    Raises `UserError` for whatever cannot be found or does not fit. Where the verb is about `choosing`
    something, the line about missing validation data says what to do.
    """
    from ..tasks import batches, is_user_task
    from ..weights.arrays import select

    with redirect_stdout(sys.stderr):
        held = held_in(name, also, protect)
        task, model = target_of(name, weights, seed)
    model.to(device_of(device))
    if choosing and part == "validation" and task.validation is None:
        raise UserError(
            f"the task has no validation data, by which to choose {choosing}: give the Task "
            "validation=(inputs, labels), or say --part train."
        )
    return ScoringTarget(
        name,
        part,
        task,
        model,
        select(model, held.also, held.protect),
        held,
        first_of(batches(task.part(part), batch), examples),
        batchnorm,
        batches(task.part("train"), batch) if batchnorm == "recalibrated" else None,
        weights is None and is_user_task(name),
    )


def tell_share(arrays: Sequence[Array], model: nn.Module) -> None:
    """A line on stderr that says how much of a network is in arrays, where that is below 95%."""
    from ..weights.arrays import share_in

    if (share := share_in(arrays, model)) < 0.95:
        say(
            f"incorruptible: {share:.1%} of the network's weights are in arrays; incorruptible "
            "audit lists the others."
        )


def _cut(tensor: Tensor, size: int, few: int) -> Tensor:
    """The first rows of a tensor that holds a row for each example; another as it is."""
    return tensor[:few] if tensor.dim() and len(tensor) == size else tensor


def first_of(data: Any, count: int | None) -> Any:
    """The batches of the first `count` examples, in a list; all of them without a count."""
    if count is None:
        return data
    from ..evaluation.scoring import size_of
    from ..tasks.scores import each_tensor

    kept: list[Any] = []
    for one in data:
        size = size_of(one)
        if size is None:
            raise UserError("--examples needs batches that hold tensors.")
        few = min(size, count)
        kept.append(each_tensor(one, partial(_cut, size=size, few=few)))
        count -= few
        if count <= 0:
            break
    return kept


_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")


def _refuse_files(target: str) -> None:
    """Raise `UserError` for a target that is a file of weights or another format: what a target is,
    and what to type.
    """
    suffix = Path(target).suffix
    if is_run(target) and not Path(target).exists() and suffix not in _WEIGHTS:
        raise UserError(
            f"{target}: no such folder; what is measured is a run's folder, or a task: digits, "
            "say, or FILE.py:NAME for a network of your own or of another library."
        )
    if suffix in _WEIGHTS:
        raise UserError(
            f"{target} holds weights alone; name the task that makes their network: FILE.py:NAME "
            f"--weights {target}."
        )
    if suffix in (".onnx", ".tflite", ".pb", ".h5", ".keras"):
        raise UserError(
            f"{target} is no network of PyTorch: name a task that makes one, FILE.py:NAME, and its "
            "--weights (.safetensors or a state_dict)."
        )
