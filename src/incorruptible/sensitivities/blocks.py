"""Which arrays are corrupted or kept together: single ones, those of a module, those that patterns name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from ..arrays import Array, survey
from ..errors import Mistake, unknown

__all__ = ["Block", "blocks", "named_by"]


class Block(NamedTuple):
    """Arrays under one name."""

    name: str
    arrays: tuple[Array, ...]

    @property
    def weights(self) -> int:
        """How many weights they hold."""
        return sum(array.value.numel() for array in self.arrays)


def blocks(arrays: Sequence[Array], by: str = "layer") -> tuple[str, list[Block]]:
    """The arrays, each alone or in blocks, in the order of the network; and `by` with the depth that was taken.

    "layer" is one array. "block:N" puts together what has the same module at depth N, where "encoder.0.attn.in_proj_weight"
    lies in `encoder` at depth 1 and in `encoder.0` at depth 2; modules above that depth are blocks of their own. "block" takes
    the first depth at which there is more than one. Raises `Mistake` for another word, and for a depth that does not exist.
    """
    if by == "layer":
        return by, [Block(array.name, (array,)) for array in arrays]
    word, _, depth = by.partition(":")
    deepest = max(1, max(len(_module(array)) for array in arrays))
    if word != "block" or not (depth.isdecimal() or by == "block"):
        raise unknown("way to part a network", by, ["layer", "block", *(f"block:{n + 1}" for n in range(deepest))])
    if depth:
        if not 1 <= int(depth) <= deepest:
            choices = ", ".join(f"block:{n + 1}" for n in range(deepest))
            raise Mistake(f"by {by!r}: no weight lies at depth {int(depth)}; choose one of: {choices}.")
        return f"block:{int(depth)}", _at(arrays, int(depth))
    found = next((n for n in range(1, deepest + 1) if len(_at(arrays, n)) > 1), deepest)
    return f"block:{found}", _at(arrays, found)


def named_by(model: nn.Module, arrays: Sequence[Array], patterns: str) -> Block:
    """Those of `arrays` that patterns (as of a shell, commas between them) over parameter names keep digital.

    The same as `select(without=...)` leaves out. Raises `Mistake` for a pattern that matches no parameter, and where none of
    what they match is in an array.
    """
    names = {array.name for array in arrays}
    each = [one.strip() for one in patterns.split(",")]
    left = {one.name for one in survey(model, also=names, without=each) if one.array is not None}
    found = tuple(array for array in arrays if array.name not in left)
    if not found:
        raise Mistake(f"{patterns!r} names only what is digital already; the arrays are: {', '.join(sorted(names))}.")
    return Block(repr(patterns), found)


def _module(array: Array) -> list[str]:
    return array.name.split(".")[:-1]


def _at(arrays: Sequence[Array], depth: int) -> list[Block]:
    found: dict[str, list[Array]] = {}
    for array in arrays:
        found.setdefault(".".join(_module(array)[:depth]), []).append(array)
    return [Block(name or "(the model's own)", tuple(members)) for name, members in found.items()]
