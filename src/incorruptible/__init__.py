"""Train neural networks whose weights may go wrong at inference, and say with sound statistics how wrong they may go.

>>> import incorruptible as inc
>>> inc.parse("gaussian-filter-max")
Gaussian(scale='filter-max')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import Mistake
from .version import __version__

if TYPE_CHECKING:
    from . import optim as optim
    from .arrays import Array, select
    from .auditing import Audit, audit
    from .batchnorm import fold_batchnorm, recalibrate_batchnorm
    from .certificates import ChipYield, FreshAccuracy, certify, certify_fresh
    from .corruptions import (
        Corruption,
        Gaussian,
        LogNormal,
        Mixture,
        Multiplicative,
        Stored,
        Uniform,
        at_time,
        equivalent,
        parse,
        parse_sweep,
    )
    from .landscape import Health, Sharpness, health, sharpness, tolerated
    from .measuring import Chips, Means, Precise, Scores, measure, measure_all, measure_mean, measure_until
    from .objectives import ASAM, RWP, RWPSAM, SAM, LocalRWP, MixedRWP, Plain, RandBET
    from .points import Objective, Point
    from .recipes import Probe, Recipe
    from .runs import Run, open_run, train
    from .scores import Score, accuracy, cross_entropy
    from .sensitivities import Sensitivity, sensitivity
    from .statistics import Difference, Interval
    from .streams import Draw, Noise
    from .strengths import (
        Auto,
        Constant,
        Controller,
        Cosine,
        Linear,
        Quadratic,
        Reversed,
        Schedule,
        Seen,
        Steps,
        WarmupHold,
    )
    from .swapping import replaced
    from .tasks import Task
    from .training import Hardener, clip_weights, load_weights, save_weights
    from .translating import translate

# where each name lives; imported when it is first asked for, so that `import incorruptible` does not import torch
_HOMES = {
    "ASAM": "objectives",
    "Array": "arrays",
    "Audit": "auditing",
    "Auto": "strengths",
    "ChipYield": "certificates",
    "Chips": "measuring",
    "Constant": "strengths",
    "Controller": "strengths",
    "Corruption": "corruptions",
    "Cosine": "strengths",
    "Difference": "statistics",
    "Draw": "streams",
    "FreshAccuracy": "certificates",
    "Gaussian": "corruptions",
    "Hardener": "training",
    "Health": "landscape",
    "Interval": "statistics",
    "Linear": "strengths",
    "LocalRWP": "objectives",
    "LogNormal": "corruptions",
    "Means": "measuring",
    "MixedRWP": "objectives",
    "Mixture": "corruptions",
    "Multiplicative": "corruptions",
    "Noise": "streams",
    "Objective": "points",
    "Plain": "objectives",
    "Point": "points",
    "Precise": "measuring",
    "Probe": "recipes",
    "Quadratic": "strengths",
    "RWP": "objectives",
    "RWPSAM": "objectives",
    "RandBET": "objectives",
    "Recipe": "recipes",
    "Reversed": "strengths",
    "Run": "runs",
    "SAM": "objectives",
    "Schedule": "strengths",
    "Score": "scores",
    "Scores": "measuring",
    "Seen": "strengths",
    "Sensitivity": "sensitivities",
    "Sharpness": "landscape",
    "Steps": "strengths",
    "Stored": "corruptions",
    "Task": "tasks",
    "Uniform": "corruptions",
    "WarmupHold": "strengths",
    "accuracy": "scores",
    "at_time": "corruptions",
    "audit": "auditing",
    "certify": "certificates",
    "certify_fresh": "certificates",
    "clip_weights": "training",
    "cross_entropy": "scores",
    "equivalent": "corruptions",
    "fold_batchnorm": "batchnorm",
    "health": "landscape",
    "load_weights": "training",
    "measure": "measuring",
    "measure_all": "measuring",
    "measure_mean": "measuring",
    "measure_until": "measuring",
    "open_run": "runs",
    "parse": "corruptions",
    "parse_sweep": "corruptions",
    "recalibrate_batchnorm": "batchnorm",
    "replaced": "swapping",
    "save_weights": "training",
    "select": "arrays",
    "sensitivity": "sensitivities",
    "sharpness": "landscape",
    "tolerated": "landscape",
    "train": "runs",
    "translate": "translating",
}
_ROOMS = {"optim"}  # with names that the face has too: `inc.optim.SAM` is an optimiser, `inc.SAM` an objective

__all__ = [
    "ASAM",
    "RWP",
    "RWPSAM",
    "SAM",
    "Array",
    "Audit",
    "Auto",
    "ChipYield",
    "Chips",
    "Constant",
    "Controller",
    "Corruption",
    "Cosine",
    "Difference",
    "Draw",
    "FreshAccuracy",
    "Gaussian",
    "Hardener",
    "Health",
    "Interval",
    "Linear",
    "LocalRWP",
    "LogNormal",
    "Means",
    "Mistake",
    "MixedRWP",
    "Mixture",
    "Multiplicative",
    "Noise",
    "Objective",
    "Plain",
    "Point",
    "Precise",
    "Probe",
    "Quadratic",
    "RandBET",
    "Recipe",
    "Reversed",
    "Run",
    "Schedule",
    "Score",
    "Scores",
    "Seen",
    "Sensitivity",
    "Sharpness",
    "Steps",
    "Stored",
    "Task",
    "Uniform",
    "WarmupHold",
    "__version__",
    "accuracy",
    "at_time",
    "audit",
    "certify",
    "certify_fresh",
    "clip_weights",
    "cross_entropy",
    "equivalent",
    "fold_batchnorm",
    "health",
    "load_weights",
    "measure",
    "measure_all",
    "measure_mean",
    "measure_until",
    "open_run",
    "parse",
    "parse_sweep",
    "recalibrate_batchnorm",
    "replaced",
    "save_weights",
    "select",
    "sensitivity",
    "sharpness",
    "tolerated",
    "train",
    "translate",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'incorruptible' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
