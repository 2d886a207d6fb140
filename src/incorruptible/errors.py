"""Errors for mistakes of the user's.

The command line answers a `UserError` with one line and exit code 2. Any other exception is a
defect of this package or of the user's own code.

Keeps: the text of a `UserError` is one line that says what was given, what would do, and what to
type next; only `UserErrors`, for all mistakes of one file, has several lines. The errors survive
pickling, so that a worker process can raise them in its parent.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .renamed import ENTRIES, missing

MANY = 40  # the largest number of names that an error lists
_CLOSE = 0.65  # difflib's likeness of names that may be mistyped; sigma and g_max reach 0.6

_Function = TypeVar("_Function", bound=Callable[..., Any])


class UserError(ValueError):
    """A mistake of the user's. The text says in one line what was given, what would do, and what to
    type next.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error with all its attributes, as a worker process sends it. The default would
        call the class with the text alone, and a subclass may take other arguments.
        """
        return _remade, (type(self), self.args, self.__dict__)


class NotFinite(UserError):
    """The weights or answers of a network are not finite before any error is put in. Mostly its
    training has diverged.
    """


class Remark(UserWarning):
    """Something that the user should know and that is no mistake. The command line prints a remark
    as one line on stderr.
    """


def _remade(kind: type[UserError], args: tuple[Any, ...], state: dict[str, Any]) -> UserError:
    made = kind.__new__(kind, *args)
    made.__dict__.update(state)
    return made


class UserErrors(UserError):
    """All mistakes of one file, one line each.

    >>> print(UserErrors("s.toml", ["line 3, seeds: at least 2", "line 9: no such arm"]))
    s.toml has 2 mistakes:
      line 3, seeds: at least 2
      line 9: no such arm
    """

    def __init__(self, where: str, lines: Sequence[str]) -> None:
        self.where, self.lines = where, tuple(lines)
        count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        super().__init__("\n  ".join([f"{where} has {count}:", *lines]))


def renamed_arguments(**names: str) -> Callable[[_Function], _Function]:
    """A decorator for functions with arguments that were renamed. A call with an old name raises a
    `UserError` that gives the new name, for one release.

    >>> @renamed_arguments(draws="chips")
    ... def measure(chips): ...
    >>> measure(draws=3)
    Traceback (most recent call last):
    incorruptible.errors.UserError: measure(draws=...) was renamed to measure(chips=...).
    """

    def answering(function: _Function) -> _Function:
        called = function.__qualname__.removesuffix(".__init__")

        @wraps(function)
        def answer(*args: Any, **given: Any) -> Any:
            for old in names.keys() & given.keys():
                raise UserError(f"{called}({old}=...) was renamed to {called}({names[old]}=...).")
            return function(*args, **given)

        return cast("_Function", answer)

    return answering


def disk_failed(problem: OSError) -> bool:
    """Whether the disk is full or broken, so that the error is neither the user's nor this
    program's.
    """
    return problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def path_refused(problem: OSError) -> str | None:
    """The message for a path that cannot be opened or made as it was given, such as a folder in
    place of a file or a name that is too long; None if the `OSError` has another reason.

    >>> path_refused(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300))
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...: File name too long.'
    """
    by_name = isinstance(
        problem, NotADirectoryError | IsADirectoryError | FileExistsError | PermissionError
    )
    if not by_name and problem.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
        return None
    name = str(problem.filename)
    return f"{name if len(name) <= 200 else name[:40] + '...'}: {problem.strerror}."


def unknown(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """The error for a name that is not among the `choices`, with the choice that is nearest.

    >>> print(unknown("corruption", "gausian", ["gaussian", "lognormal"]))
    No corruption 'gausian' here. Did you mean 'gaussian'? Choose one of: gaussian, lognormal.
    """
    names = sorted(choices)
    if ENTRIES.get(name) in names:
        return UserError(f"No {kind} {name!r} here: it was renamed to {ENTRIES[name]!r}.")
    near = (
        get_close_matches(name, names, n=1, cutoff=_CLOSE)
        or [c for c in names if name and c.startswith(name)][:1]
    )
    near = near or get_close_matches(name, [c.split("-")[0] for c in names], n=1, cutoff=_CLOSE)
    if near and near[0] not in names:
        near = [next(c for c in names if c.startswith(near[0]))]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"No {kind} {name!r} here.{hint} Choose one of: {_listed(names, name)}.")


def _listed(names: Sequence[str], name: str) -> str:
    """The names in one line; of more than `MANY` names, the eight that are nearest to `name`."""
    if len(names) <= MANY:
        return ", ".join(names)
    close = get_close_matches(name, names, n=8, cutoff=0.0)
    return f"{', '.join(close)} ({len(names) - len(close)} more)"


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name)
