"""How often the interval for new chips and new examples misses a truth that is known.

    OMP_NUM_THREADS=1 python scripts/two_level_coverage.py --out rows.jsonl [--tables 2000]
                                                           [--chips 5 25] [--examples 50 1000]

A chip answers an example rightly if a + chip + example + rest > 0, where chip, example and rest are
normal and their variances add up to 1, so that the accuracy is Phi(a). Each row of the grid is
seeded by its own numbers and written as soon as it is known; the same command continues an
interrupted run. The whole grid takes an hour on one core, most of it for 10,000 examples.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from incorruptible.statistics import share_interval

ACCURACIES = (0.5, 0.9, 0.98, 0.99, 0.999)
CHIPS = (5, 10, 25, 100)
EXAMPLES = (50, 300, 1000, 10_000)
# The variances of chip, example and rest, on the scale on which they are normal.
SPLITS = {
    "the same examples are wrong on every chip": (0.0, 1.0, 0.0),
    "examples, and chance": (0.0, 0.7, 0.3),
    "chance alone": (0.0, 0.0, 1.0),
    "chips a hundredth": (0.01, 0.89, 0.1),
    "chips a twentieth": (0.05, 0.75, 0.2),
    "chips a tenth": (0.1, 0.6, 0.3),
    "chips a tenth, few hard examples": (0.1, 0.1, 0.8),
    "chips a quarter": (0.25, 0.25, 0.5),
}
BEYOND = ("chips a quarter",)  # shown in the table, but outside of what the interval promises
CELLS = 2_000_000  # the cells of tables that are in memory at once


def tables(
    rng: np.random.Generator,
    n: tuple[int, int],
    accuracy: float,
    split: tuple[float, float, float],
    count: int,
) -> Iterator[tuple[float, tuple[float, float, float]]]:
    """The mean and the mean squares (chip, example, rest) of so many tables of right and wrong
    answers, n = (chips, examples).
    """
    chips, examples = n
    level = np.float32(special.ndtri(accuracy))
    while count > 0:
        some = min(count, max(1, CELLS // (chips * examples)))
        count -= some
        parts = [
            rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(variance))
            for shape, variance in zip(
                ((some, chips, 1), (some, 1, examples), (some, chips, examples)), split, strict=True
            )
            if variance
        ]
        right = np.broadcast_to(sum(parts, start=level) > 0, (some, chips, examples))
        yield from zip(*_mean_squares(right), strict=True)


def _mean_squares(right: NDArray[np.bool_]) -> tuple[list[float], list[tuple[float, float, float]]]:
    """As `statistics.variance.mean_squares`, for many tables [table, chip, example] of zeros and
    ones: a 1 is its own square.
    """
    _, chips, examples = right.shape
    row, column = right.mean(2), right.sum(1, dtype=np.int32) / chips
    mean = row.mean(1)
    between = (
        examples * ((row - mean[:, None]) ** 2).sum(1),
        chips * ((column - mean[:, None]) ** 2).sum(1),
    )
    rest = np.maximum(0, chips * examples * mean * (1 - mean) - between[0] - between[1])
    rest = np.where(rest < 1e-9, 0, rest)  # rounding errors, if all chips agree
    squares = (
        between[0] / (chips - 1),
        between[1] / (examples - 1),
        rest / ((chips - 1) * (examples - 1)),
    )
    return mean.tolist(), list(zip(*(one.tolist() for one in squares), strict=True))


def row(
    accuracy: float,
    chips: int,
    examples: int,
    split: tuple[float, float, float],
    count: int,
    seed: int,
) -> dict[str, Any]:
    """Shares of misses, above and below the truth, and the mean width; beside them those of
    Student's interval, kept in [0, 1].
    """
    rng = np.random.default_rng(
        [seed, chips, examples, round(1000 * accuracy), *(round(100 * one) for one in split)]
    )
    limits, students = [], []
    for mean, squares in tables(rng, (chips, examples), accuracy, split, count):
        interval = share_interval(mean, squares, (chips, examples))
        limits.append((interval.low, interval.high))
        students.append(_students(mean, squares, chips, examples))
    (low, high), (low_before, high_before) = np.array(limits).T, np.array(students).T
    return {
        "accuracy": accuracy,
        "chips": chips,
        "examples": examples,
        "split": list(split),
        "tables": count,
        "seed": seed,
        "above": float((low > accuracy).mean()),
        "below": float((high < accuracy).mean()),
        "width": float((high - low).mean()),
        "width_0": int((high == low).sum()),
        "student_missed": float(((low_before > accuracy) | (high_before < accuracy)).mean()),
        "student_width": float((np.minimum(1, high_before) - np.maximum(0, low_before)).mean()),
        "student_width_0": int((high_before == low_before).sum()),
    }


def _students(
    mean: float, squares: tuple[float, float, float], chips: int, examples: int
) -> tuple[float, float]:
    """What `two_level` gives for values that are no shares."""
    chip, example, rest = squares
    freedom = min(chips, examples) - 1.0
    if example > rest:
        spread = (
            chip**2 / (chips - 1)
            + example**2 / (examples - 1)
            + rest**2 / ((chips - 1) * (examples - 1))
        )
        freedom = max(freedom, (chip + example - rest) ** 2 / spread)
    else:
        freedom = max(freedom, chips - 1.0)
    error = math.sqrt((chip + max(0.0, example - rest)) / (chips * examples))
    half = float(special.stdtrit(freedom, 0.975)) * error
    return mean - half, mean + half


def table(rows: list[dict[str, Any]]) -> str:
    """For each split and number of chips: the most misses over all accuracies and numbers of
    examples, in Markdown.
    """
    number = sorted({one["chips"] for one in rows})
    lines = [f"| variances of chip, example, rest | {' | '.join(f'{n} chips' for n in number)} |"]
    lines.append("|---|" + "---|" * len(number))
    for name, split in SPLITS.items():
        cells = []
        for n in number:
            found = [one for one in rows if one["chips"] == n and one["split"] == list(split)]
            if not found:
                cells.append("")
                continue
            worst = max(found, key=lambda one: one["above"] + one["below"])
            mean = np.mean([one["above"] + one["below"] for one in found])
            students = max(one["student_missed"] for one in found)
            cells.append(f"{worst['above'] + worst['below']:.3f} ({mean:.3f}) [{students:.2f}]")
        lines.append(f"| {name}: {', '.join(f'{one:g}' for one in split)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate the rows that the file lacks, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="rows are appended here, one JSON object a line"
    )
    parser.add_argument(
        "--tables",
        type=int,
        default=2000,
        help="for each row; a quarter of them from 200,000 cells on",
    )
    parser.add_argument("--accuracies", nargs="*", type=float, default=ACCURACIES)
    parser.add_argument("--chips", nargs="*", type=int, default=CHIPS)
    parser.add_argument("--examples", nargs="*", type=int, default=EXAMPLES)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if (
        asked.tables < 4
        or min((*asked.chips, *asked.examples)) < 2
        or not all(0 < one < 1 for one in asked.accuracies)
    ):
        print(
            "at least 4 tables, 2 chips and 2 examples are needed, and accuracies between 0 and 1",
            file=sys.stderr,
        )
        raise SystemExit(2)
    rows = (
        [json.loads(line) for line in asked.out.read_text().splitlines()]
        if asked.out.exists()
        else []
    )
    there = {_key(one) for one in rows}
    for chips, examples, accuracy, split in product(
        asked.chips, asked.examples, asked.accuracies, SPLITS.values()
    ):
        count = asked.tables // 4 if chips * examples >= 200_000 else asked.tables
        wanted = {"accuracy": accuracy, "chips": chips, "examples": examples, "split": list(split)}
        if _key({**wanted, "tables": count, "seed": asked.seed}) in there:
            continue
        found = row(accuracy, chips, examples, split, count, asked.seed)
        rows.append(found)
        with asked.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
    print(table(rows))


def _key(one: dict[str, Any]) -> tuple[Any, ...]:
    return (
        *(one[name] for name in ("accuracy", "chips", "examples", "tables", "seed")),
        *one["split"],
    )


if __name__ == "__main__":
    main()
