"""Prints the tables of docs/results/hardware-study.md, from a finished study `hardware`.

python scripts/robustness.py [--home runs]
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from incorruptible.studies.folder import find
from incorruptible.studies.results import summary

NETWORKS = ("digits: ", "digits:network=conv: ")
AGAINST = ("plain training,", "weight clipping,", "SAM,", "SAM in the noise's metric,")
WORDS = ("supported", "equivalent", "undecided", "contradicted")

Row = dict[str, Any]


def asked(rows: Sequence[Row], network: str, title: str) -> list[Row]:
    """The comparisons under that title on that network."""
    return [
        row for row in rows if "difference" in row and row["question"].startswith(network + title)
    ]


def line(cells: Sequence[str]) -> None:
    """One row of a table."""
    print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Print both tables, the counts, and the ratio of chosen to equivalent strength."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path("runs"))
    claims = summary(find(parser.parse_args().home, "hardware", "hardware"))["claims"]
    totals: dict[str, Counter[str]] = {title: Counter() for title in AGAINST}
    ratios = []
    for name, claim in claims.items():
        if not name.startswith("C5 "):
            continue
        cells = [f"`{name[3:]}`", claim["verdict"]]
        for network in NETWORKS:
            gains = [100 * row["difference"] for row in asked(claim["rows"], network, AGAINST[0])]
            cells.append(f"{min(gains):+.1f} to {max(gains):+.1f}")
        for title in AGAINST:
            words = Counter(
                row["word"] for network in NETWORKS for row in asked(claim["rows"], network, title)
            )
            totals[title] += words
            cells.append(" / ".join(str(words[word]) for word in WORDS))
        line(cells)
        for row in [
            row for network in NETWORKS for row in asked(claim["rows"], network, AGAINST[0])
        ]:
            chosen = re.search(r"rwp ([0-9.]+)", row["left"])
            if chosen and "float-flips" not in row["question"]:
                ratios.append(
                    float(chosen[1]) / float(row["note"].rpartition("gaussian-filter-max ")[2])
                )
    for title, words in totals.items():
        print(title, ", ".join(f"{words[word]} {word}" for word in WORDS))
    above = sum(ratio > 1 for ratio in ratios)
    print(
        f"training strength above the equivalent one: {above} of {len(ratios)}, median ratio "
        f"{statistics.median(ratios):.2f}"
    )
    for name, claim in claims.items():
        if name.startswith("own "):
            rows = [
                row
                for net in NETWORKS
                for t in ("the Gaussian", "the best")
                for row in asked(claim["rows"], net, t)
            ]
            gaps = [[100 * row[key] for key in ("difference", "low", "high")] for row in rows]
            line(
                [
                    f"`{name[4:]}`",
                    claim["verdict"],
                    *(f"{d:+.2f} ({low:+.2f} to {high:+.2f})" for d, low, high in gaps),
                ]
            )


if __name__ == "__main__":
    main()
