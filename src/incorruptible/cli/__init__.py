"""The command line. Each verb is a module that reads its options, calls the library, and prints.

Relies on: verbs import torch and other heavy packages inside their functions, so `--help` answers
at once. Keeps: results go to standard output and everything else to standard error. Every error
ends in one line and an exit code (see `run`), and in a traceback only with `--debug`.

    incorruptible list                          # what can be named
    incorruptible measure --help                # the options of one verb
"""

from __future__ import annotations

import sys
import warnings
from textwrap import TextWrapper
from typing import Annotated, TextIO

import typer

from ..errors import Remark
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
from .terminal import Once, answer, put, say, unread
from .train import train
from .worker import worker

app = typer.Typer(
    name="incorruptible",
    help="Train neural networks whose weights may go wrong at inference, and say how wrong they "
    "may go.",
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
app.add_typer(bridge, name="bridge", short_help=bridge.info.help)
app.command("list", cls=Once)(list_)


def run() -> None:
    """The entry point of the program `incorruptible`. Its exit codes:

    - 0: done. A certificate was granted, at the smallest strength or up to a larger one.
    - 1: done, and the answer is no: a certificate was refused, a training diverged, or runs of a
      study failed, or its workers died again and again.
    - 2: a mistake of the user's, which one line explains. An error that the file of the user's task
      or its `task()` raises is one too.
    - 70: a defect of this package, or of the user's code that runs later, such as `model()`.
    - 74: the disk is full or broken.
    - 75: a worker was asked to leave.
    - 130: stopped by Ctrl-C.
    """
    words, renamed = respelled(sys.argv[1:])
    sys.argv[1:] = words
    for line in dict.fromkeys(renamed):
        say(f"incorruptible: {line}; the old name works for one release.")
    debug = "--debug" in sys.argv
    # Help breaks its lines between words only, so that names with hyphens stay whole.
    TextWrapper.wordsep_re = TextWrapper.wordsep_simple_re
    warnings.showwarning = _shown
    # A remark stays a remark, also if the user has turned warnings into errors.
    warnings.filterwarnings("always", category=Remark)
    try:
        code = typer.main.get_command(app).main(prog_name="incorruptible", standalone_mode=False)
        if code == 130:  # newer versions of typer return Ctrl-C instead of raising it
            raise KeyboardInterrupt
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except BrokenPipeError:
        unread()
    except (KeyboardInterrupt, Exception) as problem:
        if (
            debug
            and not isinstance(problem, KeyboardInterrupt | typer.Abort)
            and not hasattr(problem, "format_message")
        ):
            raise
        code, line = answer(problem)
        say(line if line.lstrip().startswith("Usage:") else f"incorruptible: {line}")
        sys.exit(code)


def _shown(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a remark of this package as one line, and other warnings as Python prints them."""
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
