"""One way to write a thing down: `name(inner):value:key=value`, on the command line, in TOML and in
print.

Colons separate values and fields, commas separate the members of a list, and a thing that is made
of another thing names the other one in parentheses: `gaussian-filter-max:0,.1,.2`,
`linear:0:0.3`, `mixture(gaussian-filter-max):low=0.5`.

A text takes two steps to become an object. `split` takes the text apart into a `Spec`, once, where
the text enters the program. `build` looks the name up in a catalogue, turns each value into the
type of its field, and calls the member of the catalogue.

Relies on: the members of a catalogue are dataclasses, or `functools.partial` objects of
dataclasses, whose annotations can be resolved at run time. A field with `metadata={"named": True}`
is part of the name and cannot be typed. A field with `"inner"` is what stands in parentheses,
`"parse"` is a function that reads the field's text, and `"example"` is shown where the field is
missing.
Keeps: whatever is wrong with a text is a `UserError` of one line. What `write` writes, `split` and
`build` read again as an equal object.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_origin, get_type_hints

from ..errors import UserError, unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter


_Member = TypeVar("_Member")


class Spec(NamedTuple):
    """A text taken apart: `name(inner):values...:fields...`. `str` writes the text again.

    `inner` is still a text. Only the member that `name` chooses knows what stands there: another
    corruption, a storage with faults, or a path.
    """

    name: str
    inner: str | None
    values: tuple[str, ...]
    fields: dict[str, str]

    @property
    def head(self) -> str:
        """The name with what stands in parentheses."""
        return self.name if self.inner is None else f"{self.name}({self.inner})"

    def __str__(self) -> str:
        pairs = (f"{key}={value}" for key, value in self.fields.items())
        return ":".join([self.head, *self.values, *pairs])


def parted(text: str, mark: str) -> list[str]:
    """`text` cut at every `mark` that stands outside parentheses.

    >>> parted("weights|fixed(a|b):1|drop", "|")
    ['weights', 'fixed(a|b):1', 'drop']
    """
    depth, parts = 0, [""]
    for letter in text.strip():
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise UserError(f"{text!r}: the parentheses do not match.")
    return parts


def split(text: str | Spec) -> Spec:
    """Take `text` apart. A `Spec` comes back as it is, so a function may be given either.

    >>> split("mixture(gaussian-filter-max):.1,.2:low=0.5")
    Spec(name='mixture', inner='gaussian-filter-max', values=('.1,.2',), fields={'low': '0.5'})
    """
    if isinstance(text, Spec):
        return text
    head, *rest = parted(text, ":")
    name, bracket, inner = head.partition("(")
    if bracket and not inner.endswith(")"):
        raise UserError(f"{text!r}: nothing may stand between ')' and ':'.")
    values = tuple(part for part in rest if "=" not in part)
    pairs = [part.partition("=")[::2] for part in rest if "=" in part]
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise UserError(f"{text!r}: a field is named twice.")
    return Spec(name.strip(), inner[:-1] if bracket else None, values, fields)


_WRONG = {  # what is said of a value, by pydantic's name for what is wrong with it
    "bool_parsing": ": write true or false",
    "bool_type": ": write true or false",
    "finite_number": ": a finite number is needed",
    "float_parsing": " is no number",
    "float_type": " is no number",
    "greater_than": ": a number above {gt} is needed",
    "greater_than_equal": ": at least {ge} is needed",
    "int_from_float": " is no whole number",
    "int_parsing": " is no whole number",
    "int_type": " is no whole number",
    "less_than": ": a number below {lt} is needed",
    "less_than_equal": ": at most {le} is allowed",
    "list_type": " is no list",
    "literal_error": ": {expected} is needed",
    "path_type": " is no path",
    "string_type": " is no text",
    "tuple_type": " is no list",
}


def refusal(error: Mapping[str, Any]) -> str:
    """The value that pydantic refused and what is wrong with it, without a full stop. `error` is a
    member of the `errors()` of pydantic's `ValidationError`.

    >>> refusal({"type": "int_parsing", "input": "ten", "msg": "Input should be a valid integer"})
    "'ten' is no whole number"
    """
    if error["type"] not in _WRONG:
        return f"{error['input']!r}: {error['msg']}"
    return f"{error['input']!r}{_WRONG[error['type']].format(**error.get('ctx', {}))}"


def read(text: str, kind: Any, what: str = "value") -> Any:
    """`text` as a value of the type `kind`; a tuple's members are separated by commas.

    Raises `UserError`, which begins with `what` and the text, where the text is no such value.

    >>> read("0,.1,1e-3", tuple[float, ...]), read("3", int | None)
    ((0.0, 0.1, 0.001), 3)
    """
    from pydantic import ValidationError

    if kind is bool and text not in ("true", "false"):  # pydantic also takes yes, on, 1, ...
        raise UserError(f"{what} {text!r}{_WRONG['bool_parsing']}.")
    typed = text.split(",") if get_origin(kind) is tuple else text
    try:
        return _adapter(kind).validate_python(typed)
    except ValidationError as problem:
        raise UserError(f"{what} {refusal(problem.errors()[0])}.") from None


_type_hints = cache(get_type_hints)


@cache  # making an adapter takes longer than using it a hundred times
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # pydantic is imported late, because the command line must start without it
    # (tests/test_floors.py), and `written` is needed there.
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))


def written(value: object) -> str:
    """A field's value as a user types it; `read(written(x), float) == x` for every finite float."""
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "written"):  # a number with a unit
        return str(value.written())
    if isinstance(value, float):
        return repr(float(value)).removesuffix(".0")  # float: numpy's own repr is np.float64(0.1)
    if isinstance(value, tuple):
        return ",".join(written(member) for member in value)
    return str(value)


