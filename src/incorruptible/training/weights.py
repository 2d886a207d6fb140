"""Weights in files (safetensors, or a checkpoint of torch's, which is read without running code),
and weights kept within a bound.
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

__all__ = ["clip_weights", "load_weights", "save_weights"]


# ---- Weights in files: safetensors, or a checkpoint of torch's, which is read without running code


# What others put in front of every name, with who they are
_PREFIXES = {
    "module.": "DistributedDataParallel",
    "_orig_mod.": "torch.compile",
    "model.": "a module around the network",
}


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the weights as safetensors (tied tensors once), whole or not at all.

    Of a model inside torch.compile or DistributedDataParallel the inner one's are written, whose
    names carry no prefix.
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
    there or cannot be read, and where names, shapes or kinds of numbers differ: whole or complex
    numbers are not the weights of a layer of real ones, though torch would copy them without a
    word.
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
    """The weights under the model's own names, and what stood before all of them: nothing, where
    names are the model's already.
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
    """The kind of a tensor's numbers, in one word; all floating-point types are one kind, and may
    be loaded as each other.
    """
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.dtype == torch.bool:
        return "true-or-false"
    return "real" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "whole"


def _tied(model: nn.Module) -> dict[str, list[str]]:
    groups: dict[int, list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), []).append(name)
    return {name: names for names in groups.values() for name in names if len(names) > 1}


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as problem:
        reason = next(iter(str(problem).splitlines()), type(problem).__name__)
        raise UserError(
            f"{path} cannot be read as weights ({reason}): it is truncated or of another kind."
        ) from None
    except Exception as problem:  # pickle raises what it likes
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
        raise UserError(f"{path} holds no state_dict: names with tensors are needed.")
    return state


# ---- Weights kept within a bound, so that none stands so far out that it sets the scale of all
# noise


def clip_weights(
    arrays: Sequence[Array], alpha: float | None = None, *, at: float | None = None
) -> None:
    """Clamp every array, in place: to +-alpha std(W), or to +-at where an absolute bound is given.

    To be called after each step of the optimiser. std(W) is of all weights of the array as they are
    then, about their mean, with n - 1 (torch's own); it is taken anew in each call, and falls as
    outliers are cut. Arrays whose weights are all equal, or of one weight alone, stay: they have no
    outliers. Biases, norms and frozen arrays stay too.

    alpha is 1 at least, for max|W| >= std(W) nearly always, so that a smaller one would shrink the
    whole layer at every step until nothing is left; aihwkit's examples take 2.5 (LAYER_GAUSSIAN).
    `at` is the w_max of Stutz et al., MLSys 2021 (arXiv 2006.13977), 0.1 to 0.3 there; they bound
    biases and norms as well: `select(model, also=("*",))`. Raises `UserError` for neither, both, or
    values out of range.

    By hand: weights -1, 0, 0, 1, 5 have mean 1 and std sqrt(22 / 4) = 2.345; alpha 2 clamps 5 to
    4.690.
    """
    if (alpha is None) == (at is None):
        raise UserError(
            "clip_weights takes one bound: alpha=2.5, in standard deviations of a layer, or at=0.1."
        )
    if alpha is not None and not 1 <= alpha < math.inf:
        raise UserError(
            f"clip_weights: alpha {alpha!r}: standard deviations of a layer, 1 at least, are "
            "needed (2.5, say)."
        )
    if at is not None and not 0 < at < math.inf:
        raise UserError(f"clip_weights: at {at!r}: a finite number above 0 is needed (0.1, say).")
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
