"""How the package's source reads, in numbers: the size of functions, the width of lines, and the
share of words among them.

    python scripts/measure_code.py            # the table
    python scripts/measure_code.py --list     # and every function that is too long or takes too
                                              # many parameters

The lines of a function's docstring do not count towards its length, since words are welcome.
A nested function counts by itself and as part of the function around it. The verbs of the command
line do not count as functions with too many parameters: their parameters are the options that a
user types. Statements are those of the syntax tree without docstrings, so that layout changes
nothing. `tests/test_taste.py` holds the limits.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
MOST_PARAMETERS = 12
MOST_LINES = 70  # of a function without its docstring
WIDEST = 100  # the columns that 95% of the lines keep to

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef | ast.Module


@dataclass(frozen=True)
class Measured:
    """One function: where it is, how many parameters it takes, and how many lines it has without
    its docstring.
    """

    place: str
    parameters: int
    lines: int
    verb: bool  # whether it is a verb of the command line


@dataclass
class Code:
    """The counts over all files."""

    files: list[int] = field(default_factory=list)  # the lines of each file
    widths: list[int] = field(default_factory=list)  # the width of every line that is not empty
    functions: list[Measured] = field(default_factory=list)
    docstrings: list[int] = field(default_factory=list)  # the words of each docstring
    docstring_lines: int = 0
    comment_lines: int = 0  # lines that hold a comment, also behind code
    statements: int = 0

    @property
    def lines(self) -> int:
        return sum(self.files)

    @property
    def width(self) -> int:
        """The width that 95% of the lines that are not empty keep to."""
        return share_of(self.widths, 0.95)

    @property
    def too_many_parameters(self) -> list[Measured]:
        return [one for one in self.functions if one.parameters > MOST_PARAMETERS and not one.verb]

    @property
    def too_long(self) -> list[Measured]:
        return [one for one in self.functions if one.lines > MOST_LINES]


def share_of(numbers: Sequence[int], share: float) -> int:
    """The smallest of the numbers that is at least as large as the given share of them.

    >>> share_of([3, 1, 2, 4], 0.5), share_of([3, 1, 2, 4], 0.95)
    (2, 4)
    """
    ordered = sorted(numbers)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def measure_code(folder: Path) -> Code:
    """Count over every Python file below `folder`."""
    code = Code()
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines()
        code.files.append(len(lines))
        code.widths += [len(line) for line in lines if line.strip()]
        code.comment_lines += len(set(_comments(text)))
        tree = ast.parse(text)
        code.statements += sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
        for node in ast.walk(tree):
            if isinstance(node, Documented):
                _count(
                    code,
                    node,
                    f"{file.relative_to(folder)}",
                    "cli" in file.relative_to(folder).parts,
                )
    return code


def _comments(text: str) -> Iterator[int]:
    """The numbers of the lines that hold a comment."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0]


def _count(code: Code, node: Documented, place: str, in_cli: bool) -> None:
    said = ast.get_docstring(node, clean=False)
    of_docstring = 0
    if said is not None:
        first = node.body[0]
        of_docstring = (first.end_lineno or 0) - first.lineno + 1
        code.docstring_lines += of_docstring
        code.docstrings.append(len(said.split()))
        code.statements -= 1
    if isinstance(node, Function):
        one = node.args
        every = [*one.posonlyargs, *one.args, *one.kwonlyargs]
        parameters = sum(argument.arg not in ("self", "cls") for argument in every)
        parameters += (one.vararg is not None) + (one.kwarg is not None)
        lines = (node.end_lineno or 0) - node.lineno + 1 - of_docstring
        verb = in_cli and any(argument.arg == "debug" for argument in every)
        code.functions.append(
            Measured(f"{place}:{node.lineno} {node.name}", parameters, lines, verb)
        )


def told(code: Code) -> str:
    """The counts as a table."""
    functions = [one.lines for one in code.functions]
    rows = [
        ("files", f"{len(code.files)}"),
        ("lines", f"{code.lines}"),
        ("statements, docstrings apart", f"{code.statements}"),
        (
            "lines of a file, median / 95%",
            f"{median(code.files):.0f} / {share_of(code.files, 0.95)}",
        ),
        (
            "lines of a function, median / 95%",
            f"{median(functions):.0f} / {share_of(functions, 0.95)}",
        ),
        (f"functions of more than {MOST_LINES} lines", f"{len(code.too_long)}"),
        (
            f"functions of more than {MOST_PARAMETERS} parameters, verbs apart",
            f"{len(code.too_many_parameters)}",
        ),
        ("width of a line, 95%", f"{code.width}"),
        ("lines with a comment", f"{code.comment_lines / code.lines:.1%}"),
        ("lines of docstrings", f"{code.docstring_lines / code.lines:.1%}"),
        ("words of a docstring, median", f"{median(code.docstrings):.0f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def main() -> None:
    """Print the table, and the functions beyond the limits if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="name every function beyond a limit")
    parser.add_argument("--folder", type=Path, default=ROOT / "src" / "incorruptible")
    given = parser.parse_args()
    code = measure_code(given.folder)
    print(told(code))
    if given.list:
        for one in code.too_many_parameters:
            print(f"{one.place}: {one.parameters} parameters")
        for one in code.too_long:
            print(f"{one.place}: {one.lines} lines")


if __name__ == "__main__":
    main()
