"""Types the tutorial: writes its files, runs its commands, and puts what they print below them.

python scripts/tutorial.py            # types docs/start/tutorial.md again, and writes the answers into it
python scripts/tutorial.py --check    # only says where an answer differs

A block of Python with a title is a file. A block of sh is one command; a block of text right after it
is its answer, standard output and standard error as a terminal shows them. RUN stands for the last
folder that was printed behind `run: `. `tests/test_tutorial.py` types the page too, and allows numbers
to differ a little, for another processor rounds otherwise.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[1] / "docs" / "start" / "tutorial.md"
FILE = re.compile(r'```python title="([^"]+)"\n(.*?)```\n', re.S)
COMMAND = re.compile(r"```sh\n(.*?)\n```\n(?:\n```text\n(.*?)```\n)?", re.S)


class Typed(NamedTuple):
    """One command of the page: where its block stands, what the page answers, what it printed."""

    command: str
    span: tuple[int, int]
    shown: str
    said: str
    code: int


def typed(text: str, folder: Path) -> Iterator[Typed]:
    """Writes the files of the page `text` into `folder` and runs its commands there, in order."""
    for name, content in FILE.findall(text):
        (folder / name).write_text(content)
    run = "RUN"
    environment = {**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    for match in COMMAND.finditer(text):
        words = shlex.split(match[1].replace("RUN", run))
        if words[0] == "incorruptible":
            words = ["-m", *words]
        else:
            words = words[1:]  # python FILE
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        found = re.search(r"^run: (\S+)$", done.stdout, re.M)
        run = found[1] if found else run
        yield Typed(match[1], match.span(), match[2] or "", done.stdout, done.returncode)


def main() -> int:
    parser = argparse.ArgumentParser(description="Type the tutorial.")
    parser.add_argument("--check", action="store_true", help="only say where an answer differs")
    check = parser.parse_args().check
    text = PAGE.read_text()
    parts, end, differing = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for one in typed(text, Path(folder)):
            print(f"{one.command}  ({one.code})")
            differing += one.said != one.shown
            answer = f"\n```text\n{one.said}```\n" if one.said else ""
            parts += [text[end : one.span[0]], f"```sh\n{one.command}\n```\n{answer}"]
            end = one.span[1]
    if not check:
        PAGE.write_text("".join([*parts, text[end:]]))
    print(f"{differing} answers differ" if check else f"{differing} answers written")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
