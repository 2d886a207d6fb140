"""Weights in files: safetensors, or a checkpoint of torch's, which is read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_model
from torch import nn

from ..errors import Mistake
from ..records import write_atomically

__all__ = ["load_weights", "save_weights"]


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights as safetensors (tied tensors once), whole or not at all."""
    write_atomically(path, lambda temporary: save_model(model, str(temporary), metadata={"format": "1"}))


def load_weights(model: nn.Module, path: Path) -> None:
    """Load `.safetensors`, or `.pt`/`.pth`/`.bin` with `weights_only=True`, into `model`, strictly.

    Raises `Mistake` for a file that is not there or cannot be read, and where names or shapes differ.
    """
    if not path.is_file():
        raise Mistake(f"{path}: no such file of weights.")
    state = _read(path)
    own = model.state_dict()
    tied = _tied(model)
    missing = [name for name in own if name not in state and not any(other in state for other in tied.get(name, ()))]
    extra = [name for name in state if name not in own]
    wrong = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    for what, names in (("lacks", missing), ("has, and the model lacks,", extra), ("has other shapes:", wrong)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise Mistake(f"{path} {what} {', '.join(names[:3])}{more}: these are the weights of another model.")
    model.load_state_dict(state, strict=False)


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
        raise Mistake(f"{path} cannot be read as weights ({reason}): it is truncated or of another kind.") from None
    except Exception as problem:  # pickle raises what it likes
        raise Mistake(
            f"{path} cannot be read safely ({type(problem).__name__}); save a state_dict, best as safetensors."
        ) from None
    for name in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise Mistake(f"{path} holds no state_dict: names with tensors are needed.")
    return state
