"""The command line: verbs that call the library."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, TextIO

import typer

from ..errors import Remark, UserError, UserErrors, disk_failed
from ..renamed import respelled
from .audit import audit
from .bridge import bridge
from .catalogue import list_
from .certify import certify
from .demo import demo
from .device import device
from .landscape import landscape
from .measure import measure
from .report import export, figures, report
from .results import compare, results
from .sensitivity import sensitivity
from .status import status
from .study import study
from .targets import DebugOption
from .terminal import Once, put, say, unread
from .train import train
from .worker import worker

__all__ = ["app", "run"]

app = typer.Typer(
    name="incorruptible",
    help="Train neural networks whose weights may go wrong at inference, and say how wrong they may go.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(cls=Once)(demo)
app.command(cls=Once)(study)
app.command(cls=Once)(worker)
app.command(cls=Once)(status)
app.command(cls=Once)(results)
app.command(cls=Once)(compare)
app.command(cls=Once)(figures)
app.command(cls=Once)(report)
app.command(cls=Once)(export)
app.command(cls=Once)(train)
app.command(cls=Once)(measure)
app.command(cls=Once)(certify)
app.command(cls=Once)(audit)
app.command(cls=Once)(sensitivity)
app.command(cls=Once)(device)
app.command(cls=Once)(landscape)
app.add_typer(bridge, name="bridge")
app.command("list", cls=Once)(list_)


def run() -> None:
    """Entry point: a user's mistake is one line and exit code 2, Ctrl-C 130, a full disk 74, a defect of this package or of the
    user's code 70; 1 is an answer: a certificate refused, a training that diverged, a study with failed runs."""
    words, renamed = respelled(sys.argv[1:])
    sys.argv[1:] = words
    for line in dict.fromkeys(renamed):
        say(f"incorruptible: {line}; the old name works for one release.")
    debug = "--debug" in sys.argv
    warnings.showwarning = _shown
    warnings.filterwarnings("always", category=Remark)  # where warnings are errors, too
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
        if code == 130:  # newer versions of typer return Ctrl-C instead of raising it
            raise KeyboardInterrupt
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, typer.Abort):
        say("incorruptible: stopped; the same command goes on from here.")
        sys.exit(130)
    except BrokenPipeError:
        unread()
    except Exception as problem:
        # typer's own errors come from click, or from its copy of click, depending on the version; both format themselves
        usage = getattr(problem, "format_message", None)
        if usage is not None and not usage().strip().startswith("Usage:"):
            say(f"incorruptible: {' '.join(usage().split())} Try 'incorruptible --help'.")
            sys.exit(2)
        if usage is not None:
            say(usage())
            sys.exit(2)
        if debug:
            raise
        if isinstance(problem, NotADirectoryError | IsADirectoryError | FileExistsError | PermissionError):
            say(f"incorruptible: {problem.filename}: {problem.strerror}.")
            sys.exit(2)
        if isinstance(problem, UserErrors):
            say(f"incorruptible: {problem}")
            sys.exit(2)
        if isinstance(problem, UserError):
            say(f"incorruptible: {' '.join(str(problem).split())}")
            sys.exit(2)
        if isinstance(problem, OSError) and disk_failed(problem):
            say(
                f"incorruptible: {problem.filename or 'a file'}: {problem.strerror}. Nothing is lost: make room, call again."
            )
            sys.exit(74)  # EX_IOERR of sysexits.h
        say(f"incorruptible: {type(problem).__name__}: {' '.join(str(problem).split())} (--debug shows where)")
        sys.exit(70)  # EX_SOFTWARE of sysexits.h


def _shown(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A remark of this package as one line; other warnings as Python prints them."""
    if issubclass(category, Remark):
        say(f"incorruptible: {message}")
    else:
        say(warnings.formatwarning(message, category, filename, lineno, line))


def _version(wanted: bool) -> None:
    if wanted:
        from ..version import __version__

        put(f"incorruptible {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: DebugOption = False,
) -> None:
    pass
