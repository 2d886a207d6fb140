"""Puts each small fault of scripts/faults.toml into a copy of the package, alone, and runs the
tests that should see it.

    python scripts/mutate.py [--only 'weights/*'] [--list] [--jobs 2] [--again] [--limit 300]
                             [--keep FILE]

A fault is *killed* if a test fails (or hangs beyond the limit) with the fault and passes without
it. Otherwise the fault *survives*: this is a gap in the tests, unless the fault changes nothing
that anybody could see. Tests that fail without any fault are left out, and named.

The faults go into a copy of the checkout in a temporary folder, never into the checkout. Results
are kept in .mutate.json, under the fault's text and the contents of its file and its tests, so a
second call runs only what has changed. The exit code is 0 if at least 95% of the faults that are
not marked as equivalent are killed, 1 if fewer are, and 2 if a row of the list does not fit the
source.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "scripts" / "faults.toml"
SOURCE = Path("src") / "incorruptible"
ENOUGH = 0.95  # the share of the faults that are not equivalent which must be killed
LIMIT = 300.0  # seconds for the tests of one fault, which take a few unless the machine is busy
_FIELDS = {"file", "before", "after", "tests", "equivalent", "survives"}
_EARLY = (
    "numpy",
    "scipy.special",
    "scipy.stats",
    "torch",
    "pydantic",
    "typer",
    "safetensors.torch",
    "matplotlib",
    "pytest",
)


class Unfit(Exception):
    """A row of the list, or an option, cannot be used. The text is one line."""


@dataclass(frozen=True)
class Fault:
    """One row: the text `before`, which occurs once in `file`, becomes `after`, and one of `tests`
    should fail.

    `equivalent` says why nobody could tell the difference, `survives` why no test does although
    somebody could.
    """

    number: int
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    equivalent: str = ""
    survives: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {_short(self.before)} -> {_short(self.after)}"

    def mutated(self, root: Path) -> str:
        """The file's text with the fault in it. Raises `Unfit` where `before` does not occur
        exactly once.
        """
        path = root / SOURCE / self.file
        if not path.is_file():
            raise Unfit(f"row {self.number}: there is no file {path.relative_to(root)}.")
        text = path.read_text(encoding="utf-8")
        if (count := text.count(self.before)) != 1:
            raise Unfit(
                f"row {self.number} ({self.file}): {self.before!r} occurs {count} times; once is "
                "needed."
            )
        return text.replace(self.before, self.after)


def _short(text: str) -> str:
    """One line of at most 60 letters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def read(path: Path = LIST) -> list[Fault]:
    """The rows of the list. Raises `Unfit` for a row that lacks something, says something unknown,
    or comes twice.
    """
    found: dict[tuple[str, str, str], Fault] = {}
    for number, row in enumerate(
        tomllib.loads(path.read_text(encoding="utf-8")).get("fault", []), 1
    ):
        lacking, strange = {"file", "before", "after", "tests"} - row.keys(), row.keys() - _FIELDS
        if lacking or strange:
            raise Unfit(
                f"row {number}: "
                f"{'lacks ' if lacking else 'unknown: '}{', '.join(sorted(lacking or strange))}."
            )
        if row["before"] == row["after"] or not row["tests"]:
            raise Unfit(
                f"row {number} ({row['file']}): a change, and tests that should see it, are needed."
            )
        fault = Fault(number, **{**row, "tests": tuple(row["tests"])})
        if (name := (fault.file, fault.before, fault.after)) in found:
            raise Unfit(f"row {number} ({fault.file}) says the same as row {found[name].number}.")
        found[name] = fault
    return list(found.values())


def check(faults: Sequence[Fault], root: Path = ROOT) -> None:
    """Raises `Unfit` for a row that does not fit the source, makes no Python, or names a test that
    there is not.
    """
    for fault in faults:
        try:
            compile(fault.mutated(root), fault.file, "exec")
        except SyntaxError as problem:
            raise Unfit(
                f"row {fault.number} ({fault.file}): with the fault it is no Python: {problem}."
            ) from None
        for test in fault.tests:
            file, _, name = test.partition("::")
            text = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else None
            last = name.rpartition("::")[2].partition("[")[0]
            if text is None or (last and not re.search(rf"def {re.escape(last)}\(", text)):
                raise Unfit(f"row {fault.number} ({fault.file}): there is no test {test}.")


# ---- A copy of the checkout, and processes that begin with torch in memory


