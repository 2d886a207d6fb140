"""The examples run as they are, and what they print is so; what a callback is told reaches its Hardener."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import Tensor, nn

import incorruptible as inc
from incorruptible.errors import UserError
from incorruptible.integrations.callback import CallbackBase, put_aside
from incorruptible.weights.arrays import select
from waiting import HANG

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^(\w+): accuracy ([\d.]+) without noise, ([\d.]+) at 0.3", re.MULTILINE)


class Own(CallbackBase):
    """A callback of no package."""

    package, foreign = "own", object


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("chosen", [None, "list", "function"])
def test_what_a_callback_is_told_reaches_its_hardener(steps: int | None, chosen: str | None) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    arrays = {"list": select(model, protect=("2.*",)), "function": lambda model: select(model, protect=("0.*",))}.get(
        chosen or ""
    )
    objective, strength = inc.RWP(inc.Gaussian("filter-max")), inc.Linear(0.0, 0.2)
    own = Own(objective, strength, seed=5, steps=steps, arrays=arrays, batchnorm="frozen", noise="banked")

    def backward(loss: Tensor) -> None:
        loss.backward()

    given = {"steps": 20.0, "accumulate": 2, "backward": backward, "scale": lambda: 4.0, "guard": True}
    robust = own.hardener(model, **given, state=None)
    assert (robust.steps, robust.accumulate, robust.seed) == (steps or 20, 2, 5)
    assert (robust.batchnorm, robust.noise, robust.objective, robust.schedule) == (
        *("frozen", "banked", objective, strength),
    )
    names = {None: ["0.weight", "2.weight"], "list": ["0.weight"], "function": ["2.weight"]}[chosen]
    assert [array.name for array in robust.arrays] == names
    assert robust._guard is True and robust._backward is backward and robust._size() == 4.0 / 2
    robust.calls = 6
    assert own.hardener(model, **given, state=robust.state_dict()).step == 3
    with pytest.raises(UserError, match=r"announces inf steps.*Own\(\.\.\., steps=1000\)"):
        Own(objective, strength, seed=5).hardener(model, **{**given, "steps": float("inf")}, state=None)


@pytest.mark.parametrize("had", [True, False])
def test_what_is_put_aside_comes_back(had: bool) -> None:
    """A method that the class has is hidden, and one that was put on the thing itself is given back."""

    class Host:
        def step(self) -> str:
            return "the class's"

    host = Host()
    if had:
        host.step = lambda: "its own"  # type: ignore[method-assign]
    back = put_aside(host, "step", lambda: "hardened")
    assert host.step() == "hardened"
    back()
    assert host.step() == ("its own" if had else "the class's") and ("step" in vars(host)) == had


INTEGRATIONS = {
    "accelerate_loop.py": "accelerate",
    "lightning_module.py": "lightning",
    "transformers_trainer.py": "transformers",
}


@pytest.mark.slow  # test_accelerate, test_lightning and test_trainer look at the same, without training to the end
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
