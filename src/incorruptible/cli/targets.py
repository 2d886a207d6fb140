"""What a verb works on, and the options that say so: a run's folder or a task with weights, the
arrays that are in hardware, and the device.

A verb that scores chips calls `open_target`; the other verbs call `target_of` and `held_in`. The
options that several verbs share are declared here once, so each means the same in every verb.

Relies on: a text with a path separator, and without `.py:`, is meant as a run's folder; any other
text names a task.
Keeps: the user's own code may print, and `open_target` sends this to stderr, because stdout is for
data. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Unpack

import typer

from ..errors import UserError, unknown
from .advice import tell_cost, tell_drift
from .terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor, nn

    from ..corruptions import Corruption, Sweep
    from ..evaluation.sampling import Sampling, SamplingOptions
    from ..specs.durations import Seconds
    from ..specs.grammar import Spec
    from ..tasks import Task
    from ..training.recipe import Recipe
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
OneTimeOption = Annotated[
    str | None,
    typer.Option("--time", help="The time since programming: 1s, 1h, 1d, 1y.", metavar="TIME"),
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


# ---- What a verb works on: a run's folder or a task with weights, and on which device


class HeldArrays(NamedTuple):
    """Patterns over the names of parameters: `also` are in arrays besides the usual parameters, and
    `protect` are kept digital. `told` is a line for the user where a run's recipe says so, and not
    the command line.
    """

    also: tuple[str, ...]
    protect: tuple[str, ...]
    told: str = ""

    def plain(self) -> dict[str, Any]:
        """The patterns as results keep them; nothing where only the usual arrays are in
        hardware.
        """
        return {
            name: list(patterns)
            for name in ("also", "protect")
            if (patterns := getattr(self, name))
        }

    def before(self, text: str) -> str:
        """`text`, under the line for the user, where there is one."""
        return f"{self.told}\n{text}" if self.told else text


_PARTS = ("test", "validation", "train")


def at_times(
    corruption: Corruption, spec: Spec, time: str | None
) -> tuple[list[Seconds], list[Corruption]]:
    """The times in --time and the corruption at each of them; without --time no times and the
    corruption itself. `spec` is the text that the corruption was made of.

    Raises `UserError` for a time that is given twice, and for a corruption without a time.
    """
    from ..corruptions import at_time
    from ..specs.durations import seconds

    if time is None:
        return [], [corruption]
    if "time" in spec.fields:
        raise UserError(
            f"{str(spec)!r} has a time, and --time {time} is given too; give one of them."
        )
    times = [seconds(one) for one in time.split(",")]
    if len(set(times)) < len(times):
        raise UserError(f"--time {time}: one time is given twice.")
    return times, [at_time(corruption, one) for one in times]


def at_one_time(corruption: Corruption, spec: Spec, time: str | None) -> Corruption:
    """The corruption at the one time in --time; without --time the corruption itself. Raises
    `UserError` for several times, and as `at_times` does.
    """
    _, (found, *more) = at_times(corruption, spec, time)
    if more:
        raise UserError(f"--time {time}: one time is needed; `measure` takes several.")
    return found


def sweep_of(text: str, time: str | None) -> Sweep:
    """The corruption and the strengths that `text` says, at the one time in --time."""
    from ..corruptions import parse_sweep
    from ..specs.grammar import split

    spec = split(text)
    sweep = parse_sweep(spec)
    return sweep._replace(corruption=at_one_time(sweep.corruption, spec, time))


def check_part(part: str) -> None:
    """Raise `UserError` unless `part` is a name for a part of the data."""
    if part not in _PARTS:
        raise unknown("part of the data", part, _PARTS)


def device_of(name: str) -> str:
    """`name`, where torch knows a device of that name and this machine has one. Raises `UserError`
    elsewhere.
    """
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


def held_in(recipe: Recipe | None, also: list[str] | None, protect: list[str] | None) -> HeldArrays:
    """Which parameters are in arrays. The command line decides; where it is silent, the recipe of
    the run does, if the target is one.
    """
    own = recipe.held() if recipe else {}
    given = {name: one for name, one in (("also", also), ("protect", protect)) if one}
    used = {name: tuple({**own, **given}.get(name, ())) for name in ("also", "protect")}
    said = [
        f"{what} {' '.join(used[name])}"
        for name, what in (("also", "in arrays too:"), ("protect", "kept digital:"))
        if name in own and name not in given
    ]
    return HeldArrays(**used, told=f"as it was trained: {'; '.join(said)}" if said else "")


class NetworkTarget(NamedTuple):
    """A task and its network. `recipe` is how the network was trained, where the target is a run's
    folder. `untrained` says that a task of the user's own is given without --weights, and `random`
    is the share of its parameters that `model()` makes at random, as far as this was looked at.
    """

    task: Task
    model: nn.Module
    recipe: Recipe | None
    untrained: bool
    random: float = 0.0

    def trained(self, name: str, seed: int) -> NetworkTarget:
        """This network, where somebody may have trained it. Raises `UserError`, with the target's
        `name`, where `model()` makes most of the weights at random.

        Weights that were loaded are the same when `model()` is called again from another seed, and
        new ones differ. A few may differ in a trained network too, such as a layer that is not
        used. Networks of more than `LARGE` parameters are not made twice.
        """
        import torch

        lazy = torch.nn.parameter.UninitializedParameter  # has no shape; `select` refuses it later
        every = self.model.named_parameters()
        own = {place: one for place, one in every if not isinstance(one, lazy)}
        total = sum(one.numel() for one in own.values())
        if not self.untrained or not 0 < total <= LARGE:
            return self
        again = dict(_made(self.task, seed, "weights again").named_parameters())
        differing = sum(_differing(one, again.get(place)) for place, one in own.items())
        if 2 * differing > total:
            raise UserError(
                f"{name}: --weights is missing, and model() makes its weights at random, so that "
                "nothing is trained: give --weights FILE, or load the weights in model()."
            )
        return self._replace(random=differing / total)

    def tell(self) -> None:
        """Say on stderr that weights are missing, where they are."""
        if self.untrained:
            part = f", {100 * self.random:.2g}% of them at random" if self.random else ""
            say(
                "incorruptible: --weights is missing; these are the weights that model() "
                f"makes{part}."
            )


LARGE = 50_000_000  # parameters of a network that is not made twice to see whether it is random


def _made(task: Task, seed: int, purpose: str) -> nn.Module:
    """What `task.model()` makes from this seed. The global random state stays as it was."""
    import torch

    from ..randomness.streams import key

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, purpose) >> 1)
        return task.model()


def _differing(one: Tensor, other: Tensor | None) -> int:
    """How many numbers of a parameter differ from those of the other one."""
    if other is None or other.shape != one.shape:
        return one.numel()
    both_nan = (one != one) & (other != other)
    return int(((one != other) & ~both_nan).sum())


def target_of(
    target: str, weights: Path | None, seed: int, need_weights: bool = True
) -> NetworkTarget:
    """The task and network that a run's folder, or a task with weights, stands for.

    A task of the user's own may come without weights, because its `model()` may load them. Raises
    `UserError` for a target that cannot be opened, and, unless `need_weights` is False, for a task
    of this package without weights.
    """
    import torch

    from .. import tasks
    from ..runs import open_run
    from ..training import load_weights

    _refuse_files(target)
    recipe, own = None, False
    if is_run(target):
        done = open_run(Path(target))
        recipe, task = done.recipe, done.task()
        model = done.model(task)
    else:
        named = tasks.parse(target)
        own = isinstance(named, tasks.UserTask)
        task = named.task()
        if weights is None and need_weights and not own:
            raise UserError(
                f"{target} has no weights yet: give --weights FILE, or a run's folder "
                f"(incorruptible train {target})."
            )
        model = _made(task, seed, "weights")
        if not isinstance(model, torch.nn.Module):
            raise UserError(
                f"{target}: model() gave {type(model).__name__}; a torch.nn.Module is needed."
            )
    if weights is not None:
        load_weights(model, weights)
    return NetworkTarget(task, model, recipe, own and weights is None)


@dataclass(frozen=True)
class ScoringTarget:
    """What a verb that scores chips works on: a network, which of its weights are in arrays, and
    the data. `open_target` makes it from the words of the command line.
    """

    name: str
    part: str
    network: NetworkTarget
    arrays: list[Array]
    held: HeldArrays
    data: Any
    batchnorm: str
    calibration: Any

    @property
    def task(self) -> Task:
        return self.network.task

    @property
    def model(self) -> nn.Module:
        return self.network.model

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

    def tell_cost(self, sampling: Sampling, times: int) -> None:
        """Say on stderr what measuring all chips of `sampling` several `times` will cost, if it is
        much. The scores of examples are kept for one of these times only.
        """
        from ..evaluation import measure
        from ..evaluation.scoring import count_of

        few = replace(sampling, strengths=sampling.strengths[-1:], purpose="cost")
        with redirect_stdout(sys.stderr):
            tell_cost(
                sampling.chips * times,
                lambda: count_of(self.data),
                lambda n: measure(self.model, self.task.score, self.data, replace(few, chips=n)),
                at_once=times,
            )

    def tell(self, corruptions: Iterable[Corruption]) -> None:
        """Say on stderr what a reader of the result must know about the network and its chips."""
        self.network.tell()
        tell_share(self.arrays, self.model)
        tell_drift(corruptions)

    def plain(self, found: dict[str, Any]) -> dict[str, Any]:
        """A result as it is kept: before it stand the target, the part of the data, and which
        parameters are in arrays.
        """
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
    """The network, arrays and data that a command line names. What the user's own code prints goes
    to stderr, because stdout is for data.

    Raises `UserError` for whatever cannot be found or does not fit. `choosing` is what the verb
    chooses by validation data; a task without validation data is then refused in these words.
    """
    from ..tasks import batches
    from ..weights.arrays import select

    with redirect_stdout(sys.stderr):
        network = target_of(name, weights, seed).trained(name, seed)
    task, model = network.task, network.model
    held = held_in(network.recipe, also, protect)
    model.to(device_of(device))
    if choosing and part == "validation" and task.validation is None:
        raise UserError(
            f"the task has no validation data, by which to choose {choosing}: give the Task "
            "validation=(inputs, labels), or say --part train."
        )
    return ScoringTarget(
        name,
        part,
        network,
        select(model, held.also, held.protect),
        held,
        first_of(batches(task.part(part), batch), examples),
        batchnorm,
        batches(task.part("train"), batch) if batchnorm == "recalibrated" else None,
    )


def tell_share(arrays: Sequence[Array], model: nn.Module) -> None:
    """Say on stderr how much of a network is in arrays, where that is less than 95%."""
    from ..weights.arrays import share_in

    if (share := share_in(arrays, model)) < 0.95:
        say(
            f"incorruptible: {share:.1%} of the network's weights are in arrays; incorruptible "
            "audit lists the others."
        )


def _cut(tensor: Tensor, size: int, few: int) -> Tensor:
    """The first `few` rows of a tensor that has a row for each of `size` examples. Any other tensor
    comes back as it is.
    """
    return tensor[:few] if tensor.dim() and len(tensor) == size else tensor


def first_of(data: Any, count: int | None) -> Any:
    """The batches of the first `count` examples, in a list; all batches where `count` is None.
    Raises `UserError` for batches whose size is not known.
    """
    if count is None:
        return data
    from ..evaluation.scoring import size_of
    from ..tasks.scores import each_tensor

    kept: list[Any] = []
    for one in data:
        size = size_of(one)
        if size is None:
            raise UserError("--examples needs batches of tensors, whose examples can be counted.")
        few = min(size, count)
        kept.append(each_tensor(one, partial(_cut, size=size, few=few)))
        count -= few
        if count <= 0:
            break
    return kept


_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")


def _refuse_files(target: str) -> None:
    """Raise `UserError` for a folder that is not there, for a file of weights, and for a network in
    another format. The message says what to type.
    """
    suffix = Path(target).suffix
    if is_run(target) and not Path(target).exists() and suffix not in _WEIGHTS:
        raise UserError(
            f"{target}: no such folder. Name a run's folder, or a task, such as digits, or "
            "FILE.py:NAME for a network of your own or of another library."
        )
    if suffix in _WEIGHTS:
        raise UserError(
            f"{target} holds weights alone; name the task that makes the network too: FILE.py:NAME "
            f"--weights {target}."
        )
    if suffix in (".onnx", ".tflite", ".pb", ".h5", ".keras"):
        raise UserError(
            f"{target} is no network of PyTorch: name a task that makes one, FILE.py:NAME, and its "
            "--weights (.safetensors or a state_dict)."
        )
