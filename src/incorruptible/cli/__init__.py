"""The command line: verbs that call the library."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..errors import UserError, UserErrors, disk_failed
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
from .terminal import put, say, unread
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
app.command()(demo)
app.command()(study)
app.command()(worker)
app.command()(status)
app.command()(results)
app.command()(compare)
app.command()(figures)
app.command()(report)
app.command()(export)
app.command()(train)
app.command()(measure)
app.command()(certify)
app.command()(audit)
app.command()(sensitivity)
app.command()(device)
app.command()(landscape)
app.add_typer(bridge, name="bridge")
app.command("list")(list_)


def run() -> None:
    """Entry point: a user's mistake is one line and exit code 2, Ctrl-C 130, a defect of this package 1."""
    words, renamed = respelled(sys.argv[1:])
    sys.argv[1:] = words
    for line in dict.fromkeys(renamed):
        say(f"incorruptible: {line}; the old name works for one release.")
    debug = "--debug" in sys.argv
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
        sys.exit(1)


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
