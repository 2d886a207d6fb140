"""One way to write a thing down: `name(inner):value:key=value`, on the command line, in TOML and in
print.

Values and fields are separated by colons, members of a list by commas, and a thing made of another
thing names it in parentheses: `gaussian-filter-max:0,.1,.2`, `linear:0:0.3`,
`mixture(gaussian-filter-max):low=0.5`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import UserError, unknown

__all__ = [
    "Spec",
    "build",
    "number",
    "numbers",
    "parted",
    "split",
    "strip_paths",
    "write",
    "written",
]


# ---- One way to write a thing down: `name(inner):value:key=value`, on the command line, in TOML
# and in print. Values and fields are separated by colons, members of a list by commas, and a thing
# made of another thing names it in parentheses: `gaussian-filter-max:0,.1,.2`, `linear:0:0.3`,
# `mixture(gaussian-filter-max):low=0.5`.


class Spec(NamedTuple):
    """A text taken apart: `name(inner):values...:fields...`."""

    name: str
    inner: str | None
    values: tuple[str, ...]
    fields: dict[str, str]


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


def split(text: str) -> Spec:
    """Take `text` apart.

    >>> split("mixture(gaussian-filter-max):.1,.2:low=0.5")
    Spec(name='mixture', inner='gaussian-filter-max', values=('.1,.2',), fields={'low': '0.5'})
    """
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


def number(text: str, what: str = "value") -> float:
    """A finite number, or a `UserError` that names what came."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{what} {text!r} is no number.") from None
    if not math.isfinite(value):
        raise UserError(f"{what} {text!r}: a finite number is needed.")
    return value


def numbers(text: str, what: str = "value") -> tuple[float, ...]:
    """Numbers separated by commas."""
    return tuple(number(part, what) for part in text.split(","))


def written(value: object) -> str:
    """A field's value as it is typed; `number(written(x)) == x` for every finite float."""
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


def _convert(text: str, kind: object, what: str) -> object:
    kind = str(kind).removesuffix(" | None")
    if kind.startswith("tuple"):
        return numbers(text, what)
    if kind == "bool":
        if text not in ("true", "false"):
            raise UserError(f"{what} {text!r}: write true or false.")
        return text == "true"
    if kind == "int":
        try:
            return int(text)
        except ValueError:
            raise UserError(f"{what} {text!r} is no whole number.") from None
    return number(text, what) if kind == "float" else text


def _value(text: str, field: dataclasses.Field[Any], what: str) -> object:
    """What stands for the field; `metadata={"parse": ...}` knows how to read texts of a kind of its
    own.
    """
    own = field.metadata.get("parse")
    return own(text) if own else _convert(text, field.type, what)


def build(
    kind: str,
    text: str,
    catalogue: Mapping[str, Callable[..., Any]],
    parse_inner: Callable[[str], Any] | None = None,
) -> Any:
    """The member of `catalogue` that `text` names, with its fields set; `kind` is what errors call
    it.

    A member that is made of another (`reversed(linear:0:1)`) is called with what `parse_inner`
    makes of the text in parentheses as its first argument. Raises `UserError` for an unknown name
    or field, and for a value of the wrong kind.
    """
    spec = split(text)
    if spec.name not in catalogue:
        raise unknown(kind, spec.name, catalogue)
    make = catalogue[spec.name]
    cls: Any = getattr(make, "func", make)
    fields = [field for field in dataclasses.fields(cls) if not field.metadata.get("named")]
    if len(spec.values) > len(fields):
        raise UserError(
            f"{text!r}: {spec.name} takes {len(fields)} values, {len(spec.values)} came."
        )
    given = dict(zip((field.name for field in fields), spec.values, strict=False))
    for key, value in spec.fields.items():
        if key not in {field.name for field in fields}:
            raise unknown(
                f"field of {spec.name}", key, [field.name for field in fields] or ["(none)"]
            )
        if key in given:
            raise UserError(f"{text!r}: {key} is given twice.")
        given[key] = value
    by_name = {field.name: field for field in fields}
    arguments = {
        key: _value(value, by_name[key], f"{spec.name}: {key}") for key, value in given.items()
    }
    missing = [
        f.name for f in fields if f.default is dataclasses.MISSING and f.name not in arguments
    ]
    if missing:
        shown = [
            f"{key}={by_name[key].metadata['example']}"
            for key in missing
            if "example" in by_name[key].metadata
        ]
        example = f": {':'.join([spec.name, *shown])}" if shown else ""
        raise UserError(f"{text!r}: {spec.name} also needs {' and '.join(missing)}{example}.")
    needs_inner = any(field.metadata.get("inner") for field in dataclasses.fields(cls))
    if needs_inner != (spec.inner is not None):
        what = (
            f"needs what it works on in parentheses: {spec.name}(...)"
            if needs_inner
            else "takes nothing in parentheses"
        )
        raise UserError(f"{text!r}: {spec.name} {what}.")
    if spec.inner is None:
        return make(**arguments)
    assert parse_inner is not None
    return make(parse_inner(spec.inner), **arguments)


# ---- A task's text without where its files lie: what is in them identifies a run, and what others
# read names no folder


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
