"""What has another name since the rooms moved: old names are answered with the new ones for one
release, after which this file goes.

>>> print(missing("incorruptible", "Mistake"))
incorruptible.Mistake was renamed to incorruptible.UserError
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# Public names, by the room that has them; "" is the package's own face.
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

# Rooms and files that people import from.
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
    "pages": "report.page",
    "placing": "specs.grammar",
    "points": "objectives.base",
    "provenance": "files.provenance",
    "recipes": "training.recipe",
    "records": "files.records",
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

# Entries of files and arguments of functions; the former are read under both names.
ENTRIES = {"draws": "chips", "precision": "autocast"}

# Options of each verb; they are read under both names, and the new one is said.
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
    """What to raise for a name that `module` does not have.

    An `ImportError` for one that was renamed: an AttributeError would lose its text in `from module
    import name`.
    """
    new = NAMES.get(module.partition(".")[2], {}).get(name)
    if new is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return ImportError(f"{module}.{name} was renamed to {module}.{new}")


class _Finder:
    """The last that Python asks for a module: it knows where old ones went."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        package, _, module = fullname.partition(".")
        if package == "incorruptible" and module in MODULES:
            raise ModuleNotFoundError(
                f"{fullname} was renamed to incorruptible.{MODULES[module]}", name=fullname
            )


def listen() -> None:
    """Have imports of old modules answered, once."""
    if not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.append(_Finder())


def respelled(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's words with today's options, and a sentence for each option that had another name.

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
