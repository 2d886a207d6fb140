"""A user's mistake, and nothing else."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = ["Mistake", "Mistakes", "disk_failed", "unknown"]


MANY = 40  # names that one line can hold


class Mistake(ValueError):
    """What came, what would do, the next keystroke, in one line.

    The command line prints it and exits with 2; anything else that is raised is a defect of this package.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled whole, as a worker process sends it: a subclass may be made of other things than its text."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[Mistake], args: tuple[Any, ...], state: dict[str, Any]) -> Mistake:
    made = kind.__new__(kind, *args)
    made.__dict__.update(state)
    return made


class Mistakes(Mistake):
    """All mistakes of one file, one line each.

    >>> print(Mistakes("s.toml", ["line 3, seeds: at least 2", "line 9: no such arm"]))
    s.toml has 2 mistakes:
      line 3, seeds: at least 2
      line 9: no such arm
    """

    def __init__(self, where: str, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        super().__init__("\n  ".join([f"{where} has {count}:", *lines]))


def disk_failed(problem: OSError) -> bool:
    """Whether it is the disk's fault, which is full or broken, and nobody's in this program."""
    return problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def unknown(kind: str, name: str, choices: Iterable[str]) -> Mistake:
    """The answer to a name that is in no catalogue.

    >>> print(unknown("corruption", "gausian", ["gaussian-filter-max", "multiplicative"]))
    No corruption 'gausian' here. Did you mean 'gaussian-filter-max'? Choose one of: gaussian-filter-max, multiplicative.
    """
    names = sorted(choices)
    near = get_close_matches(name, names, n=1, cutoff=0.5) or [c for c in names if name and c.startswith(name)][:1]
    near = near or get_close_matches(name, [c.split("-")[0] for c in names], n=1, cutoff=0.6)
    if near and near[0] not in names:
        near = [next(c for c in names if c.startswith(near[0]))]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return Mistake(f"No {kind} {name!r} here.{hint} Choose one of: {_listed(names, name)}.")


def _listed(names: Sequence[str], name: str) -> str:
    """The names, or of many those nearest to what came."""
    if len(names) <= MANY:
        return ", ".join(names)
    close = get_close_matches(name, names, n=8, cutoff=0.0)
    return f"{', '.join(close)} ({len(names) - len(close)} more)"
