"""What it costs to know the mean over chips, by few images on each chip and by whole chips, on real
networks.

    OMP_NUM_THREADS=1 python scripts/mean_over_chips.py [--only "digits MLP"] [--strengths .2 .3]
                                                        [--out rows.json] [--twins]

This takes a minute for the MLP on digits, and half an hour for ResNet-8 on CIFAR-10 (if CIFAR-10 is
in $CIFAR10 or beside the project).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.means import check_names, each_row, twins
from incorruptible.errors import UserError

COLUMNS = (
    "workload",
    "strength",
    "condition",
    "design",
    "chips",
    "paired",
    "fixed_chips",
    "ratio",
    "low",
    "high",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], help="workloads")
    parser.add_argument("--strengths", nargs="*", type=float, help="instead of each workload's own")
    parser.add_argument("--out", type=Path, help="keep the rows here, as JSON")
    parser.add_argument(
        "--twins", action="store_true", help="instead, how mirrored chips go together"
    )
    asked = parser.parse_args()
    try:
        check_names(asked.only)
        if asked.out is not None and not asked.out.absolute().parent.is_dir():
            raise UserError(f"--out {asked.out}: there is no folder {asked.out.parent}.")
    except UserError as mistake:
        print(mistake, file=sys.stderr)
        raise SystemExit(2) from None
    if asked.twins:
        for row in twins():
            print(*(f"{name} {value:.3g}" for name, value in row.items()), sep="\t", flush=True)
        return
    options = {} if asked.strengths is None else {"strengths": asked.strengths}
    print(*COLUMNS, sep="\t")
    rows = []
    for row in each_row(asked.only, **options):
        rows.append(row)
        print(
            *(f"{row[key]:.3g}" if isinstance(row[key], float) else row[key] for key in COLUMNS),
            sep="\t",
            flush=True,
        )
        if asked.out is not None:
            asked.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
