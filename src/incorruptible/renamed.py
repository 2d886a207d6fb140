"""Names that were changed. For one release, an old name is answered with the new one; after that
release this file is deleted.

Keeps: an old name is answered and never does the work of the new one, except entries of files and
options of the command line, which are read under both names.

>>> print(missing("incorruptible", "Mistake"))
incorruptible.Mistake was renamed to incorruptible.UserError
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# Public names, by the package or module that has them; "" is `incorruptible` itself.
NAMES = {
    "": {"Chips": "Sampling", "Mistake": "UserError", "Precise": "AnytimeMeans"},
    "errors": {"Mistake": "UserError", "Mistakes": "UserErrors"},
    "evaluation": {"Chips": "Sampling", "Precise": "AnytimeMeans"},
    "integrations.lightning": {"Hardening": "LightningHardening"},
    "integrations.transformers": {"Hardening": "TrainerHardening"},
    "optim": {"SAM": "SAMOptimizer"},
    "runs": {"Plan": "MeasurePlan"},
    "training": {"Fit": "Trainer", "Group": "RankGroup"},
}

# Packages and modules that people import from.
MODULES = {
    "arrays": "weights.arrays",
    "auditing": "evaluation.audit",
    "banked": "randomness.bank",
    "batchnorm": "weights.batchnorm",
    "catalogues": "cli.catalogue",
    "courses": "diagnostics",
    "curves": "statistics.curves",
    "data": "tasks.data",
    "drawing": "plots",
    "durations": "specs.durations",
    "engines": "studies.launch",
    "fitted_cells": "corruptions.fitted_cells",
    "grammar": "specs.grammar",
    "leases": "studies.leases",
    "measuring": "evaluation",
    "mechanism": "diagnostics.mechanism",
    "networks": "tasks.networks",
    "pages": "reports.page",
    "placing": "specs.grammar",
    "points": "objectives.base",
    "provenance": "files.provenance",
    "recipes": "training.recipe",
    "records": "files.records",
    "report": "reports",
    "scores": "tasks.scores",
    "sensitivities": "evaluation.sensitivity",
    "streams": "randomness.streams",
    "strengths": "schedules",
    "swapping": "weights.swap",
    "translating": "corruptions.equivalence",
    "certificates.fresh": "certificates.fresh_noise",
    "certificates.ground": "certificates.assumptions",
    "corruptions.scales": "corruptions.gaussian",
    "integrations.hosting": "integrations.callback",
    "studies.board": "studies.status",
    "studies.definition": "studies.spec",
    "studies.estimating": "studies.estimate",
    "studies.places": "studies.toml_positions",
    "studies.planning": "studies.plan",
    "studies.running": "studies.run",
    "studies.supervising": "studies.supervisor",
    "studies.working": "studies.worker",
    "training.devices": "training.precision",
    "training.group": "training.distributed",
    "training.loop": "training.trainer",
}

# Entries of files, which are read under both names, and arguments of functions, which are not.
ENTRIES = {"draws": "chips", "precision": "autocast"}

# Options of each verb. The old ones are read, and a line on stderr gives the new ones.
FLAGS = {
    "bridge": {"--draws": "--chips"},
    "certify": {"--draws": "--chips", "--yield": "--min-yield"},
    "measure": {
        "--draws": "--chips",
        "--mean-within": "--subsample --half-width",
        "--precision": "--half-width",
    },
    "sensitivity": {"--draws": "--chips", "--protect": "--what-if-digital"},
    "train": {"--precision": "--autocast"},
}


def missing(module: str, name: str) -> Exception:
    """The exception for a name that `module` does not have.

    For a name that was changed this is an `ImportError`, because Python discards the text of an
    `AttributeError` in `from module import name`.
    """
    new = NAMES.get(module.partition(".")[2], {}).get(name)
    if new is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return ImportError(f"{module}.{name} was renamed to {module}.{new}")


class _Finder:
    """The last finder that Python asks for a module. It answers modules that were renamed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        package, _, module = fullname.partition(".")
        if package == "incorruptible" and module in MODULES:
            raise ModuleNotFoundError(
                f"{fullname} was renamed to incorruptible.{MODULES[module]}", name=fullname
            )


def listen() -> None:
    """Install the answer to imports of old modules. A second call does nothing."""
    if not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.append(_Finder())


def respelled(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command line with today's options, and a sentence for each option that was
    typed under its old name.

    >>> respelled(["measure", "RUN", "--draws=5", "--mean-within", ".01"])[0]
    ['measure', 'RUN', '--chips=5', '--subsample', '--half-width', '.01']
    """
    verb = next((word for word in words if not word.startswith("-")), "")
    flags = FLAGS.get(verb, {})
    new: list[str] = []
    said: list[str] = []
    for place, word in enumerate(words):
        name, mark, value = word.partition("=")
        if name not in flags or "--" in words[:place]:
            new.append(word)
            continue
        *first, last = flags[name].split()
        new += [*first, f"{last}{mark}{value}"]
        said.append(f"{verb} {name} was renamed to {flags[name]}")
    return new, said
