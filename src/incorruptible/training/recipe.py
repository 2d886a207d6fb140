"""One training, written down as plain data.

A `Recipe` says everything that decides how a network is trained. `parse` reads a recipe from plain
data, such as a TOML file or a record, and `checked` does the same but returns the mistakes, for
those who gather the mistakes of a whole study.

>>> parse({"task": "digits", "objective": "sam:metric=filter-max", "strength": 0.05}).strength
'constant:0.05'

Relies on: in `parse` and `checked`, pydantic has checked the types of the entries before
`__post_init__` judges their values. In Python a recipe may be made of values of any type, so
`__post_init__` judges only numbers where numbers belong.
Keeps: a resolved recipe has every text in canonical form, so equal trainings have equal recipes,
and carries what its texts stand for (`Recipe.parts`), so no text is parsed again. For a resolved
recipe, `parse(recipe.plain()) == recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from .. import objectives, schedules, tasks
from ..errors import UserError, renamed_arguments, unknown
from ..files.records import current, recorded
from ..objectives.base import checked_reach, policy_of
from ..specs.grammar import refusal
from ..weights.arrays import Array, select


class Faults(UserError):
    """What is wrong with the values of a recipe: pairs of an entry and a sentence."""

    def __init__(self, faults: Iterable[tuple[str, str]]) -> None:
        self.faults = list(faults)
        super().__init__(" ".join(message for _, message in self.faults))


@dataclass(frozen=True)
class Probe:
    """When and how the gradient instrument looks at a network during training.

    Each look is at `images` training images (0: all) and averages over `draws` draws of noise.
    There is a look after every `every` epochs (0: only once training is done), and after the steps
    `early` of the first epoch. With `tolerance` the instrument also seeks the strength that the
    network tolerates. `draws=0` switches the instrument off.
    """

    images: int = 256
    draws: int = 4
    every: int = 1
    early: tuple[int, ...] = (1,)
    tolerance: bool = False

    def __post_init__(self) -> None:
        for name in ("images", "draws", "every"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 0:
                raise Faults(
                    [(name, f"probe {name} {value}: a number that is not negative is needed.")]
                )

    def due(self, epoch: int) -> bool:
        """Whether the instrument looks after that epoch, counted from 1."""
        return self.draws > 0 and self.every > 0 and epoch % self.every == 0


class RecipeParts(NamedTuple):
    """What the texts of a recipe stand for: the objects that `tasks.parse`, `objectives.parse` and
    `schedules.parse` make of them.
    """

    task: tasks.NamedTask
    objective: objectives.Objective
    strength: schedules.Schedule | schedules.Controller


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network is trained; equal recipes on equal data give equal
    bits.

    What is trained, and against what:

    - `task`, `objective` and `strength` are written in the grammar of the command line.
    - `also` and `protect` are patterns over parameter names. The first names parameters that are
      held in arrays besides those that `select` chooses, the second names parameters that are not.
      Training perturbs these arrays, and the run is measured on them.
    - `start` is a file of weights to go on from.

    How a step is made:

    - `lr` decays to 0 along half a cosine over all steps, or stays as it is (`decay="constant"`).
    - `clip` bounds the norm of the gradient.
    - `clip_weights` bounds every weight, after each step, to that many standard deviations of its
      layer (`training.clip_weights`).
    - `batchnorm` is as for `Hardener`.
    - `checkpoints` are shares of training, rising and below 1, at which the weights are kept
      besides those at the end.

    How a step is computed:

    - `accumulate`: each batch is cut into that many parts. Each part has a draw of its own, and the
      mean gradient of the parts makes one step.
    - `ranks`: that many processes (torchrun) share each batch likewise, with `accumulate` parts
      each.
    - `autocast` is the arithmetic of forward and backward passes ("fp32", "bf16", "fp16"). The
      weights that are perturbed stay fp32.
    - `channels_last` is the memory layout of images, and `compiled` passes the network through
      `torch.compile`.
    - `noise` says where the normal numbers of training come from. With "exact" each number is
      drawn; with "banked" it is read from a bank, which is faster on small linear networks. The
      numbers of a measurement are always drawn. For an objective that draws nothing, a resolved
      recipe says "exact".

    Raises `Faults`, a `UserError`, for values out of range.
    """

    task: str
    objective: str = "plain"
    strength: str = "constant:0"
    epochs: int = 40
    batch: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay: Literal["cosine", "constant"] = "cosine"
    clip: float | None = None
    clip_weights: float | None = None
    batchnorm: Literal["noisy", "clean", "frozen"] | None = None
    start: str | None = None
    checkpoints: tuple[float, ...] = ()
    accumulate: int = 1
    autocast: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compiled: bool = False
    ranks: int = 1
    noise: Literal["exact", "banked"] = "exact"
    also: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    seed: int = 0
    probe: Probe = field(default_factory=Probe)

    def __post_init__(self) -> None:
        faults = {}
        for name in ("epochs", "batch", "accumulate", "ranks"):
            if isinstance(getattr(self, name), int) and getattr(self, name) < 1:
                faults[name] = f"{name} {getattr(self, name)}: at least 1 is needed."
        cut = (
            self.accumulate * self.ranks
            if all(isinstance(n, int) for n in (self.accumulate, self.ranks))
            else 1
        )
        if isinstance(self.batch, int) and 1 <= self.batch < cut:
            faults["batch"] = (
                f"batch {self.batch}: the batch is cut into {cut} parts (accumulate x ranks), so "
                f"at least {cut} is needed."
            )
        for name in ("lr", "momentum", "weight_decay", "clip"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not (0 <= value < float("inf")):
                faults[name] = f"{name} {value!r}: a finite number that is not negative is needed."
        if isinstance(self.clip_weights, int | float) and not (
            1 <= self.clip_weights < float("inf")
        ):
            faults["clip_weights"] = (
                f"clip_weights {self.clip_weights!r}: a number of standard deviations of a layer "
                "is needed, 1 or more (2.5, say)."
            )
        if isinstance(self.momentum, int | float) and self.momentum >= 1:
            faults["momentum"] = f"momentum {self.momentum!r}: a number below 1 is needed."
        places = self.checkpoints
        if list(places) != sorted(set(places)) or not all(0 < place < 1 for place in places):
            faults["checkpoints"] = (
                f"checkpoints {list(places)!r}: rising shares of training, above 0 and below 1, "
                "are needed."
            )
        if faults:
            raise Faults(faults.items())

    def resolved(self) -> Recipe:
        """The same recipe with every text in its canonical form. Raises `UserError` for a text that
        cannot be parsed, and for entries that do not go together.
        """
        if "_parts" in vars(self):
            return self
        found, faults = _canonical(self)
        if found is None:
            raise UserError("; ".join(message for _, message in faults))
        return found

    @property
    def parts(self) -> RecipeParts:
        """What the texts of the recipe stand for. A resolved recipe carries these objects with it;
        of any other recipe the texts are parsed at each call.
        """
        return vars(self).get("_parts") or RecipeParts(
            tasks.parse(self.task), objectives.parse(self.objective), schedules.parse(self.strength)
        )

    def absolute(self) -> Recipe:
        """The same recipe with a task that is found again from any folder."""
        parts = self.parts
        task = parts.task.absolute()
        return _carrying(replace(self, task=str(task)), parts._replace(task=task))

    def arrays(self, model: nn.Module) -> list[Array]:
        """The arrays of `model` that are in hardware. Raises `UserError` for a pattern that matches
        no parameter.
        """
        return select(model, self.also, self.protect)

    def held(self) -> dict[str, list[str]]:
        """The patterns that say which arrays are in hardware; empty where only the usual arrays
        are.
        """
        return {
            name: list(patterns)
            for name in ("also", "protect")
            if (patterns := getattr(self, name))
        }

    def plain(self) -> dict[str, Any]:
        """The recipe as nested dictionaries, lists, texts and numbers, under the names that records
        use.
        """
        return recorded(asdict(self))


Recipe.__init__ = renamed_arguments(precision="autocast")(Recipe.__init__)  # type: ignore[method-assign]
# An entry that a recipe does not have is a mistake of the file, not something to leave out.
Recipe.__pydantic_config__ = Probe.__pydantic_config__ = ConfigDict(extra="forbid", strict=False)  # type: ignore[attr-defined]


def parse(data: dict[str, Any]) -> Recipe:
    """A recipe in canonical form, from plain data such as a TOML file holds. Raises one `UserError`
    that names every mistake.
    """
    recipe, faults = checked(data)
    if recipe is None:
        raise UserError(
            "; ".join(message if key in message else f"{key}: {message}" for key, message in faults)
        )
    return recipe


def checked(data: dict[str, Any]) -> tuple[Recipe | None, list[tuple[str, str]]]:
    """The recipe in canonical form and no mistakes, or None and every mistake. A mistake is a pair:
    the entry, with dots inside a table, and what is wrong with it.

    An entry that was renamed is read under its former name too, because records use that name.
    """
    if "precision" in data and "autocast" in data:
        return None, [
            (
                "precision",
                "precision: this entry is called autocast now, and autocast is given too; give one",
            )
        ]
    data = current(data)
    if isinstance(data.get("strength"), int | float):
        data = {**data, "strength": str(data["strength"])}  # strength = 0.3 in TOML is a number
    try:
        recipe = _adapter().validate_python(data)
    except ValidationError as problem:
        return None, [fault for error in problem.errors() for fault in _faults(dict(error))]
    return _canonical(recipe)


def _canonical(recipe: Recipe) -> tuple[Recipe | None, list[tuple[str, str]]]:
    """The recipe with its texts in canonical form and their objects in `parts`, or None; and the
    mistakes in the texts.
    """
    faults: list[tuple[str, str]] = []

    def tried(key: str, make: Callable[..., Any], *given: object) -> Any:
        try:
            return make(*given)
        except UserError as problem:
            faults.append((key, str(problem)))

    task = tried("task", tasks.parse, recipe.task)
    objective = tried("objective", objectives.parse, recipe.objective)
    strength = tried("strength", schedules.parse, recipe.strength)
    if objective is not None:
        tried("batchnorm", policy_of, objective, recipe.batchnorm)
    if recipe.compiled and isinstance(objective, objectives.LocalRWP):
        faults.append(("compiled", f"compiled: {objective.uncompiled()}"))
    if objective is not None and strength is not None:
        tried("strength", checked_reach, objective, strength)
    if faults:
        return None, faults
    # Plain, SAM and ASAM draw no noise. Banked noise gives the same bits there, so it must give the
    # same run.
    noise = recipe.noise if hasattr(objective, "corruption") else "exact"
    parts = RecipeParts(task, objective, strength)
    task, objective, strength = map(str, parts)
    found = replace(recipe, task=task, objective=objective, strength=strength, noise=noise)
    return _carrying(found, parts), []


def _carrying(recipe: Recipe, parts: RecipeParts) -> Recipe:
    """`recipe`, with `parts` kept beside its fields, where neither `==` nor records see them."""
    vars(recipe)["_parts"] = parts
    return recipe


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)  # building one takes longer than using it a hundred times


def _faults(error: dict[str, Any]) -> list[tuple[str, str]]:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        home, outer = (Probe, "probe.") if len(error["loc"]) > 1 else (Recipe, "")
        names = [f"{outer}{one.name}" for one in fields(home)]
        return [(where, str(unknown("entry of a recipe", where, names)).rstrip("."))]
    if error["type"] == "missing" or error["type"] == "missing_argument":
        return [(where, "this entry is missing")]
    own = error.get("ctx", {}).get("error")
    if isinstance(own, Faults):
        return [(".".join(filter(None, (where, key))), message) for key, message in own.faults]
    return [(where, refusal(error))]
