"""A study as a TOML file declares it: a question, a base recipe, arms x seeds, what to test on, and
the claims to decide.

An *arm* is one way to train, and is trained once with each seed. An entry of the file that is a
list makes an arm for each of its values. `load` reads a study that travels with the package, or a
file of the user's own:

>>> study = load("auto", seeds=2)
>>> len(study.arms) > 2 and study.seeds
(0, 1)

Relies on: `training.recipe.checked` reports the mistakes of a recipe as pairs of an entry and a
sentence, and `toml_positions` knows the line of each entry.
Keeps: all mistakes of a file are gathered and raised as one `UserErrors`, each with its line, and
nothing is raised before the whole file has been looked at, except for a file that is no TOML and
for options of the command line that do not fit. `Study.plain` is part of the identity of a study's
plan, so its keys do not change.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import InstanceOf, TypeAdapter, ValidationError

from .. import tasks
from ..corruptions import Sweep, parse_sweep
from ..errors import UserError, UserErrors, unknown
from ..files.records import KEPT as RENAMED
from ..files.records import recorded
from ..runs import MeasurePlan
from ..specs.grammar import refusal, written
from ..tasks import Task
from ..tasks.data import named_randomness
from ..training.recipe import Recipe, checked
from .claims import Claim, as_list, check_strengths, read_claims
from .folder import at_checkpoint, named
from .toml_positions import KeyPath, spoken, toml_positions

_TOP = ("title", "question", "seeds", "recipe", "arms", "test", "selection", "claims", "shown")
_ARM = ("name", "method", "role", "each", "probe")
_SINGLE = ("task", "start", "seed", "probe")  # entries of a recipe that a list cannot vary
_LISTS = ("checkpoints", "also", "protect")  # entries of a recipe whose values are lists
_SEEDS_ON_TOP = "seeds stand at the top of the file: seeds = 8"


@dataclass(frozen=True)
class ArmSpec:
    """One arm: its name, the recipe by which it is trained (the seed apart), the method that it
    belongs to, and its role among the arms of that method.
    """

    name: str
    method: str
    role: str
    recipe: Recipe


@dataclass(frozen=True)
class Test:
    """What trained networks are tested on.

    `corruptions` are sweeps; claims are about the first one unless they say otherwise. Each sweep
    is measured over `chips` chips, on each of the data `parts`: "test", and "train" where the gap
    between training and test data is asked for. Where `batchnorm` has several policies, every sweep
    is measured under each of them. `required` is the score that a chip must reach. Only the first
    `examples` of the training data are looked at (0: all). `bounds` asks for what PAC-Bayes bounds
    are computed from: a bounded loss, and how far training moved each filter.
    """

    corruptions: tuple[InstanceOf[Sweep], ...]
    chips: int = 20
    seed: int = 0
    parts: tuple[str, ...] = ("test",)
    batchnorm: tuple[str, ...] = ("as-is",)
    required: float | None = None
    bounds: bool = False
    examples: int = 0

    def looks(self) -> list[tuple[Sweep, str, str]]:
        """Every sweep under every policy for BatchNorm, all sweeps of the first policy first. Each
        comes as the sweep, the policy, and a name for the two.
        """
        found = []
        for policy in self.batchnorm:
            more = "" if policy == self.batchnorm[0] else f", BatchNorm {policy}"
            found += [(sweep, policy, f"{sweep.corruption}{more}") for sweep in self.corruptions]
        return found

    def plain(self) -> dict[str, Any]:
        """As plain data. A single policy is a text, as it was before there could be several, and
        `examples`, an entry that came later, is left out at its default. So older plans keep their
        identity.
        """
        found = recorded(asdict(self) | {"corruptions": [str(one) for one in self.corruptions]})
        found |= {"batchnorm": self.batchnorm[0]} if len(self.batchnorm) == 1 else {}
        return {key: value for key, value in found.items() if key != "examples" or value}


@dataclass(frozen=True)
class Selection:
    """How strengths and schedules are chosen: by the mean score on validation data, over `chips`
    chips that are never tested on.
    """

    chips: int = 10
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return recorded(asdict(self))


@dataclass(frozen=True)
class Study:
    """Arms x seeds with a question, as a file declares them. `shown` are patterns of the arms that
    the report draws, and `source` is a hash of the file.
    """

    name: str
    title: str
    question: str
    arms: tuple[ArmSpec, ...]
    seeds: tuple[int, ...]
    test: Test
    selection: Selection
    claims: tuple[Claim, ...]
    shown: tuple[str, ...]
    source: str

    def plans(self) -> dict[str, MeasurePlan]:
        """What each run is measured on. The names of the plans number the sweeps: "0 test", "0
        train", "0 validation", "1 test", ...
        """
        found = {}
        for place, (sweep, policy, _) in enumerate(self.test.looks()):
            for part in self.test.parts:
                examples = self.test.examples if part == "train" else 0
                found[f"{place} {part}"] = MeasurePlan(
                    str(sweep), part, "test", self.test.chips, self.test.seed, policy, examples
                )
            found[f"{place} validation"] = MeasurePlan(
                str(sweep),
                "validation",
                "validation",
                self.selection.chips,
                self.selection.seed,
                policy,
            )
        return found

    def plain(self) -> dict[str, Any]:
        """The study as plain data."""
        return {
            "name": self.name,
            "title": self.title,
            "question": self.question,
            "source": self.source,
            "seeds": list(self.seeds),
            "arms": [
                {
                    "name": arm.name,
                    "method": arm.method,
                    "role": arm.role,
                    "recipe": arm.recipe.plain(),
                }
                for arm in self.arms
            ],
            "test": self.test.plain(),
            "selection": self.selection.plain(),
            "claims": [claim.plain() for claim in self.claims],
            "shown": list(self.shown),
        }


def shipped() -> dict[str, str]:
    """The text of every study that travels with the package, by name."""
    folder = resources.files(__package__) / "shipped"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")),
        key=lambda file: file.name,
    )
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in files}


def load(
    text: str, *, seeds: int | None = None, epochs: int | None = None, data: str | None = None
) -> Study:
    """The study called `text`, or, where `text` ends in `.toml`, the study in that file.

    `seeds` replaces the seeds of the file by 0, 1, ..., seeds - 1. `epochs` replaces the epochs of
    its base recipe; arms that train longer or shorter keep their proportion. `data` is for `images`
    tasks that name no data of their own. Raises `UserErrors` with every mistake of the file at
    once, each with its line.
    """
    if text.endswith(".toml"):
        path = Path(text)
        try:
            source, where, folder = (
                path.read_text(encoding="utf-8"),
                path.name,
                path.resolve().parent,
            )
        except FileNotFoundError:
            raise UserError(f"{text}: no such file.") from None
        except (OSError, UnicodeDecodeError) as problem:
            raise UserError(f"{text} cannot be read as text: {type(problem).__name__}.") from None
    else:
        known = shipped()
        if text not in known:
            own = (
                f"For a file of your own: {text}.toml."
                if Path(f"{text}.toml").is_file()
                else "For a study of your own, give the path of its .toml file."
            )
            raise UserError(f"{unknown('study', text, known)} {own}")
        source, where, folder = known[text], f"{text}.toml", Path.cwd()
    name = named(text)
    return _Reader(name, source, where, folder, data).study(seeds, epochs)


class _Reader:
    """Reads one file and gathers its mistakes, in `faults`: a line number and a sentence each.
    Methods return what could be read, so that one mistake does not hide the others.
    """

    def __init__(self, name: str, text: str, where: str, folder: Path, images: str | None) -> None:
        self.name, self.text, self.where, self.folder, self.images = (
            name,
            text,
            where,
            folder,
            images,
        )
        self.faults: dict[tuple[int, str], None] = {}
        # The names of all arms, arms with mistakes included, for claims to refer to. None where the
        # name of an arm cannot be known: then nothing is said about names in claims.
        self.names: dict[str, None] | None = {}
        try:
            self.data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as problem:
            raise UserError(f"{where} is no TOML: {problem}.") from None
        self.places = toml_positions(text)
        self.typed: dict[KeyPath, KeyPath] = {}
        self._rename_entries()

    def _rename_entries(self) -> None:
        """Give entries that were renamed the names that they have now. Faults still name these
        entries as they were typed.
        """
        for table in self._renamed_tables():
            for new, old in RENAMED.items():
                if old not in table:
                    continue
                if new in table:
                    self.fault(
                        (),
                        f"{old}: this entry is called {new} now, and {new} is given too; give one",
                    )
                table[new] = table.pop(old)
        names = {old: new for new, old in RENAMED.items()}
        self.typed = {
            (*path[:-1], names[path[-1]]): path for path in self.places if path[-1] in names
        }

    def _renamed_tables(self) -> Iterator[dict[str, Any]]:
        """Every table that may have an entry that was renamed. A value in the place of a table is
        noted elsewhere.
        """
        arms = self.data.get("arms", [])
        every = [self.data.get(name) for name in ("recipe", "test", "selection")]
        for table in [*every, *(arms if isinstance(arms, list) else [])]:
            if isinstance(table, dict):
                yield table
                if isinstance(table.get("each"), dict):
                    yield table["each"]

    def fault(self, path: Sequence[str | int], message: object) -> None:
        """Note that something is wrong at the place `path`. The same mistake is noted once."""
        typed = next(
            (one for end in range(len(path), 0, -1) if (one := self.typed.get(tuple(path[:end])))),
            (),
        )
        where = spoken((*typed, *path[len(typed) :]), self.places) if path else ""
        line = int(match[1]) if (match := re.match(r"line (\d+)", where)) else 0
        self.faults[line, ": ".join(part for part in (where, str(message).rstrip(".")) if part)] = (
            None
        )

    def study(self, seeds: int | None, epochs: int | None) -> Study:
        """The study that the file declares. Raises `UserErrors` if the file has mistakes."""
        data = self.data
        if self.images is not None and not any(
            tasks.needing_data(str(one.get("task"))) for one in self._tables()
        ):
            raise UserError(
                f"--data {self.images}: no arm of {self.where} is about images without data of "
                "their own."
            )
        for key in data:
            if key not in _TOP:
                self.fault((key,), unknown("entry of a study", key, _TOP))
        title, question = (
            " ".join(value.split()) if self._is_text((key,), value := data.get(key, "")) else "?"
            for key in ("title", "question")
        )
        if not question:
            self.fault((), 'question: a study needs one: question = "..."')
        chosen = self._seeds(data.get("seeds", 8), seeds)
        test = self._table("test", Test, required="corruptions")
        selection = self._table("selection", Selection)
        if test is not None:
            self._check_test(test)
            if test.bounds:
                self._check_bounds(test)
        arms = self._arms(epochs)
        names = list(self.names or ())
        entries = data.get("claims", [])
        looks = [] if test is None else test.looks()
        claims = read_claims(
            entries, names, [name for _, _, name in looks], self.fault, self._built
        )
        check_strengths(entries, claims, looks, self.fault)
        shown = tuple(str(one) for one in as_list(data.get("shown", [])))
        for one in shown:
            if names and not any(one == name or fnmatchcase(name, one) for name in names):
                self.fault(("shown",), unknown("arm", one, names))
        self._check_tasks(arms)
        if self.faults or test is None or selection is None:
            raise UserErrors(self.where, [message for _, message in sorted(self.faults)])
        digest = sha256(self.text.encode()).hexdigest()[:16]
        return Study(
            self.name,
            title or question,
            question,
            tuple(arms),
            chosen,
            test,
            selection,
            claims,
            shown,
            digest,
        )

    def _is_text(self, path: Sequence[str | int], value: Any) -> bool:
        if not isinstance(value, str):
            self.fault(path, f"{value!r} is given where a text is needed")
        return isinstance(value, str)

    def _seeds(self, value: Any, override: int | None) -> tuple[int, ...]:
        if override is not None:
            if override < 2:
                raise UserError(f"seeds {override}: at least 2 are needed, for intervals.")
            return tuple(range(override))
        found = list(range(value)) if _whole(value) else value
        if not isinstance(found, list) or not all(_whole(one) and one >= 0 for one in found):
            self.fault(
                ("seeds",),
                f"{value!r} is given where a number of seeds, or a list of them, is needed",
            )
        elif len(set(found)) < 2 or len(set(found)) < len(found):
            self.fault(
                ("seeds",), f"{value!r}: at least 2 different ones are needed, for intervals"
            )
        else:
            return tuple(found)
        return ()

    def _table(self, key: str, cls: type[Any], required: str = "") -> Any:
        value = self.data.get(key, {})
        if not isinstance(value, dict):
            self.fault((key,), f"a table [{key}] is needed")
            return None
        if required and required not in value:
            self.fault((key,), f"{required} is missing")
            return None
        one = {
            name: as_list(part) if name in ("parts", "batchnorm") else part
            for name, part in value.items()
        }
        if key == "test":
            one["corruptions"] = self._sweeps(one["corruptions"])
        return self._built(cls, one, (key,), f"entry of [{key}]")

    def _built(
        self, cls: type[Any], value: Mapping[str, Any], path: tuple[str | int, ...], what: str
    ) -> Any:
        """An object of the dataclass `cls` from plain data, whose types pydantic checks. None where
        the data have mistakes, which are noted.
        """
        names = [one.name for one in fields(cls)]
        strange = [key for key in value if key not in names]
        for key in strange:
            self.fault((*path, key), unknown(what, key, names))
        adapter = TypeAdapter(cls)
        try:
            return adapter.validate_python(
                {key: part for key, part in value.items() if key not in strange}
            )
        except ValidationError as problem:
            for error in problem.errors():
                said = {"missing": "is missing", "missing_argument": "is missing"}.get(
                    error["type"]
                )
                if isinstance(own := error.get("ctx", {}).get("error"), UserError):
                    said = str(own)
                self.fault((*path, *error["loc"]), said or refusal(error))
            return None

    def _sweeps(self, texts: Any) -> list[Sweep]:
        """The sweeps that [test] names. A text that cannot be read is noted and left out."""
        path, found = ("test", "corruptions"), list[Sweep]()
        for text in as_list(texts):
            try:
                if self._is_text(path, text):
                    found.append(parse_sweep(text))
            except UserError as problem:
                self.fault(path, problem)
        alone = [str(sweep.corruption) for sweep in found]
        if not as_list(texts) or len(set(alone)) < len(alone):
            self.fault(path, "at least one is needed, and each once, with all of its strengths")
        return found

    def _check_test(self, test: Test) -> None:
        for part in test.parts:
            if part not in ("test", "train"):
                self.fault(("test", "parts"), unknown("part to test on", part, ["test", "train"]))
        if "test" not in test.parts:
            self.fault(("test", "parts"), '"test" must be among them')
        for policy in test.batchnorm:
            if policy not in ("as-is", "folded", "recalibrated"):
                self.fault(
                    ("test", "batchnorm"),
                    unknown("policy", policy, ["as-is", "folded", "recalibrated"]),
                )
        if not test.batchnorm or len(set(test.batchnorm)) < len(test.batchnorm):
            self.fault(("test", "batchnorm"), "at least one policy is needed, and each once")
        for chips, table in (
            (test.chips, "test"),
            (self.data.get("selection", {}).get("chips", 2), "selection"),
        ):
            if _whole(chips) and chips < 2:
                self.fault((table, "chips"), f"{chips}: at least 2 chips are needed")

    def _check_bounds(self, test: Test) -> None:
        """Note the entries that rule out the PAC-Bayes bounds that `test` asks for."""
        first = str(test.corruptions[0].corruption) if test.corruptions else ""
        for wrong, message in (
            ("train" not in test.parts, 'the training data are needed: parts = ["test", "train"]'),
            (
                "recalibrated" in test.batchnorm,
                'statistics recomputed on the counted images void them: batchnorm = "as-is"',
            ),
            (
                any("start" in one for one in self._tables()),
                "the weights to start from may have seen the counted images: a task with a prior, "
                "no start",
            ),
            (
                any("protect" in one for one in self._tables()),
                "what is protected moves without noise, and bounds would be infinite: no protect",
            ),
            (
                first not in ("", "gaussian-filter-max"),
                "they are for gaussian-filter-max, and the first of corruptions is "
                f"{first and test.corruptions[0]}",
            ),
        ):
            if wrong:
                self.fault(("test", "bounds"), message)

    def _tables(self) -> list[dict[str, Any]]:
        """The base recipe and the arms as they stand in the file, if they are tables."""
        arms = self.data.get("arms", [])
        found = [self.data.get("recipe", {}), *(arms if isinstance(arms, list) else [])]
        return [one for one in found if isinstance(one, dict)]

    def _arms(self, epochs: int | None) -> list[ArmSpec]:
        """The arms of the file that can be read. `self.names` collects the names of all arms on the
        way.
        """
        base = self.data.get("recipe", {})
        entries = self.data.get("arms", [])
        if not isinstance(base, dict):
            self.fault(("recipe",), "a table [recipe] is needed")
            base = {}
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            self.fault(("arms",), "each arm is one of [[arms]]")
            return []
        if not entries:
            self.fault((), "arms: at least one [[arms]] is needed")
        if "seed" in base:
            self.fault(("recipe", "seed"), _SEEDS_ON_TOP)
        found: dict[str, ArmSpec] = {}
        for place, entry in enumerate(entries):
            path = ("arms", place)
            if not isinstance(entry.get("name"), str) or not entry["name"].strip():
                self.fault(path, 'a name is needed: name = "..."')
                self.names = None
                continue
            for each in self._expanded(entry, path):
                if self.names is not None:
                    self.names[each["name"]] = None
                arm = self._arm({k: v for k, v in base.items() if k != "seed"}, each, path, epochs)
                if arm is None:
                    continue
                if arm.name in found:
                    self.fault(
                        (*path, "name"),
                        f"{arm.name!r} is an arm already; put what differs in braces: {{strength}}",
                    )
                found[arm.name] = arm
                if self.names is not None:
                    self.names |= {
                        at_checkpoint(arm.name, at): None for at in arm.recipe.checkpoints
                    }
        return list(found.values())

    def _expanded(
        self, entry: dict[str, Any], path: tuple[str | int, ...]
    ) -> Iterator[dict[str, Any]]:
        """One dictionary for each arm: the lists of the entry span a grid, and each cell of the
        grid is an arm. `{key}` in a text is replaced by the arm's value of that key, and a list
        that the name does not mention is added to the name.
        """
        each = entry.get("each", {})
        if not isinstance(each, dict):
            self.fault((*path, "each"), "a table of lists is needed: each.peak = [0.1, 0.2]")
            each = {}
        axes = {key: as_list(value) for key, value in each.items()}
        for key, listed in axes.items():
            if not listed:
                self.fault((*path, "each", key), "an empty list makes no arm")
        for key, value in entry.items():
            if isinstance(value, list) and key not in _LISTS:
                if key in _SINGLE:
                    self.fault((*path, key), "one value is needed here, not a list")
                elif not value:
                    self.fault((*path, key), "an empty list makes no arm")
                    axes[key] = []
                elif key not in each:
                    axes[key] = value
        if not all(axes.values()):
            self.names = None
        for cell in itertools.product(*axes.values()):
            values = dict(zip(axes, cell, strict=True))
            filled = {
                **{k: v for k, v in entry.items() if k != "each"},
                **{k: v for k, v in values.items() if k in entry},
            }
            say = {k: v for k, v in {**filled, **values}.items() if k != "name"}
            say |= {old: say[new] for new, old in RENAMED.items() if new in say}
            one: dict[str, Any] = {}
            for key, value in filled.items():
                try:
                    one[key] = _filled(value, say)
                except KeyError as missing:
                    self.fault(
                        (*path, key),
                        f"{value!r}: no {missing.args[0]!r} to put there; it has "
                        f"{', '.join(sorted(say))}",
                    )
                    if key == "name":
                        one[key], self.names = value, None
            unsaid = [
                k
                for k, values_ in axes.items()
                if len(values_) > 1 and f"{{{k}}}" not in str(entry["name"])
            ]
            one["name"] += "".join(f", {k} {_filled(f'{{{k}}}', say)}" for k in unsaid)
            yield one

    def _arm(
        self,
        base: dict[str, Any],
        entry: dict[str, Any],
        path: tuple[str | int, ...],
        epochs: int | None,
    ) -> ArmSpec | None:
        """The arm that `entry` declares on top of the recipe `base`. None where the arm has
        mistakes, which are noted.
        """
        known = list(dict.fromkeys([*(one.name for one in fields(Recipe)), *_ARM]))
        known.remove("seed")
        own = {key: value for key, value in entry.items() if key not in ("name", "method", "role")}
        given = {key: value for key, value in own.items() if key in known}
        for key in own.keys() - given.keys():
            self.fault(
                (*path, key),
                _SEEDS_ON_TOP if key == "seed" else unknown("entry of an arm", key, known),
            )
        merged = self._merged(base, given, path, epochs)
        recipe = self._recipe(merged, given, path)
        method = entry.get("method", str(merged.get("objective", Recipe.objective)))
        role = entry.get("role", "candidate")
        texts = [
            self._is_text((*path, key), one) for key, one in (("method", method), ("role", role))
        ]
        if recipe is None or len(given) < len(own) or not all(texts):
            return None
        return ArmSpec(entry["name"], method, role, recipe)

    def _merged(
        self,
        base: dict[str, Any],
        given: dict[str, Any],
        path: tuple[str | int, ...],
        epochs: int | None,
    ) -> dict[str, Any]:
        """The entries of an arm's recipe: the entries of `base`, replaced by those that are `given`
        for the arm. `epochs` replaces the epochs of the base; an arm with epochs of its own keeps
        its proportion to the base.
        """
        merged = base | given
        if isinstance(base.get("probe"), dict) and isinstance(given.get("probe"), dict):
            merged["probe"] = base["probe"] | given["probe"]
        usual = base.get("epochs", Recipe.epochs)
        own = merged.get("epochs", usual)
        if epochs is not None and _whole(usual) and usual > 0 and _whole(own):
            merged["epochs"] = max(1, round(epochs * own / usual))
        if merged.get("ranks", 1) != 1:
            self.fault(
                (*(path if "ranks" in given else ("recipe",)), "ranks"),
                "a study's workers are single processes; give it more of them (--workers), or "
                "torchrun one recipe with train",
            )
        if "task" in merged:
            merged["task"] = self._task_path(merged["task"])
        return merged

    def _recipe(
        self, merged: dict[str, Any], given: dict[str, Any], path: tuple[str | int, ...]
    ) -> Recipe | None:
        """The recipe with these entries, or None where they have mistakes. A mistake is noted at
        the arm if the entry is `given` there, and at [recipe] otherwise.
        """
        recipe, faults = checked(merged)
        # `checked` judges values only if all entries have the right types. To find the other
        # mistakes too, take the wrong entries out and check the rest, until no mistake is left or
        # no entry is left to take out.
        while faults:
            for key, message in faults:
                first, *rest = key.split(".")
                inner = given.get(first)
                here = first in given and not (
                    rest and isinstance(inner, dict) and rest[0] not in inner
                )
                self.fault((*(path if here else ("recipe",)), first, *rest), message)
            wrong = {key.split(".")[0] for key, _ in faults}
            if not wrong & {*merged, "task"}:
                break
            merged = {"task": "digits"} | {
                key: value for key, value in merged.items() if key not in wrong
            }
            _, faults = checked(merged)
        return recipe

    def _task_path(self, task: Any) -> Any:
        """The text of a task as this call means it: `FILE.py:NAME` is looked for beside the study's
        file, and an `images` task without data gets the data of the call.
        """
        if isinstance(task, str) and self.images is not None and tasks.needing_data(task):
            return tasks.with_data(task, self.images)
        if (
            isinstance(task, str)
            and ".py:" in task
            and not Path(task.partition(".py:")[0] + ".py").is_absolute()
        ):
            beside = self.folder / (task.partition(".py:")[0] + ".py")
            if beside.is_file():
                return str(self.folder / task)
        return task

    def _check_tasks(self, arms: Sequence[ArmSpec]) -> None:
        """Note a task that cannot be loaded or lacks data that a study needs, and patterns that
        match no parameter of its network.
        """
        for named_task in dict.fromkeys(arm.recipe.parts.task for arm in arms):
            about = [arm.recipe for arm in arms if arm.recipe.parts.task == named_task]
            try:
                task = named_task.task()
                for part in ("train", "validation"):
                    task.part(part)
                self._check_patterns(task, about)
            except UserError as problem:
                where = self._home("task", about[0].task, self._task_path)
                self.fault(where, problem)

    def _check_patterns(self, task: Task, recipes: Sequence[Recipe]) -> None:
        for key in ("also", "protect"):
            for patterns in dict.fromkeys(getattr(recipe, key) for recipe in recipes):
                if not patterns:
                    continue
                try:
                    with named_randomness("definition"):
                        Recipe(task.name, **{key: patterns}).arrays((task.blank or task.model)())
                except UserError as problem:
                    where = self._home(key, list(patterns), as_list)
                    self.fault(where, problem)

    def _home(self, key: str, value: Any, read: Callable[[Any], Any]) -> tuple[str | int, ...]:
        """The place of the entry `key` that `read` turns into `value`: the first arm that has such
        an entry, and else [recipe].
        """
        for place, arm in enumerate(self.data["arms"]):
            if key in arm and read(arm[key]) == value:
                return "arms", place, key
        return "recipe", key


def _filled(value: Any, say: Mapping[str, Any]) -> Any:
    """A text with every `{key}` replaced by the arm's value of that key. Raises `KeyError` for a
    key that the arm has not. A value that is no text comes back as it is.
    """
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        found = say[match[1]]
        return written(float(found)) if isinstance(found, float) else str(found)

    return re.sub(r"\{([\w-]+)\}", one, value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
