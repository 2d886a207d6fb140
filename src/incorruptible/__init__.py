"""Train neural networks whose weights may go wrong at inference, and say with sound statistics how
wrong they may go.

>>> import incorruptible as inc
>>> inc.parse("gaussian-filter-max")
Gaussian(scale='filter-max')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UserError
from .renamed import listen, missing
from .version import __version__

if TYPE_CHECKING:
    from . import optim as optim
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
    from .corruptions.equivalence import translate
    from .evaluation import (
        AnytimeMeans,
        Means,
        OverTime,
        Sampling,
        Scores,
        measure,
        measure_all,
        measure_mean,
        measure_until,
    )
    from .evaluation.audit import Audit, audit
    from .evaluation.sensitivity import Sensitivity, sensitivity
    from .landscape import Health, Sharpness, health, sharpness, tolerated
    from .objectives import ASAM, RWP, RWPSAM, SAM, LocalRWP, MixedRWP, Plain, RandBET
    from .objectives.base import Objective, Point
    from .randomness.streams import Draw, Noise
    from .runs import Run, open_run, train
    from .schedules import (
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
    from .statistics import Difference, Interval
    from .tasks import Task
    from .tasks.scores import Score, accuracy, cross_entropy
    from .training import Hardener, clip_weights, load_weights, save_weights
    from .training.recipe import Probe, Recipe
    from .weights.arrays import Array, select
    from .weights.batchnorm import fold_batchnorm, recalibrate_batchnorm
    from .weights.swap import replaced

# where each name lives; imported when it is first asked for, so that `import incorruptible` does
# not import torch
_HOMES = {
    "ASAM": "objectives",
    "AnytimeMeans": "evaluation",
    "Array": "weights.arrays",
    "Audit": "evaluation.audit",
    "Auto": "schedules",
    "ChipYield": "certificates",
    "Constant": "schedules",
    "Controller": "schedules",
    "Corruption": "corruptions",
    "Cosine": "schedules",
    "Difference": "statistics",
    "Draw": "randomness.streams",
    "FreshAccuracy": "certificates",
    "Gaussian": "corruptions",
    "Hardener": "training",
    "Health": "landscape",
    "Interval": "statistics",
    "Linear": "schedules",
    "LocalRWP": "objectives",
    "LogNormal": "corruptions",
    "Means": "evaluation",
    "MixedRWP": "objectives",
    "Mixture": "corruptions",
    "Multiplicative": "corruptions",
    "Noise": "randomness.streams",
    "Objective": "objectives.base",
    "OverTime": "evaluation",
    "Plain": "objectives",
    "Point": "objectives.base",
    "Probe": "training.recipe",
    "Quadratic": "schedules",
    "RWP": "objectives",
    "RWPSAM": "objectives",
    "RandBET": "objectives",
    "Recipe": "training.recipe",
    "Reversed": "schedules",
    "Run": "runs",
    "SAM": "objectives",
    "Sampling": "evaluation",
    "Schedule": "schedules",
    "Score": "tasks.scores",
    "Scores": "evaluation",
    "Seen": "schedules",
    "Sensitivity": "evaluation.sensitivity",
    "Sharpness": "landscape",
    "Steps": "schedules",
    "Stored": "corruptions",
    "Task": "tasks",
    "Uniform": "corruptions",
    "WarmupHold": "schedules",
    "accuracy": "tasks.scores",
    "at_time": "corruptions",
    "audit": "evaluation.audit",
    "certify": "certificates",
    "certify_fresh": "certificates",
    "clip_weights": "training",
    "cross_entropy": "tasks.scores",
    "equivalent": "corruptions",
    "fold_batchnorm": "weights.batchnorm",
    "health": "landscape",
    "load_weights": "training",
    "measure": "evaluation",
    "measure_all": "evaluation",
    "measure_mean": "evaluation",
    "measure_until": "evaluation",
    "open_run": "runs",
    "parse": "corruptions",
    "parse_sweep": "corruptions",
    "recalibrate_batchnorm": "weights.batchnorm",
    "replaced": "weights.swap",
    "save_weights": "training",
    "select": "weights.arrays",
    "sensitivity": "evaluation.sensitivity",
    "sharpness": "landscape",
    "tolerated": "landscape",
    "train": "runs",
    "translate": "corruptions.equivalence",
}
# Rooms that are reached by their own name: `inc.optim.SAMOptimizer`.
_ROOMS = {"optim"}

__all__ = [
    "ASAM",
    "RWP",
    "RWPSAM",
    "SAM",
    "AnytimeMeans",
    "Array",
    "Audit",
    "Auto",
    "ChipYield",
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
    "MixedRWP",
    "Mixture",
    "Multiplicative",
    "Noise",
    "Objective",
    "OverTime",
    "Plain",
    "Point",
    "Probe",
    "Quadratic",
    "RandBET",
    "Recipe",
    "Reversed",
    "Run",
    "Sampling",
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
    "UserError",
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
        raise missing(__name__, name)
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


listen()
