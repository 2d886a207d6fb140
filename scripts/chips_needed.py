"""How many chips `--half-width` takes for scores of known laws: with the average of two ways to
bet, and with each way alone.

    OMP_NUM_THREADS=1 python scripts/chips_needed.py --out rows.jsonl [--seeds 20]

Values are drawn one after the other until the half-width is reached, at confidence .95. Seed k
draws the same values for every way to bet. Each row is written as soon as it is known, and the same
command continues an interrupted run. All rows take some ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from incorruptible.statistics import CLOSE, WIDE, Bets, Betting

WAYS: dict[str, tuple[Bets, ...]] = {"close": (CLOSE,), "wide": (WIDE,), "average": (CLOSE, WIDE)}
LAWS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "Bernoulli(.5)": lambda rng, n: (rng.random(n) < 0.5).astype(float),
    "Bernoulli(.9)": lambda rng, n: (rng.random(n) < 0.9).astype(float),
    "Bernoulli(.99)": lambda rng, n: (rng.random(n) < 0.99).astype(float),
    "beta(9, 1), sd .09": lambda rng, n: rng.beta(9, 1, n),
    "beta(90, 10), sd .03": lambda rng, n: rng.beta(90, 10, n),
    "beta(900, 100), sd .0095": lambda rng, n: rng.beta(900, 100, n),
}
GRID = (
    ("Bernoulli(.5)", 0.1),
    ("Bernoulli(.5)", 0.05),
    ("Bernoulli(.9)", 0.05),
    ("Bernoulli(.9)", 0.025),
    ("Bernoulli(.99)", 0.05),
    ("Bernoulli(.99)", 0.01),
    ("beta(9, 1), sd .09", 0.05),
    ("beta(9, 1), sd .09", 0.02),
    ("beta(90, 10), sd .03", 0.02),
    ("beta(90, 10), sd .03", 0.005),
    ("beta(900, 100), sd .0095", 0.01),
    ("beta(900, 100), sd .0095", 0.0025),
)
MOST = 20_000


def needed(law: str, half: float, way: str, seed: int) -> int:
    """The number of values of that law that are drawn until the half-width is reached."""
    betting, rng = Betting(bets=WAYS[way]), np.random.default_rng(seed)
    while betting.n < MOST:
        for value in LAWS[law](rng, 100):
            if betting.add(float(value)).half <= half:
                return betting.n
    return MOST


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and standard error over seeds for each way, and the average's number over that of the
    better way, in Markdown.
    """
    lines = [
        "| scores | half-width | close | wide | average | average / better |",
        "|---|---|---|---|---|---|",
    ]
    for law, half in GRID:
        each = {
            way: np.array(
                [
                    one["chips"]
                    for one in rows
                    if (one["law"], one["half"], one["way"]) == (law, half, way)
                ]
            )
            for way in WAYS
        }
        if not all(len(one) > 1 for one in each.values()):
            continue
        better = min((each["close"], each["wide"]), key=lambda one: float(one.mean()))
        cells = [
            f"{one.mean():,.0f} ± {one.std(ddof=1) / len(one) ** 0.5:.0f}" for one in each.values()
        ]
        lines.append(
            f"| {law} | {f'{half:g}'[1:]} | {' | '.join(cells)} | "
            f"{each['average'].mean() / better.mean():.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Draw the rows that the file lacks, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="rows are appended here, one JSON object a line"
    )
    parser.add_argument("--seeds", type=int, default=20)
    asked = parser.parse_args()
    if asked.seeds < 2:
        print(
            f"--seeds is {asked.seeds}; at least 2 are needed for a standard error", file=sys.stderr
        )
        raise SystemExit(2)
    rows = (
        [json.loads(line) for line in asked.out.read_text().splitlines()]
        if asked.out.exists()
        else []
    )
    there = {(one["law"], one["half"], one["way"], one["seed"]) for one in rows}
    for seed in range(asked.seeds):
        for (law, half), way in ((cell, way) for cell in GRID for way in WAYS):
            if (law, half, way, seed) in there:
                continue
            rows.append(
                {
                    "law": law,
                    "half": half,
                    "way": way,
                    "seed": seed,
                    "chips": needed(law, half, way, seed),
                }
            )
            with asked.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
