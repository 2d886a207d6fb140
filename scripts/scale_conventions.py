"""Which reading of the printed noise fits the table of arXiv 2602.07320: plainly trained networks
are measured under both readings.

    python scripts/scale_conventions.py [--home runs] [--study cifar10-resnet8] [--arm sgd]
                                        [--draws 3] [--out results/scale-conventions]

The paper prints a covariance max|W_f| sigma^2, hence a standard deviation of sigma sqrt(max|W_f|)
(gaussian-filter-sqrtmax). The usual standard deviation is sigma max|W_f| (gaussian-filter-max).
The two differ by the factor 1 / sqrt(max|W_f|).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from incorruptible.files import records
from incorruptible.files.provenance import made
from incorruptible.runs import MeasurePlan, measured, open_run
from incorruptible.statistics import crossed
from incorruptible.studies.folder import find

STRENGTHS = (0, 0.02, 0.03, 0.05, 0.07)
SCALES = ("filter-max", "filter-sqrtmax")
PAPER = (79.31, 77.24, 71.95, 56.21, 47.09)  # the paper's row SGD, for CIFAR-100 and ResNet-18


def main() -> None:
    """Measure, print the table, and write it with every number."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path("runs"))
    parser.add_argument("--study", default="cifar10-resnet8")
    parser.add_argument("--arm", default="sgd")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/scale-conventions"))
    given = parser.parse_args()
    folder = find(given.home, given.study, given.study)
    place = next(i for i, arm in enumerate(folder.arms) if arm["name"] == given.arm)
    runs = [open_run(folder.trained(job)) for job in folder.jobs if job.arm == place]
    task = runs[0].task()
    sweep = ",".join(f"{s:g}" for s in STRENGTHS)
    rows, numbers = [], {}
    for scale in SCALES:
        found = [
            measured(run, MeasurePlan(f"gaussian-{scale}:{sweep}", chips=given.draws), task)
            for run in runs
        ]
        # [run, strength, example].
        scores = np.array([one["score by example"] for one in found], dtype=np.float64)
        cells = [crossed(scores[:, k]).interval for k in range(len(STRENGTHS))]
        equivalent = np.array([one["equivalent"] for one in found], dtype=np.float64).mean(0)
        numbers[scale] = {
            "mean": [cell.estimate for cell in cells],
            "low": [cell.low for cell in cells],
            "high": [cell.high for cell in cells],
            "equivalent_filter_max": equivalent.tolist(),
            "by_run": scores.mean(2).tolist(),
        }
        rows.append(
            [scale, *(f"{100 * c.estimate:.1f} ± {50 * (c.high - c.low):.1f}" for c in cells)]
        )
        rows.append(["in max\\|W_f\\|", *(f"{one:.3f}" for one in equivalent)])
        kept = [100 * cell.estimate / cells[0].estimate for cell in cells]
        rows.append(["share of clean accuracy, %", *(f"{one:.0f}" for one in kept)])
    rows.append(["the paper's SGD: share, %", *(f"{100 * one / PAPER[0]:.0f}" for one in PAPER)])
    head = ["", *(f"{s:g}" for s in STRENGTHS)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
    print(table)
    what = (
        f"{len(runs)} networks `{given.arm}` of the study `{given.study}`, {given.draws} chips, "
        f"{scores.shape[2]:,} test images"
    )
    facts = {key: value for key, value in made().items() if key != "command"}
    command = (
        f"python scripts/scale_conventions.py --study {given.study} --arm '{given.arm}' --draws "
        f"{given.draws}"
    )
    records.write(
        given.out / "numbers.json",
        {
            "what": what,
            "strengths": list(STRENGTHS),
            "scales": numbers,
            "command": command,
            "made": facts,
        },
    )
    (given.out / "README.md").write_text(
        "# Which reading of the printed noise\n"
        "\n"
        "```sh\n"
        f"{command}\n"
        "```\n"
        "\n"
        f"Accuracy in % of {what}; ± is half a 95% interval over crossed seeds and images. Below "
        "each: the gaussian-filter-max strength that is as large on these weights, and what is "
        "left of the accuracy without noise.\n"
        "\n"
        f"{table}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