def copied(to: Path) -> None:
    """Everything that git knows or does not ignore, as it lies in the checkout now."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


class Suite:
    """Runs tests in `home`, a copy, in a fork of this process, which has imported torch once for
    all of them.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home.with_suffix(".log")
        self._pid, self._began = 0, 0.0

    def start(self, tests: Sequence[str], *options: str, keep_bytecode: bool = False) -> None:
        """Begin; `ended` says when it is over. Bytecode may be kept where no fault is in place, for
        those that come later.
        """
        # Python would take a fault of the same length within the same second for the cached file.
        sys.dont_write_bytecode = not keep_bytecode
        self._began = time.monotonic()
        self._pid = os.fork()
        if self._pid == 0:
            self._child([*tests, *options])

    def ended(self, limit: float) -> tuple[int | str, list[str]] | None:
        """None while the tests run; then pytest's exit code, or "hang", and the tests that
        failed.
        """
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        hang = pid == 0 and time.monotonic() - self._began > limit
        if pid == 0 and not hang:
            return None
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)  # processes that a test started and left
        if hang:
            os.waitpid(self._pid, 0)
            return "hang", []
        said = self.log.read_text(errors="replace")
        return os.waitstatus_to_exitcode(status), re.findall(
            r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.M
        )

    def wait_for(self, tests: Sequence[str], limit: float) -> tuple[int | str, list[str]]:
        """Start the tests, and wait until they have ended."""
        self.start(tests, keep_bytecode=True)
        while (found := self.ended(limit)) is None:
            time.sleep(0.05)
        return found

    def _child(self, arguments: list[str]) -> None:
        os.setsid()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 70
        try:
            os.chdir(self.home)
            source = str(self.home / "src")
            os.environ |= {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
            sys.path[:0] = [source]
            import pytest

            code = int(pytest.main(["-q", "-p", "no:cacheprovider", "--tb=no", "-rfE", *arguments]))
            package = sys.modules.get("incorruptible")
            if package is not None and not str(package.__file__).startswith(source):
                code = 99
            sys.stdout.flush()
        finally:
            os._exit(code)


def preload() -> None:
    """Import what each test would import anew: a second or more each time. Never the package
    itself.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in _EARLY:
        try:
            __import__(name)
        except ImportError:
            raise Unfit(
                f"{name} is not installed here: call this by the interpreter of make setup."
            ) from None
    if "incorruptible" in sys.modules:
        raise Unfit(
            "the package is imported already, and its faults would not be seen: call this in a "
            "process of its own."
        )


# ---- What came out, kept from call to call


def key(fault: Fault, root: Path = ROOT) -> str:
    """Names the fault together with what its outcome depends on: its file and its tests."""
    files = sorted({test.partition("::")[0] for test in fault.tests})
    parts = [
        fault.before,
        fault.after,
        *fault.tests,
        (root / SOURCE / fault.file).read_text(encoding="utf-8"),
    ]
    parts += [(root / file).read_text(encoding="utf-8") for file in files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def red(suite: Suite, faults: Sequence[Fault], limit: float) -> set[str]:
    """The tests that fail without any fault, each file's run once."""
    by_file: dict[str, dict[str, None]] = {}
    for fault in faults:
        for test in fault.tests:
            by_file.setdefault(test.partition("::")[0], {})[test] = None
    found: set[str] = set()
    for file, tests in sorted(by_file.items()):
        code, failed = suite.wait_for([file] if file in tests else list(tests), 4 * limit)
        if code not in (0, 1):
            raise Unfit(f"{file}: its tests do not run without a fault ({code}): see {suite.log}.")
        found |= set(failed)
    return found


def run(
    faults: Sequence[Fault], homes: Sequence[Path], limit: float
) -> Iterator[tuple[Fault, dict[str, str]]]:
    """The outcome of each fault. As many run at a time as there are copies of the checkout."""
    waiting, busy = list(faults), dict[Suite, Fault]()
    free = [Suite(home) for home in homes]
    try:
        without = red(free[0], faults, limit) if faults else set()
        for name in sorted(without):
            print(f"red without a fault, and left out: {name}", flush=True)
        options = ["-x", *(f"--deselect={name}" for name in sorted(without))]
        while waiting or busy:
            while waiting and free:
                fault = waiting.pop(0)
                if without.issuperset(fault.tests):
                    yield fault, {"end": "untested", "by": "its tests are red without it"}
                    continue
                suite = free.pop()
                _put(suite.home, fault)
                suite.start(fault.tests, *options)
                busy[suite] = fault
            time.sleep(0.02)
            for suite, fault in list(busy.items()):
                if (found := suite.ended(limit)) is None:
                    continue
                shutil.copy2(ROOT / SOURCE / fault.file, suite.home / SOURCE / fault.file)
                del busy[suite]
                free.append(suite)
                yield fault, _outcome(*found, suite)
    finally:
        for suite in busy:
            suite.ended(-1.0)


def _outcome(code: int | str, failed: list[str], suite: Suite) -> dict[str, str]:
    if code == 99:
        raise Unfit(
            f"the tests in {suite.home} ran another copy of the package: is one installed that "
            "comes first?"
        )
    if code == 0:
        return {"end": "survived", "by": ""}
    return {
        "end": "killed",
        "by": failed[0] if failed else "a hang" if code == "hang" else f"exit code {code}",
    }


def _put(home: Path, fault: Fault) -> None:
    path = home / SOURCE / fault.file
    path.write_text(fault.mutated(ROOT), encoding="utf-8")
    for cached in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        cached.unlink()


def main(words: Sequence[str] | None = None) -> int:
    """Run the faults that the command line asks for. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="*", help="files of the package whose faults are wanted: 'weights/*'"
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="print the faults, and what is known of them; run nothing",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="faults at a time, each in a copy of its own"
    )
    parser.add_argument(
        "--again", action="store_true", help="run also what is known, and has not changed"
    )
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help=f"seconds for one fault's tests [{LIMIT:g}]"
    )
    parser.add_argument("--faults", type=Path, default=LIST, help="another list")
    parser.add_argument(
        "--keep", type=Path, default=ROOT / ".mutate.json", help="where outcomes are kept"
    )
    asked = parser.parse_args(words)
    try:
        faults = [fault for fault in read(asked.faults) if fnmatchcase(fault.file, asked.only)]
        check(faults)
        if not faults or asked.jobs < 1:
            raise Unfit(
                f"--only {asked.only!r} and --jobs {asked.jobs}: at least one fault and one job "
                "are needed."
            )
        known: dict[str, dict[str, str]] = (
            json.loads(asked.keep.read_text()) if asked.keep.is_file() else {}
        )
        if asked.list:
            for fault in faults:
                print(f"{known.get(key(fault), {}).get('end', 'not run'):<9} {fault}")
            return 0
        wanted = [fault for fault in faults if asked.again or key(fault) not in known]
        _each(wanted, asked, known)
    except (Unfit, OSError, tomllib.TOMLDecodeError, subprocess.CalledProcessError) as problem:
        print(problem, file=sys.stderr)
        return 2
    return said(faults, [known[key(fault)] for fault in faults])


def _each(
    wanted: Sequence[Fault], asked: argparse.Namespace, known: dict[str, dict[str, str]]
) -> None:
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        homes = [
            Path(folder) / str(number) for number in range(min(asked.jobs, max(1, len(wanted))))
        ]
        for home in homes if wanted else ():
            copied(home)
            subprocess.run(
                [sys.executable, "-m", "compileall", "-q", str(home / SOURCE)], check=True
            )
        if wanted:
            preload()
        for place, (fault, outcome) in enumerate(run(wanted, homes, asked.limit), 1):
            known[key(fault)] = outcome
            asked.keep.write_text(json.dumps(known, indent=1) + "\n")
            by = f" ({outcome['by']})" if outcome["by"] else ""
            print(f"{place}/{len(wanted)} {outcome['end']:<8} {fault}{by}", flush=True)


def said(faults: Sequence[Fault], outcomes: Sequence[dict[str, str]]) -> int:
    """Print the faults that survived, and the closing line. Returns the exit code."""
    left = [fault for fault, one in zip(faults, outcomes, strict=True) if one["end"] != "killed"]
    for fault in left:
        why = (
            f"equivalent: {fault.equivalent}"
            if fault.equivalent
            else fault.survives or "no test sees it"
        )
        print(f"  {fault}\n      {why}")
    counted = [one for fault, one in zip(faults, outcomes, strict=True) if not fault.equivalent]
    killed = sum(one["end"] == "killed" for one in counted)
    alike = len(faults) - len(counted)
    share = killed / max(1, len(counted))
    names = "; ".join(str(fault) for fault in left if not fault.equivalent) or "none"
    print(
        f"{len(faults)} faults, {alike} of them equivalent: {killed} of {len(counted)} killed "
        f"({share:.1%}), {len(counted) - killed} survived: {names}"
    )
    return 0 if share >= ENOUGH else 1


if __name__ == "__main__":
    raise SystemExit(main())
