"""Prints the tables of docs/results/transformer-study.md, from a finished study `transformer`.

python scripts/transformer.py [--home runs]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from incorruptible.studies.folder import find
from incorruptible.studies.results import summary

PLACES = ("embeddings: ", "digital attention: ")
TITLES = {
    "": "usual arrays",
    "embeddings: ": "embeddings in arrays, too",
    "digital attention: ": "attention digital",
}


def line(cells: Sequence[str]) -> None:
    """One row of a table."""
    print(f"| {' | '.join(cells)} |")


def interval(row: dict[str, Any]) -> str:
    """A difference in bits per byte with its 95% interval."""
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def means(arms: Sequence[dict[str, Any]]) -> None:
    """Bits per byte of every arm at every test strength, a table for each selection of arrays."""
    for beginning, title in TITLES.items():
        own = [
            arm
            for arm in arms
            if next((one for one in PLACES if arm["name"].startswith(one)), "") == beginning
        ]
        strengths = [f"{cell['strength']:g}" for cell in own[0]["results"]]
        print(f"\n{title}\n")
        line(["arm", *strengths])
        line(["---"] * (1 + len(strengths)))
        for arm in own:
            cells = [
                f"{one['mean']:.3f} ± {(one['high'] - one['low']) / 2:.3f}"
                for one in arm["results"]
            ]
            line([arm["name"].removeprefix(beginning), *cells])


def verdicts(claims: dict[str, Any]) -> None:
    """Every claim, its word, and the comparisons that it rests on."""
    print()
    line(["claim", "at", "compared", "ahead by, bits per byte", "word"])
    line(["---"] * 5)
    for name, claim in claims.items():
        for place, row in enumerate(claim["rows"]):
            if "difference" in row:
                said = f"{name}: **{claim['verdict']}**" if not place else ""
                line(
                    [said, row["at"], f"{row['left']} − {row['right']}", interval(row), row["word"]]
                )
            elif row["word"] and row["at"] == "all":
                line(["", "all", row["question"], row["note"], row["word"]])


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path("runs"))
    found = summary(find(parser.parse_args().home, "transformer", "transformer"))
    means(found["arms"])
    verdicts(found["claims"])


if __name__ == "__main__":
    main()
