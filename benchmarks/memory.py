"""Peak memory of a step over that of plain SGD, in copies of the selected weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from .peers import ROOT
from .rows import Row
from .steps import chosen
from .workloads import NETWORKS

__all__ = ["STEPS", "memory"]

STEPS = ("rwp-exact", "rwp-banked", "local-rwp", "sam", "rwp-by-hand", "sam-by-hand", "sam-pytorch-optimizer")


def memory(networks: Sequence[str] = ("mlp", "resnet20")) -> tuple[list[Row], list[str]]:
    """One row for each network and step, and the steps that could not run. Bytes are counted, so n is 1 and there is no spread."""
    rows, absent = [], []
    for network in networks:
        base = _peak(network, "sgd")
        for name, kind, lacks in chosen(STEPS):
            if lacks is not None:
                absent.append(f"{name}: {lacks}")
                continue
            found = _peak(network, name)
            copies = (found["peak"] - base["peak"]) / found["weights"]
            facts = {"bytes": found["peak"], "baseline_bytes": base["peak"], "weights_bytes": found["weights"]}
            unit = "copies of the selected weights above plain SGD"
            what = f"{kind.what}, {NETWORKS[network].what} b{NETWORKS[network].batch}"
            rows.append(
                Row("memory", f"{network}/{name}", what, unit, copies, copies, copies, 1, "counted", facts=facts)
            )
    return rows, list(dict.fromkeys(absent))


def _peak(network: str, kind: str) -> dict[str, int]:
    with TemporaryDirectory() as folder:
        note = Path(folder) / "peak.json"  # a file, because libraries print on stdout
        command = [sys.executable, "-m", "benchmarks.peak", network, kind, str(note)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])}: {done.stderr.strip()[-400:]}")
        found: dict[str, int] = json.loads(note.read_text(encoding="utf-8"))
    return found
