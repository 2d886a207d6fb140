"""Prints the table of docs/how-to/models.md: which weights of five models of `transformers`, in
their default sizes, lie in arrays.

    python scripts/audit_models.py
"""

from __future__ import annotations

from collections import Counter

import torch
import transformers

from incorruptible.tasks.networks import local_model
from incorruptible.weights.arrays import survey

MODELS = {
    "ViTConfig": "images",
    "ResNetConfig": "images",
    "MobileNetV2Config": "images",
    "BertConfig": "masked",
    "GPT2Config": "causal",
}


def row(config: str, kind: str) -> str:
    """One model: its parameters, the arrays and their share, and the parameters that stay
    digital.
    """
    with torch.device(
        "meta"
    ):  # only shapes matter here; the weights of BERT would take half a gigabyte
        model = local_model(getattr(transformers, config)(), kind)()
    found = survey(model)
    sizes = {one.name: one.parameter.numel() for one in found}
    held = sum(sizes[one.name] for one in found if one.array is not None)
    arrays = Counter(one.module for one in found if one.array is not None)
    digital = Counter(
        f"{one.module}.{one.name.rpartition('.')[2]}" for one in found if one.array is None
    )
    cells = (
        f"`{type(model).__name__}`",
        f"{sum(sizes.values()):,}",
        ", ".join(f"{n} {kind}" for kind, n in arrays.most_common()),
        f"{held / sum(sizes.values()):.1%}",
        ", ".join(f"{n} {name}" for name, n in digital.most_common()),
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The whole table, in Markdown."""
    head = (
        "| model | parameters | arrays | share of parameters | what stays digital "
        "|\n|---|---|---|---|---|"
    )
    return "\n".join([head, *(row(config, kind) for config, kind in MODELS.items())])


if __name__ == "__main__":
    print(table())
