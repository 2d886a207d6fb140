"""Data on stdout and in files, everything else on stderr."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand

from ..errors import UserError, UserErrors, disk_failed, path_refused

if TYPE_CHECKING:
    from ..evaluation.base import Drawn

# ---- Data on stdout, everything else on stderr


class Once(TyperCommand):
    """A verb whose options are given once, but for those that may come again: the last one would
    replace the others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Help shows the last word of a value's name, `--half-width WIDTH`, and not its type."""
        super().__init__(*args, **kwargs)
        parameters: list[Any] = self.params
        for parameter in parameters:
            parameter.metavar = parameter.metavar or parameter.name.rpartition("_")[2].upper()
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: ""  # newer versions of typer add <str>

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence of the verb's help, whole: the list of verbs wraps it."""
        said = " ".join((self.help or "").split())
        return said.split(": ")[0].split(". ")[0].split("; ")[0].rstrip(".:") + "."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words as any command does. Raises `UserError` for an option that came twice."""
        try:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        except Exception as problem:
            # Some errors of the parser do not name the verb, which the hint after the error needs.
            vars(problem)["ctx"] = ctx
            raise
        for parameter, count in Counter(order).items():
            if (
                count > 1
                and not getattr(parameter, "multiple", True)
                and not getattr(parameter, "is_flag", False)
            ):
                raise UserError(f"{parameter.opts[-1]} came {count} times; give it once.")
        return super().parse_args(ctx, args)


def say(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(text.rstrip("\n") + "\n")


def put(text: str) -> None:
    """What was asked for, on stdout; whoever stops reading it ends the command, and that is no
    error.
    """
    try:
        sys.stdout.write(text.rstrip("\n") + "\n")
    except BrokenPipeError:
        unread()


def unread() -> NoReturn:
    """Leave quietly, for nobody reads what is written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def put_json(data: Any) -> None:
    """The same as JSON; numbers that are not finite become null."""
    from ..files.records import plain

    put(json.dumps(plain(data), indent=1, allow_nan=False))


def answer(problem: BaseException) -> tuple[int, str]:
    """The exit code and the line that answer an exception: 2 for a mistake of the user's, 74 for a
    full disk, 130 for Ctrl-C, and 70 for a defect of this package or of the user's code.
    """
    # typer's own errors come from click, or from its copy of click, depending on the version; both
    # format themselves
    usage = getattr(problem, "format_message", None)
    if usage is not None:
        text = usage()
        if text.strip().startswith("Usage:"):
            return 2, text
        words, context = ["--help"], getattr(problem, "ctx", None)
        while context is not None and context.parent is not None:  # from the verb up to the program
            words.insert(0, context.info_name)
            context = context.parent
        said = " ".join(text.split()).removesuffix(".")
        return 2, f"{said}. Try 'incorruptible {' '.join(words)}'."
    if isinstance(problem, KeyboardInterrupt | typer.Abort):
        return 130, "stopped; the same command goes on from here."
    if isinstance(problem, OSError) and (line := path_refused(problem)) is not None:
        return 2, line
    if isinstance(problem, UserErrors):
        return 2, str(problem)
    if isinstance(problem, UserError):
        return 2, " ".join(str(problem).split())
    if isinstance(problem, OSError) and disk_failed(problem):
        # EX_IOERR of sysexits.h
        return (
            74,
            f"{problem.filename or 'a file'}: {problem.strerror}. Nothing is lost: make room, call "
            "again.",
        )
    # EX_SOFTWARE of sysexits.h
    return 70, f"{type(problem).__name__}: {' '.join(str(problem).split())} (--debug shows where)"


@contextmanager
def one_voice() -> Iterator[None]:
    """What all processes that torchrun started have to say, a mistake or Ctrl-C, is said once on
    each machine.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt) as problem:
        from ..training import launched

        if not launched() or os.environ["LOCAL_RANK"] == "0":
            raise
        if isinstance(problem, KeyboardInterrupt):
            sys.exit(130)
        time.sleep(10)  # torchrun ends all once one has ended: let the one that speaks be first
        sys.exit(2)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr where that is a terminal; elsewhere a line every ten seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task(what, total=None)
            yield lambda done, total, label: bars.update(
                bar, completed=done, total=total, description=f"{what}: {label}"
            )
        return
    last = time.monotonic()

    def line(done: int, total: int, label: str) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            say(f"{what}: {done} of {total} ({label})")

    yield line


def command() -> str:
    """What was typed, to be typed again."""
    return shlex.join(["incorruptible", *sys.argv[1:]])


# ---- What a verb found: on the screen, as JSON, in a file


def draw_to(path: Path | None, found: Drawn) -> None:
    """Write a result's figure beside `path`, as .png and .svg; without a path, nothing."""
    if path is not None:
        from ..plots import save

        save(found.figure(), path)


def give(plain: dict[str, Any], text: str, out: Path | None, json_: bool) -> None:
    """`plain` into the file `out`, if one is named; on stdout `plain` as JSON, or `text`."""
    if out is not None:
        from ..files.records import write

        write(out, {**plain, "command": command()})
    if json_:
        put_json(plain)
    else:
        put(text)


def check_output(path: Path | None, suffixes: tuple[str, ...], force: bool) -> None:
    """Whether a result can be written there, before it is measured."""
    if path is None:
        return
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.suffix not in suffixes or path.is_dir() or not folder.is_dir():
        kinds = " or ".join(suffix for suffix in suffixes if suffix)
        raise UserError(f"{path}: a file that ends in {kinds}, in a folder, is needed.")
    targets = (
        [path] if path.suffix == ".json" else [path.with_suffix(".png"), path.with_suffix(".svg")]
    )
    for one in targets:
        if one.exists() and not force:
            raise UserError(f"{one} is there already; --force overwrites it.")
