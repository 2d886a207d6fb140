"""The examples run as they are, and what they print is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import HANG

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^(\w+): accuracy ([\d.]+) without noise, ([\d.]+) at 0.3", re.MULTILINE)


INTEGRATIONS = {
    "accelerate_loop.py": "accelerate",
    "lightning_module.py": "lightning",
    "transformers_trainer.py": "transformers",
}


@pytest.mark.parametrize(("name", "package"), INTEGRATIONS.items(), ids=INTEGRATIONS)
def test_integrations_harden(name: str, package: str, tmp_path: Path) -> None:
    """Seeds are fixed. Both objectives gain under noise, on 20 chips; and every network reads digits without it."""
    pytest.importorskip(package)
    pytest.importorskip("accelerate")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        capture_output=True,
        text=True,
        timeout=HANG,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = {arm: (float(clean), float(noisy)) for arm, clean, noisy in LINE.findall(done.stdout)}
    assert found.keys() == {"plain", "RWP", "SAM"}
    assert all(clean > 0.9 for clean, _ in found.values())
    assert min(found["RWP"][1], found["SAM"][1]) > found["plain"][1]
