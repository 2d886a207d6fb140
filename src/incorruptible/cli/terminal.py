"""What a verb prints and writes: results on standard output and in files, and everything else, such
as progress, remarks and errors, on standard error.

Keeps: standard output holds nothing but the result, so that it can be piped into another program.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand

from ..errors import UserError, UserErrors, disk_failed, path_refused

if TYPE_CHECKING:
    from ..evaluation.base import Drawn

# ---- The command, its help and its output


class Once(TyperCommand):
    """A verb whose options may be given once only, except options that take several values. Without
    this check the last one would silently replace the others.
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
        """The first sentence of the verb's help. The list of verbs shows it whole, and wraps it."""
        said = " ".join((self.help or "").split())
        return said.split(": ")[0].split(". ")[0].split("; ")[0].rstrip(".:") + "."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words as any command does. Raises `UserError` for an option that is given twice."""
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
                raise UserError(f"{parameter.opts[-1]} is given {count} times; give it once.")
        return super().parse_args(ctx, args)


def say(text: str) -> None:
    """Print a line for people, on standard error."""
    sys.stderr.write(text.rstrip("\n") + "\n")


def put(text: str) -> None:
    """Print a result on standard output. If the reader of a pipe has left, the command ends, which
    is no error.
    """
    try:
        sys.stdout.write(text.rstrip("\n") + "\n")
    except BrokenPipeError:
        unread()


def unread() -> NoReturn:
    """Leave quietly, because nobody reads the output any more."""
    # Python writes what is left in its buffer when it ends, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def put_json(data: Any) -> None:
    """Print a result as JSON on standard output. Numbers that are not finite become null."""
    from ..files.records import plain

    put(json.dumps(plain(data), indent=1, allow_nan=False))


def answer(problem: BaseException) -> tuple[int, str]:
    """The exit code and the line for an exception: 2 for a mistake of the user's, 74 for a full
    disk, 130 for Ctrl-C, and 70 for a defect of this package or of the user's code.
    """
    # Depending on its version, typer raises errors of click or of its own copy of click. So these
    # errors are told by their method for formatting, and not by their class.
    usage = getattr(problem, "format_message", None)
    if usage is not None:
        text = _refused(problem) or usage()
        if text.strip().startswith("Usage:"):
            return 2, text
        words, context = ["--help"], getattr(problem, "ctx", None)
        while context is not None and context.parent is not None:  # from the verb up to the program
            words.insert(0, context.info_name)
            context = context.parent
        said = " ".join(text.split()).rstrip(".")
        return (
            2,
            f"{said}{'' if said.endswith('?') else '.'} Try 'incorruptible {' '.join(words)}'.",
        )
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


def _refused(problem: Any) -> str | None:
    """What is wrong with a typed option, in words of this package; None where the words of typer
    will do.
    """
    parameter, cause = getattr(problem, "param", None), problem.__cause__
    if parameter is None and hasattr(problem, "possibilities"):
        name = getattr(problem, "option_name", "")
        # The dashes, which all options share, count for no likeness.
        bare = [one.lstrip("-") for one in problem.possibilities or ()]
        near = get_close_matches(name.lstrip("-"), bare, n=1, cutoff=0.7)
        hint = f" Did you mean --{near[0]}?" if near else ""
        return f"there is no option {name} here.{hint}" if name else None
    if parameter is None:
        return None
    name = parameter.opts[-1] if parameter.param_type_name == "option" else parameter.metavar
    if type(problem).__name__ == "MissingParameter":
        return f"{name} is missing"
    if not hasattr(cause, "errors"):
        return f"{name}: {problem.message}"
    from ..specs.grammar import refusal

    return f"{name} {refusal(cause.errors()[0])}"


@contextmanager
def one_voice() -> Iterator[None]:
    """If torchrun started several processes, a mistake or Ctrl-C is reported by one of them on each
    machine, and not by all.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt) as problem:
        from ..training import launched

        if not launched() or os.environ["LOCAL_RANK"] == "0":
            raise
        if isinstance(problem, KeyboardInterrupt):
            sys.exit(130)
        # torchrun ends all processes once one has ended. The one that reports must come first.
        time.sleep(10)
        sys.exit(2)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show progress on standard error: a bar on a terminal, and elsewhere a line every ten seconds.

    Yields a function of the number done, the number in all, and a label.
    """
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
    """The command line that was typed, in a form that can be typed again."""
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
