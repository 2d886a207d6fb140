"""The other simulators, imported if they are installed, and the layers of a model that they can
replace.

Keeps: every weight that belongs in hardware is either in the list that `layers` returns, or named
in `protect`, or refused, so that no weight stays ideal unnoticed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any, NamedTuple

from torch import nn

from ..errors import UserError
from ..weights.arrays import Array, survey, unwrapped

CROSSSIM = "pip install --no-deps git+https://github.com/sandialabs/cross-sim@v3.2.0"
LIGHTNING = "pip install --no-deps aihwkit-lightning==2.1.0 && pip install tqdm"


def crosssim(*modules: str) -> list[Any]:
    """Modules of CrossSim, whose package is named `simulator`. Raises `UserError` if CrossSim is
    not installed.
    """
    found = _imported("CrossSim", CROSSSIM, "simulator", ("", *modules))
    if not hasattr(found[0], "CrossSimParameters"):
        where = getattr(found[0], "__file__", None) or "a folder of that name"
        raise UserError(
            f"the package 'simulator' that Python finds is not CrossSim, but {where}; to install "
            f"CrossSim: {CROSSSIM}"
        )
    return found[1:]


def lightning(*modules: str) -> list[Any]:
    """Modules of aihwkit-lightning. Raises `UserError` if it is not installed."""
    return _imported("aihwkit-lightning", LIGHTNING, "aihwkit_lightning", modules)


def _imported(peer: str, line: str, package: str, modules: Iterable[str]) -> list[Any]:
    """Imports modules of a peer. Raises `UserError` with the line that installs it."""
    try:
        # aihwkit-lightning prints to stdout which optional parts it lacks, but stdout is for data
        # here.
        with redirect_stdout(sys.stderr):
            return [import_module(f"{package}.{module}".rstrip(".")) for module in modules]
    except ImportError as problem:
        raise UserError(f"{peer} is not installed ({problem}): {line}") from problem


class PeerLayer(NamedTuple):
    """A layer that a layer of a peer can replace: its name, the module, and the array of its
    weights.
    """

    name: str
    module: nn.Module
    array: Array


def layers(
    model: nn.Module, kinds: Iterable[type[nn.Module]], peer: str, protect: Iterable[str] = ()
) -> list[PeerLayer]:
    """The layers of `model` that live in hardware. An array that several layers share has several
    entries, and so has a layer that stands in several places.

    `kinds` are the classes that the peer knows. The exact class counts, as peers look classes up by
    it. Raises `UserError` for weights that would silently stay ideal, except those that `protect`
    names, and for a model without any layer that the peer knows.
    """
    model, protect, kinds = unwrapped(model), tuple(protect), tuple(kinds)
    arrays = {
        id(one.parameter): one.array
        for one in survey(model, protect=protect)
        if one.array is not None
    }
    found, foreign = [], []
    for name, module in model.named_modules(remove_duplicate=False):
        # The rows of an embedding are looked up and not multiplied, even if its weight is shared
        # with a layer in hardware.
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        for own, parameter in module._parameters.items():
            array = arrays.get(id(parameter))
            if array is None:
                continue
            if type(module) in kinds and own == "weight":
                found.append(PeerLayer(name, module, array))
            else:
                foreign.append((f"{name}.{own}".lstrip("."), type(module).__name__))
    if foreign:
        names = ", ".join(f"{name} ({kind})" for name, kind in foreign[:4]) + (
            ", ..." if len(foreign) > 4 else ""
        )
        raise UserError(
            f"{peer} has no layer for {names}, whose weights would stay ideal; if that is what you "
            f"want: protect=({foreign[0][0]!r}, ...), or --protect {foreign[0][0]}."
        )
    if not found:
        raise UserError(
            f"{type(model).__name__} has no layer that {peer} knows "
            f"({', '.join(k.__name__ for k in kinds)})."
        )
    return found


def put(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Puts `module` in the place `name`, and returns the model, which is `module` itself if the
    name is empty.
    """
    if not name:
        return module
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
    return model
