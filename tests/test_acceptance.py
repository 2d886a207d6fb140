"""What training is for: on digits, 8 seeds an arm, with thresholds that stand well away from what was measured.

On two x86 cores with torch 2.13: RWP .940 (.936 to .944) and plain .868 (.853 to .884) under noise .3, paired difference
.072 (.058 to .085); clean, SAM with a ramp .973 to .978 and SAM at constant strength .117 to .191 over the seeds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from incorruptible.engines import local
from incorruptible.recipes import Probe, Recipe
from incorruptible.runs import Plan, measured, train
from incorruptible.statistics import paired

NOISE = "gaussian-filter-max"
ARMS = {
    "sgd": ("plain", "constant:0"),
    "rwp": (f"rwp({NOISE})", "constant:0.3"),
    "sam": ("sam", "constant:1"),
    "sam, linear": ("sam", "linear:0:1"),
}
SEEDS = 8
Found = dict[str, np.ndarray]

pytestmark = pytest.mark.slow


def accuracy(job: tuple[str, int, str]) -> list[float]:
    """Test accuracy at noise 0 and .3, over 20 chips."""
    arm, seed, home = job
    objective, strength = ARMS[arm]
    recipe = Recipe("digits:split=full", objective, strength, epochs=40, seed=seed, probe=Probe(draws=0))
    found = measured(train(recipe, Path(home)), Plan(f"{NOISE}:0,0.3", draws=20))
    return [float(values.mean()) for values in found["score"]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """[seed, noise] for each arm."""
    home = str(tmp_path_factory.mktemp("acceptance"))
    jobs = [(arm, seed, home) for arm in ARMS for seed in range(SEEDS)]
    results = dict(local(accuracy, jobs, 2))
    return {arm: np.array([results[arm, seed, home] for seed in range(SEEDS)]) for arm in ARMS}


def test_random_weight_perturbation_beats_plain_training_under_noise(found: Found) -> None:
    rwp, sgd = found["rwp"][:, 1], found["sgd"][:, 1]
    assert rwp.mean() >= 0.92 and sgd.mean() <= 0.88
    assert paired(rwp, sgd).interval.estimate >= 0.05


def test_a_ramp_rescues_sharpness_aware_training(found: Found) -> None:
    assert found["sam, linear"][:, 0].mean() >= 0.96
    assert found["sam"][:, 0].mean() < 0.30
