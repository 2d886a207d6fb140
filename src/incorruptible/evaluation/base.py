"""What every result can do: be printed, given as JSON, drawn, saved and loaded.

A result is what a function that looks at chips gives back: `Scores`, `AnytimeMeans`, `Means`,
`OverTime`, `Sensitivity`, `Audit` and the certificates. Each of them is a `Result`:

    scores = measure(model, accuracy, data, "gaussian-filter-max", [0, 0.1])
    print(scores)                         # the text that the command line prints
    scores.plain()                        # the dictionary that `--json` and `--out` write
    scores.figure().savefig("scores.png") # the figure that `--figure` draws
    scores.save("scores.json")
    again = Scores.load("scores.json")    # again == scores

`ScoredResult` adds the fields that every score on chips states, and `stated` fills them.

Relies on: the fields of a result are numbers, texts, arrays, and tuples, NamedTuples or dataclasses
of these; their annotations name the types, and those of arrays the type of their numbers. Keeps: a
result that was saved and loaded is equal to the last bit, infinities and nan included. A figure
names the corruption, the number of chips and examples, and what its band is, so that the figure can
be read without the table.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args, get_origin, get_type_hints

import numpy as np

from ..corruptions import traits
from ..errors import UserError
from ..files import records

if TYPE_CHECKING:
    from .sampling import Sampling
    from .scoring import ScoreFunction


class Result(ABC):
    """What was found. Two results are equal where every number and every text in them is."""

    @abstractmethod
    def table(self) -> str:
        """The numbers as text, in columns."""

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """What `--json` prints and `--out` writes, as plain data."""

    def save(self, path: str | Path) -> None:
        """Write the result to a JSON file, which `load` reads.

        The file holds `plain()`, and under "fields" what else `load` needs. The file appears whole
        or not at all, and an existing file is replaced. Scores of single examples take some 10
        bytes each.
        """
        whole = {"result": type(self).__name__, "fields": _written(self)}
        records.write(Path(path), {**self.plain(), **whole})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The result that `save` wrote.

        Raises `UserError` for a file that is missing, damaged, from a newer version, or that holds
        something else than a result of this class.
        """
        record = records.read(path)
        kind = record.get("result")
        if kind != cls.__name__:
            other = (
                f"read it with {kind}.load" if kind else ".save(path) writes one, --out does not"
            )
            raise UserError(f"{path} holds no saved {cls.__name__}: {other}.")
        try:
            found: Self = _read(cls, record["fields"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(f"{path} was saved by another version, with other fields.") from None
        return found

    def __eq__(self, other: object) -> bool:
        # As written, a nan is equal to a nan. As numbers, it is not.
        return type(self) is type(other) and _written(self) == _written(other)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return str(self)


class Drawn(Result):
    """A result that has a figure."""

    @abstractmethod
    def figure(self) -> Any:
        """The result as a matplotlib figure, at the size of a page."""


class Charted(Drawn):
    """A result whose figure is a chart of `incorruptible.plots`."""

    @abstractmethod
    def chart(self) -> Any:
        """What the figure shows, as plain data (`plots.Lines`)."""

    def figure(self) -> Any:
        """The result as a matplotlib figure, at the size of a page."""
        from ..plots import draw

        return draw(self.chart())


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ScoredResult(Charted):
    """Scores on chips, with what must be said of the chips and of the score.

    `corruption` is the text of what goes wrong, and `corruption_unit` the unit of its strengths.
    `conditions` is what a device's result must say: range, mapping, time and drift compensation.
    `name` and `unit` belong to the score, which was taken on `n_examples` examples. `seed` and
    `purpose` name the chips. `read` is the text of the error that each read of a chip added.
    `batchnorm`, `autocast` and `channels_last` are as in `Sampling`.
    """

    corruption: str
    corruption_unit: str
    name: str
    unit: str
    n_examples: int
    seed: int
    purpose: str
    batchnorm: str
    conditions: str = ""
    autocast: str | None = None
    channels_last: bool = False
    read: str | None = None

    def _on_examples(self) -> str:
        """On what the chips were scored and how, for the first line of a table."""
        return (
            f"{self.n_examples} examples, seed {self.seed} ({self.purpose}), BatchNorm "
            f"{self.batchnorm}{f', autocast {self.autocast}' if self.autocast else ''}"
            f"{', channels last' if self.channels_last else ''}"
        )


def stated(sampling: Sampling, score: ScoreFunction) -> dict[str, Any]:
    """The fields of a `ScoredResult` that follow from the chips and the score, by name."""
    return {
        "corruption": str(sampling.corruption),
        "corruption_unit": sampling.corruption.unit,
        "conditions": traits(sampling.corruption).conditions,
        "name": str(getattr(score, "name", None) or getattr(score, "__name__", "score")),
        "unit": getattr(score, "unit", "mean over examples"),
        "seed": sampling.seed,
        "purpose": sampling.purpose,
        "batchnorm": sampling.batchnorm,
        "autocast": sampling.autocast,
        "channels_last": sampling.channels_last,
        "read": sampling.read_noise,
    }


def _names(one: Any) -> Sequence[str]:
    """The names of the fields of a dataclass or NamedTuple; none of anything else."""
    return (
        [field.name for field in fields(one)] if is_dataclass(one) else getattr(one, "_fields", [])
    )


def _written(value: Any) -> Any:
    """A result, or a part of one, as JSON can hold it without a loss: numbers that are not finite
    become texts, which `float` reads.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if names := _names(value):
        return {name: _written(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return float.__repr__(value)
    return value


def _read(kind: Any, value: Any) -> Any:
    """What was written, as an object of the annotated `kind`. Fields that an earlier version did
    not write keep their defaults.
    """
    parts = get_args(kind)
    if type(None) in parts:  # X | None
        return None if value is None else _read(parts[0], value)
    if get_origin(kind) is np.ndarray:
        return np.array(value, get_args(parts[1])[0])
    if get_origin(kind) is tuple:
        each = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(map(_read, each, value))
    if names := _names(kind):
        kinds = get_type_hints(kind)
        return kind(**{name: _read(kinds[name], value[name]) for name in names if name in value})
    # A whole number stays one where the annotation says float, so that it is printed as before.
    return value if isinstance(value, (kind, int)) else kind(value)


def against_strength(
    found: Any, rows: Sequence[dict[str, Any]], last: str | None, level: str | None
) -> Any:
    """Score against strength: the mean over chips with its interval, and the chip named `last`.

    `rows` holds "mean", "low", "high" and, where there is one, `last` for each strength; `level`
    says what the band is, and is None where there is none.
    """
    from ..plots import Line, Lines

    band = ([row["low"] for row in rows], [row["high"] for row in rows]) if level else None
    curves = [Line(found.strengths, [row["mean"] for row in rows], "mean over chips", band)]
    if last is not None:
        shown = [row[last] for row in rows]
        curves.append(Line(found.strengths, shown, f"{last} chip", dashed=True))
    few, many = min(map(len, found.values)), max(map(len, found.values))
    said = [
        found.conditions,
        f"{counted(many) if few == many else f'{few} to {counted(many)}'}, "
        f"{found.n_examples} examples, BatchNorm {found.batchnorm}",
        f"band: {level}, over chips" if level else "",
    ]
    axes = f"{found.corruption}: {found.corruption_unit}", f"{found.name} ({found.unit})"
    return Lines("", "", {"": curves}, *axes, "; ".join(filter(None, said)))


def counted(chips: int) -> str:
    """A number of chips as people say it.

    >>> counted(1), counted(2)
    ('1 chip', '2 chips')
    """
    return f"{chips} chip{'' if chips == 1 else 's'}"
