"""The benchmark's command line: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from incorruptible.errors import UserError, unknown

from .peers import ROOT, look_around
from .targets import TARGETS, judged

if TYPE_CHECKING:
    from .groups import Settings

OUT = ROOT / "benchmarks" / "results"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as those of the package."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}.")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = _Parser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--only", metavar="NAME,...", help="run only these groups")
    made.add_argument("--pairs", type=int, help="the number of interleaved pairs for each ratio (100; 7 with --quick)")
    made.add_argument("--few", type=int, help="the same for slow variants and for two threads (100; 3 with --quick)")
    made.add_argument(
        "--quick", action="store_true", help="only see that everything runs; the numbers are not worth keeping"
    )
    made.add_argument(
        "--threads",
        action=argparse.BooleanOptionalAction,
        help="time on the wall clock with two threads too, which needs an idle machine (on, except with --quick)",
    )
    made.add_argument(
        "--out", type=Path, default=OUT, help="the folder for JSON, table and figure (benchmarks/results)"
    )
    made.add_argument("--check", action="store_true", help="exit 1 unless the upper limits are within the targets")
    made.add_argument("--read", action="store_true", help="measure nothing; draw and check the results in the folder")
    made.add_argument("--page", type=Path, help="put the table into this page too, between its two marks")
    made.add_argument("--list", action="store_true", help="list the groups and the targets")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code: 0, or 1 if a target was missed, or 2 for a mistake of the user's."""
    try:
        asked = parser().parse_args(words)
        look_around()
        try:
            return _run(asked)
        except KeyboardInterrupt:
            say(f"interrupted; what was measured whole lies in {asked.out}")
            return 130
    except UserError as problem:
        say(str(problem))
        return 2


def _run(asked: argparse.Namespace) -> int:
    from .groups import GROUPS, Settings
    from .results import kept, writable

    usual = [name for name, group in GROUPS.items() if asked.read or asked.list or not group.aside]
    names = usual if asked.only is None else _chosen(asked.only, list(GROUPS))
    if asked.list:
        _list(names, {name: f"{one.what}{' (where it is named)' * one.aside}" for name, one in GROUPS.items()})
        return 0
    for option, value in (("--pairs", asked.pairs), ("--few", asked.few)):
        if value is not None and value < 1:
            raise UserError(f"{option} {value}: at least 1.")
    settings = Settings(
        pairs=asked.pairs or (7 if asked.quick else 100),
        few=asked.few or (3 if asked.quick else 100),
        walls=not asked.quick if asked.threads is None else asked.threads,
        quick=asked.quick,
    )
    if asked.read:
        kept(asked.out, names, every=asked.only is not None)
    writable(asked.out, asked.page)
    if not asked.read:
        _measure(names, settings, asked.out)
    return _report(names, asked)


def _chosen(only: str, known: list[str]) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown("group", name, known)
    if not names:
        raise UserError(f"--only names no group. Choose from: {', '.join(known)}.")
    return [name for name in known if name in names]


def _measure(names: Sequence[str], settings: Settings, out: Path) -> None:
    from .conditions import conditions, load
    from .groups import GROUPS
    from .results import keep

    say("estimating ...")
    estimates = {name: GROUPS[name].seconds(settings) for name in names}
    say(f"about {sum(estimates.values()) / 60:.0f} min: " + ", ".join(f"{k} {v:.0f} s" for k, v in estimates.items()))
    for name in names:
        group, before, began = GROUPS[name], load(), time.monotonic()
        found = group.run(settings, _progress(name))
        took = time.monotonic() - began
        data = {
            "what": group.what,
            "made": conditions(),
            "load": {"before": before, "after": load()},
            "settings": vars(settings),
            "seconds": round(took, 1),
            "facts": found.facts,
            "absent": found.absent,
            "rows": [row.plain() for row in found.rows],
            "times": found.times,
        }
        keep(out, name, data)
        say(f"{name}: {took:.0f} s")
        for text in found.absent:
            say(f"  not measured: {text}")


def _report(names: Sequence[str], asked: argparse.Namespace) -> int:
    from incorruptible.files.records import write_text
    from incorruptible.plots import save

    from .figures import drawn, families
    from .groups import GROUPS
    from .results import kept, put_into, table

    # The table and the figure show all results in the folder, also those of earlier runs.
    everything = kept(asked.out, list(GROUPS))
    text = table(everything)
    write_text(asked.out / "table.md", text)
    for family, members in families(everything).items():
        save(drawn(members), asked.out / family)
    if asked.page is not None:
        put_into(asked.page, text)
    chosen = [one for one in everything if one.group in names]
    print(table(chosen), end="")
    verdicts = judged([row for one in chosen for row in one.rows], names)
    for verdict in verdicts:
        print(f"{'met' if verdict.met else 'MISSED':6}  {verdict.name}: {verdict.says}")
    return 1 if asked.check and not all(verdict.met for verdict in verdicts) else 0


def _progress(name: str) -> Callable[[int, int], None]:
    last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            say(f"{name}: {done} of {total}")

    return told


def _list(names: Sequence[str], whats: dict[str, str]) -> None:
    for name in names:
        print(f"{name:20} {whats[name]}")
    print("\ntargets, for the upper end of the 95% interval:")
    for target in TARGETS:
        if target.group in names:
            print(f"{target.group:20} {target.variant:20} {target.upper:g} ({target.clock})")


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