def write(name: str, thing: Any, inner: str | None = None, positional: bool = False) -> str:
    """`thing`, a dataclass, as text: its fields that differ from their defaults.

    Fields with `metadata={"named": True}` are part of the name. `positional` writes every value,
    without its key.
    """
    head = name if inner is None else f"{name}({inner})"
    parts = [head]
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if field.metadata.get("named") or (not positional and value == field.default):
            continue
        parts.append(written(value) if positional else f"{field.name}={written(value)}")
    return ":".join(parts)


def build(
    kind: str,
    spec: Spec,
    catalogue: Mapping[str, Callable[..., _Member]],
    parse_inner: Callable[[str], Any] | None = None,
) -> _Member:
    """The member of `catalogue` that `spec` names, with its fields set; `kind` is what errors call
    the member.

    A member that is made of another one (`reversed(linear:0:1)`) is called with what `parse_inner`
    makes of the text in parentheses as its first argument. Raises `UserError` for an unknown name
    or field, for a value of the wrong kind, and for a field or parentheses that are missing.
    """
    if not spec.name:
        raise UserError(f"the name of the {kind} is missing, such as {next(iter(catalogue))}.")
    if spec.name not in catalogue:
        raise unknown(kind, spec.name, catalogue)
    make = catalogue[spec.name]
    cls: Any = getattr(make, "func", make)
    every = dataclasses.fields(cls)
    fields = {field.name: field for field in every if not field.metadata.get("named")}
    kinds = _type_hints(cls)
    arguments = {
        key: _value(text, fields[key], kinds[key], f"{spec.name}: {key}")
        for key, text in _typed(spec, list(fields)).items()
    }
    _check_missing(spec, fields, arguments)
    _check_inner(spec, any(field.metadata.get("inner") for field in every))
    if spec.inner is None:
        return make(**arguments)
    assert parse_inner is not None
    return make(parse_inner(spec.inner), **arguments)


def _typed(spec: Spec, names: list[str]) -> dict[str, str]:
    """The text of each field that was given, by position or by name."""
    if len(spec.values) > len(names):
        raise UserError(
            f"{str(spec)!r}: {spec.name} takes {len(names)} values, and {len(spec.values)} are given."
        )
    typed = dict(zip(names, spec.values, strict=False))
    for key in spec.fields:
        if not names:
            raise UserError(f"{str(spec)!r}: {spec.name} has no fields.")
        if key not in names:
            raise unknown(f"field of {spec.name}", key, names)
        if key in typed:
            raise UserError(f"{str(spec)!r}: {key} is given twice.")
    return typed | spec.fields


def _value(text: str, field: dataclasses.Field[Any], kind: Any, what: str) -> Any:
    own = field.metadata.get("parse")
    return own(text) if own else read(text, kind, what)


def _check_missing(
    spec: Spec, fields: Mapping[str, dataclasses.Field[Any]], given: Mapping[str, Any]
) -> None:
    missing = [
        key
        for key, field in fields.items()
        if field.default is dataclasses.MISSING and key not in given
    ]
    if missing:
        shown = [
            f"{key}={fields[key].metadata['example']}"
            for key in missing
            if "example" in fields[key].metadata
        ]
        example = f": {':'.join([spec.name, *shown])}" if shown else ""
        raise UserError(f"{str(spec)!r}: {spec.name} also needs {' and '.join(missing)}{example}.")


def _check_inner(spec: Spec, needed: bool) -> None:
    if needed != (spec.inner is not None):
        what = (
            f"needs what it works on in parentheses: {spec.name}(...)"
            if needed
            else "takes nothing in parentheses"
        )
        raise UserError(f"{str(spec)!r}: {spec.name} {what}.")


# ---- A task's text without folders. What is in the files identifies a run, not where they lie, and
# a text that others read should name no folder of this machine.


def strip_paths(task: str) -> str:
    """`task` without folders: of images neither their data nor a network's folder, of a task of the
    user's own the file's name.

    >>> strip_paths("images(parquet:/data/cifar10):network=resnet18"), strip_paths("digits")
    ('images:network=resnet18', 'digits')
    >>> strip_paths("/home/me/mine.py:task")
    'mine.py:task'
    """
    spec = split(task)
    if spec.name == "images" and spec.inner is not None:
        own = os.sep in spec.fields.get("network", "")
        bare = task.replace(f"({spec.inner})", "", 1)
        return re.sub(r"network=[^:]*", "network=transformers", bare) if own else bare
    return task.replace("\\", "/").rpartition("/")[2] if ".py:" in task else task
