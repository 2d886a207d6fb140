"""How a worker ended, in a file that the worker writes itself and the supervisor reads.

What a worker prints is for people. Libraries print too, some of them last of all, when Python ends,
so the supervisor does not look for the reason among the printed lines. A worker that was killed by
a signal has written no file.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError, UserErrors
from ..files import records


@dataclass(frozen=True)
class Ending:
    """The exit code that a worker chose, and the message that says why. For mistakes in a file,
    `where` is the file's name, and `lines` has one line for each mistake.
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
    """Write `ending` to `path`, whole or not at all. On a full or broken disk there is no file, and
    the exit code alone says what happened.
    """
    with suppress(OSError):
        records.write(path, asdict(ending))


def read_ending(path: Path) -> Ending | None:
    """The ending that a worker wrote to `path`; None if it wrote none."""
    try:
        found = records.read(path)
    except UserError:
        return None
    return Ending(found["code"], found["message"], found["where"], tuple(found["lines"]))
