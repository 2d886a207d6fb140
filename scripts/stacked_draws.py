"""The cost of chips that are computed side by side, and one after another: milliseconds of
processor time for each chip, with the time to make the chip.

    python scripts/stacked_draws.py                       # the table of docs/results/fast-measuring.md
    python scripts/stacked_draws.py --networks mlp conv --images 8 16 --sizes 16 --rounds 15
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

import incorruptible as inc
from incorruptible.evaluation.chips import ProgrammedModel
from incorruptible.evaluation.scoring import score_chip
from incorruptible.evaluation.subsampled.batched import products, score_stacked, stackable, worth
from incorruptible.tasks.networks import mlp, resnet8, resnet20, small_conv, vit
from incorruptible.weights.arrays import Array

NETWORKS = {
    "mlp": (mlp, (64,)),
    "wide mlp": (lambda: mlp(784, 512, 512, 10), (784,)),
    "conv": (small_conv, (1, 8, 8)),
    "resnet8": (resnet8, (3, 32, 32)),
    "resnet20": (resnet20, (3, 32, 32)),
    "vit": (vit, (3, 32, 32)),
}
MOST = 1 << 32  # products in one stack; larger stacks are left out, because they take long


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--images", nargs="+", type=int, default=[1, 8, 16, 32, 64, 256, 700])
    parser.add_argument("--sizes", nargs="+", type=int, default=[4, 16, 64])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--corruption", default="gaussian-filter-max")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = "".join(f"  of {size:>3} ms   x" for size in given.sizes)
    print(f"network   images  products  in place ms [quartiles]{sizes}  rule")
    for name in given.networks:
        for images in given.images:
            line = row(name, images, given.sizes, given.rounds, inc.parse(given.corruption))
            if line is not None:
                print(line, flush=True)


def row(
    name: str, images: int, sizes: list[int], rounds: int, corruption: inc.Corruption
) -> str | None:
    make, shape = NETWORKS[name]
    model = make().eval()
    parts = [
        (torch.randn(images, *shape), torch.randint(0, 10, (images,))) for _ in range(max(sizes))
    ]
    arrays: list[Array] = inc.select(model)
    each = products(model, parts[0])
    count = max((size for size in sizes if size * each <= MOST), default=0)
    if not count:
        return None
    chips, numbers = inc.Sampling(corruption, [0.1], count, 0), range(count)
    parts = parts[:count]

    def in_place() -> None:
        with ProgrammedModel(model, arrays, chips) as programmed:
            for number, part in zip(numbers, parts, strict=True):
                score_chip(programmed, {"": inc.accuracy}, [part], 0.1, number)

    def stacked(size: int) -> Callable[[], object]:
        return lambda: score_stacked(model, inc.accuracy, parts, chips, arrays, 0.1, numbers, size)

    if not stackable(model, inc.accuracy, parts, chips, arrays):
        sizes = []
    ways = {0: in_place, **{size: stacked(size) for size in sizes if size <= count}}
    found: dict[int, list[float]] = {size: [] for size in ways}
    for turn in range(rounds + 1):
        for size, way in ways.items():
            began = time.process_time()
            way()
            if turn:  # the first turn only warms up
                found[size].append((time.process_time() - began) / count * 1e3)
    low, middle, high = np.quantile(found[0], [0.25, 0.5, 0.75])
    cells = ""
    for size in sizes:
        if size in found:
            ratio = np.median(np.array(found[0]) / np.array(found[size]))
            cells += f"  {np.median(found[size]):9.3f} {ratio:4.2f}"
        else:
            cells += "          -    -"
    rule = (
        ("stacked" if worth(model, parts[0], arrays, count) else "")
        if sizes
        else "cannot be mapped"
    )
    return (
        f"{name:<9} {images:6}  {each:8.1e}  {middle:8.3f} [{low:.3f}, {high:.3f}]{cells}  {rule}"
    )


if __name__ == "__main__":
    main()
