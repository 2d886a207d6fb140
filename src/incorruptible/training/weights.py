"""Weights in files (safetensors, or a checkpoint of torch, which is read without running code), and
weights that are clipped to a bound.

Relies on: names in a file are those of the model's `state_dict`, perhaps all with one prefix.
Keeps: a file of weights is written whole or not at all. No code from a file runs. Names, shapes and
kinds of numbers are checked before the first tensor is written to the model.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_model
from torch import nn

from ..errors import Remark, UserError
from ..files.records import write_atomically
from ..weights.arrays import Array, unwrapped

# ---- Weights in files

# Prefixes that wrappers put in front of every name, with the wrapper.
_PREFIXES = {
    "module.": "DistributedDataParallel",
    "_orig_mod.": "torch.compile",
    "model.": "a module around the network",
}


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the model's weights to a safetensors file, whole or not at all. Tied tensors are
    written once.

    Where the model is wrapped in torch.compile or DistributedDataParallel, the names are those of
    the model inside, without a prefix.
    """
    network = unwrapped(model)
    write_atomically(
        Path(path), lambda temporary: save_model(network, str(temporary), metadata={"format": "1"})
    )


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load `.safetensors`, or `.pt`/`.pth`/`.bin` with `weights_only=True`, into `model`, strictly.

    Where every name in the file begins with `module.`, `_orig_mod.` or `model.`, as data-parallel,
    compiled and enclosed networks are saved, and the model's names do not, the weights are loaded
    without that prefix, and a warning (`Remark`) says so. Raises `UserError` for a file that is not
    there or cannot be read, and where names, shapes or kinds of numbers differ. Whole or complex
    numbers, for example, are refused for a layer of real numbers, which torch would convert
    silently.
    """
    path, model = Path(path), unwrapped(model)
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights.")
    own = model.state_dict()
    state, prefix = _without_prefix(_read(path), own)
    tied = _tied(model)
    missing = [
        name
        for name in own
        if name not in state and not any(other in state for other in tied.get(name, ()))
    ]
    extra = [name for name in state if name not in own]
    wrong = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    other = [
        f"{name}, {_kind(state[name])} for {_kind(own[name])}"
        for name in own
        if name in state and _kind(state[name]) != _kind(own[name])
    ]
    refusals = (
        ("lacks", missing),
        ("has, and the model lacks,", extra),
        ("has other shapes:", wrong),
        ("has other kinds of numbers:", other),
    )
    for what, names in refusals:
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"{path} {what} {', '.join(names[:3])}{more}: these are the weights of another "
                "model."
            )
    model.load_state_dict(state, strict=False)
    if prefix:
        makers = " and ".join(maker for part, maker in _PREFIXES.items() if part in prefix)
        warnings.warn(
            f"every name in {path} begins with {prefix!r} ({makers} puts it there): the weights "
            "were loaded without it.",
            Remark,
            stacklevel=2,
        )


def _without_prefix(state: dict[str, Any], own: Iterable[str]) -> tuple[dict[str, Any], str]:
    """The weights under the model's own names, and the prefix that was taken off every name ("" if
    none was).
    """
    own, gone = set(own), ""
    while own and state and own.isdisjoint(state):
        found = next(
            (one for one in _PREFIXES if all(name.startswith(one) for name in state)), None
        )
        if found is None:
            break
        state, gone = (
            {name.removeprefix(found): tensor for name, tensor in state.items()},
            gone + found,
        )
    return state, gone


def _kind(tensor: torch.Tensor) -> str:
    """The kind of a tensor's numbers, in one word. All floating-point types are one kind, because
    one may be loaded as another.
    """
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.dtype == torch.bool:
        return "true-or-false"
    return "real" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "whole"


def _tied(model: nn.Module) -> dict[str, list[str]]:
    """For each name of a tied tensor, all the names of that tensor."""
    groups: dict[int, list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), []).append(name)
    return {name: names for names in groups.values() for name in names if len(names) > 1}


def _read(path: Path) -> dict[str, Any]:
    """The tensors in a file, by name. Raises `UserError` where it cannot be read safely."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as problem:
        reason = next(iter(str(problem).splitlines()), type(problem).__name__)
        raise UserError(
            f"{path} cannot be read as weights ({reason}): it is truncated or of another kind."
        ) from None
    except Exception as problem:  # unpickling may raise any exception
        raise UserError(
            f"{path} cannot be read safely ({type(problem).__name__}); save a state_dict, best as "
            "safetensors."
        ) from None
    for name in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise UserError(f"{path} does not hold a state_dict, a dictionary from names to tensors.")
    return state


# ---- Clipping, so that no outlier sets the scale of the noise of its whole layer


def clip_weights(
    arrays: Sequence[Array], alpha: float | None = None, *, at: float | None = None
) -> None:
    """Clamp the weights of every array in place to +-alpha std(W), or to +-at.

    Call it after each step of the optimiser; it costs one pass over the weights. std(W) is the
    standard deviation of all weights of the array, with n - 1 in the denominator. It is taken anew
    in each call, and falls as outliers are cut. Arrays of equal weights or of a single weight stay
    as they are, and so do frozen arrays and whatever is not in `arrays` (biases, norms).

    alpha must be at least 1: max|W| >= std(W) nearly always, so that a smaller alpha would shrink
    the whole layer at every step until nothing is left. aihwkit's examples use 2.5
    (LAYER_GAUSSIAN). `at` is the w_max of Stutz et al., MLSys 2021 (arXiv 2006.13977), there 0.1 to
    0.3; they bound biases and norms as well: `select(model, also=("*",))`. Raises `UserError` if
    neither or both are given, and for values out of range.

    By hand: weights -1, 0, 0, 1, 5 have mean 1 and std sqrt(22 / 4) = 2.345; alpha 2 clamps 5 to
    4.690.
    """
    if (alpha is None) == (at is None):
        raise UserError(
            "clip_weights takes one bound: alpha=2.5, in standard deviations of a layer, or at=0.1."
        )
    if alpha is not None and not 1 <= alpha < math.inf:
        raise UserError(
            f"clip_weights: alpha {alpha!r}: a number of standard deviations of a layer, at least "
            "1, is needed (2.5, for example)."
        )
    if at is not None and not 0 < at < math.inf:
        raise UserError(
            f"clip_weights: at {at!r}: a finite number above 0 is needed (0.1, for example)."
        )
    with torch.no_grad():
        for array in arrays:
            value = array.value
            if not array.parameter.requires_grad:
                continue
            if at is not None:
                value.clamp_(-at, at)
            elif alpha is not None and value.numel() > 1:
                bound = alpha * value.to(torch.promote_types(value.dtype, torch.float32)).std()
                bound = torch.where(bound > 0, bound, math.inf).to(value.dtype)
                value.clamp_(-bound, bound)
