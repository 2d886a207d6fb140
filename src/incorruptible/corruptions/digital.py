"""Digital storages with a fault, under names of their own: rounding, flipped bits, lost weights and
lines, stuck cells.

Each name is a row: a storage, at most one fault, and the fields of both. `int-flips:bits=4` is
`stored(integers:bits=4|bit-flips)` under a shorter name, and makes the same chips bit for bit. A
further name is a further row here and a line in `corruptions.CATALOGUE`.

>>> print(IntFlips(bits=4), "=", IntFlips(bits=4).stored())
int-flips:bits=4 = stored(integers:bits=4|bit-flips)

Relies on: the classes of storages and faults are frozen dataclasses whose fields have defaults, and
no storage shares a field's name with its fault.
Keeps: each row is a frozen dataclass of its own, so it can be compared, hashed, pickled and written
down like any other corruption.
"""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from typing import Any, ClassVar

from ..specs.grammar import write
from .faults import BitFlips, Dead, Drop, Stuck
from .storages import Crossbar, Floats, Integers, Weights
from .stored import Composed, Stored


class NamedStorage(Composed):
    """A storage and at most one fault under a name of their own, with the fields of both."""

    name: ClassVar[str]
    parts: ClassVar[tuple[type[Any], ...]]  # the class of the storage, then that of the fault

    def __post_init__(self) -> None:
        # Before the storage itself is made: here its message names `int-flips`, which the user
        # typed, and there it would name `integers`.
        if check := getattr(super(), "__post_init__", None):
            check()
        self.stored()

    def __str__(self) -> str:
        return write(self.name, self)

    def stored(self) -> Stored:
        storage, *faults = (
            part(**{field.name: getattr(self, field.name) for field in fields(part)})
            for part in self.parts
        )
        return Stored(storage, tuple(faults))


def _named(name: str, title: str, doc: str, *parts: type[Any], **own: Any) -> Any:
    """The class `title` of the corruption `name`, made of a storage's class and at most one
    fault's. `own` are attributes of the class; where one has the name of a fault's field, the field
    is pinned to its value.
    """
    free = [
        (field.name, field.type, field.default)
        for fault in parts[1:]
        for field in fields(fault)
        if field.name not in own
    ]
    said = {"__doc__": doc, "__module__": __name__, "name": name, "parts": parts}
    bases = (NamedStorage, parts[0])
    return make_dataclass(title, free, bases=bases, namespace=said | own, frozen=True)


Quantised = _named(
    "quantised",
    "Quantised",
    """The weights as `Integers` hold them. Every strength is the same, 0 too: there is nothing that
    could grow.
    """,
    Integers,
    source="Jacob et al., CVPR 2018 (arXiv 1712.05877)",
    unit="none: rounding has no strength",
    formula=property(lambda self: f"w rounded to {self.held}"),
)

IntFlips = _named(
    "int-flips",
    "IntFlips",
    """Each bit of each code flips with probability s, but for the `protected` most significant
    ones; see `Integers`.
    """,
    Integers,
    BitFlips,
)

FloatFlips = _named(
    "float-flips",
    "FloatFlips",
    """Each bit of each number flips with probability s, but for the `protected` most significant
    ones; see `Floats`.

    One flip of the top exponent bit multiplies a weight below 2 by 2^128 (float32, bfloat16) or
    2^16 (float16).
    """,
    Floats,
    BitFlips,
    formula=property(lambda self: f"{self.stored().formula}; {self.specials}"),
)

DropConnect = _named(
    "dropconnect",
    "DropConnect",
    """Each weight is zero with probability s, and the others stay as they are (Wan et al., ICML
    2013).

    Rates are nested: what is lost at one rate on a chip is lost at every higher one.
    """,
    Weights,
    Drop,
)

StuckCells = _named(
    "stuck",
    "StuckCells",
    """Each cell of a `Crossbar` is stuck with probability s, at G_min ("zero"), at G_max ("max") or
    anywhere ("random").

    Of integers: `stored(integers|stuck:at=max)`.
    """,
    Crossbar,
    Stuck,
)

DeadRows = _named(
    "dead-rows",
    "DeadRows",
    """Each input line (one place of the fan-in, in every filter) is zero with probability s; see
    `Dead`.
    """,
    Weights,
    Dead,
    line="row",
)

DeadColumns = _named(
    "dead-columns",
    "DeadColumns",
    """Each output line (a filter) is zero with probability s; see `Dead`.""",
    Weights,
    Dead,
    line="column",
)
