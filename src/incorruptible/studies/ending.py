"""How a worker ended, in a file that the worker writes itself and the supervisor reads.

What a worker prints is for people: libraries print, too, and some of them last of all, when Python
ends. So the supervisor does not look for the reason among those lines. A worker that was killed by
a signal has written no such file.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError, UserErrors
from ..files import records


@dataclass(frozen=True)
class Ending:
    """The exit code that a worker chose, and why; the mistakes in a file, where it was that, with
    the file's name and a line each.
    """

    code: int
    message: str = ""
    where: str = ""
    lines: tuple[str, ...] = ()

    @classmethod
    def of(cls, code: int, message: str, problem: BaseException) -> Ending:
        """The ending by `problem`, which the command line answers with `code` and `message`."""
        if isinstance(problem, UserErrors):
            return cls(code, message, problem.where, problem.lines)
        return cls(code, message)

    def mistake(self) -> UserError:
        """The mistake that the worker found, as it would have been raised here."""
        return UserErrors(self.where, self.lines) if self.lines else UserError(self.message)


def write_ending(path: Path, ending: Ending) -> None:
    """Write it to `path`, whole or not at all. Where the disk is full or broken there is no file:
    the exit code says as much.
    """
    with suppress(OSError):
        records.write(path, asdict(ending))


def read_ending(path: Path) -> Ending | None:
    """The ending that a worker wrote to `path`; None where it wrote none."""
    try:
        found = records.read(path)
    except UserError:
        return None
    return Ending(found["code"], found["message"], found["where"], tuple(found["lines"]))
