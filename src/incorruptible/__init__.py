"""Train neural networks whose weights may go wrong at inference, and say with sound statistics how
wrong they may go.

>>> import incorruptible as inc
>>> inc.parse("gaussian-filter-max")
Gaussian(scale='filter-max')
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .renamed import listen, missing

# The one table of the public names. Type checkers read these imports, in which `X as X` makes a
# name public; isort would give each name a line of its own. Python reads the same lines as text,
# in `_homes`, so that a name is imported when it is first asked for.
if TYPE_CHECKING:
    # isort: off
    from . import optim as optim
    from .certificates import (
        ChipYield as ChipYield,
        FreshAccuracy as FreshAccuracy,
        certify as certify,
        certify_fresh as certify_fresh,
    )
    from .corruptions import (
        Corruption as Corruption,
        Gaussian as Gaussian,
        LogNormal as LogNormal,
        Mixture as Mixture,
        Multiplicative as Multiplicative,
        Stored as Stored,
        Uniform as Uniform,
        at_time as at_time,
        equivalent as equivalent,
        parse as parse,
        parse_sweep as parse_sweep,
    )
    from .corruptions.equivalence import translate as translate
    from .errors import UserError as UserError
    from .evaluation import (
        AnytimeMeans as AnytimeMeans,
        Means as Means,
        OverTime as OverTime,
        Sampling as Sampling,
        Scores as Scores,
        measure as measure,
        measure_all as measure_all,
        measure_mean as measure_mean,
        measure_until as measure_until,
    )
    from .evaluation.audit import Audit as Audit, audit as audit
    from .evaluation.comparison import Comparison as Comparison, compare as compare
    from .evaluation.sensitivity import Sensitivity as Sensitivity, sensitivity as sensitivity
    from .landscape import (
        Health as Health,
        Sharpness as Sharpness,
        health as health,
        sharpness as sharpness,
        tolerated as tolerated,
    )
    from .objectives import (
        ASAM as ASAM,
        RWP as RWP,
        RWPSAM as RWPSAM,
        SAM as SAM,
        LocalRWP as LocalRWP,
        MixedRWP as MixedRWP,
        Plain as Plain,
        RandBET as RandBET,
    )
    from .objectives.base import Objective as Objective, Point as Point
    from .randomness.streams import Draw as Draw, Noise as Noise
    from .reports import report as report
    from .runs import Run as Run, open_run as open_run, train as train
    from .schedules import (
        Auto as Auto,
        Constant as Constant,
        Controller as Controller,
        Cosine as Cosine,
        Linear as Linear,
        Quadratic as Quadratic,
        Reversed as Reversed,
        Schedule as Schedule,
        Seen as Seen,
        Steps as Steps,
        WarmupHold as WarmupHold,
    )
    from .statistics import Difference as Difference, Interval as Interval
    from .tasks import Task as Task
    from .tasks.scores import Score as Score, accuracy as accuracy, cross_entropy as cross_entropy
    from .training import (
        Hardener as Hardener,
        clip_weights as clip_weights,
        load_weights as load_weights,
        save_weights as save_weights,
    )
    from .training.recipe import Probe as Probe, Recipe as Recipe
    from .version import __version__ as __version__
    from .weights.arrays import Array as Array, select as select
    from .weights.batchnorm import (
        fold_batchnorm as fold_batchnorm,
        recalibrate_batchnorm as recalibrate_batchnorm,
    )
    from .weights.swap import replaced as replaced
else:  # type checkers would take any name for known if they saw `__getattr__`

    def _homes() -> dict[str, str]:
        """The module of each public name; "" for a room that is reached by its own name."""
        tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
        table = next(node for node in tree.body if isinstance(node, ast.If))
        imports = [node for node in table.body if isinstance(node, ast.ImportFrom)]
        return {alias.name: node.module or "" for node in imports for alias in node.names}

    _HOMES = _homes()
    __all__ = sorted(name for name, home in _HOMES.items() if home)

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise missing(__name__, name)
        home = _HOMES[name]
        module = import_module(f".{home or name}", __name__)
        value = globals()[name] = getattr(module, name) if home else module
        return value

    def __dir__() -> list[str]:
        return __all__


listen()
