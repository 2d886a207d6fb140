"""The audit says what the weights say."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from incorruptible.corruptions import CATALOGUE, EXAMPLES, Gaussian, parse
from incorruptible.errors import UserError
from incorruptible.evaluation.audit import Audit, audit
from incorruptible.randomness.streams import Draw
from incorruptible.tasks.networks import small_conv
from incorruptible.weights.arrays import select
from incorruptible.weights.swap import replaced
from test_arrays import EACH as LAYER_TYPES
from test_arrays import Layer

CELLS = Path(os.path.relpath(Path(__file__).parent / "data" / "cells.csv")).as_posix()


class Mixed(nn.Module):
    """Some of everything: selected, digital, tied, without a rule, empty, frozen, not of floats."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(7, 6), nn.LayerNorm(6)
        self.cell = nn.GRUCell(6, 6)
        self.grouped = nn.ConvTranspose2d(4, 6, 3, groups=2)
        self.frozen = nn.Linear(6, 5).requires_grad_(False)
        self.head = nn.Linear(6, 7)
        self.head.weight = self.table.weight
        self.free, self.none = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.ones(0))
        self.codes = nn.Parameter(torch.arange(4), requires_grad=False)


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"mixed": Mixed(), "conv": small_conv(width=4), "wrapped": nn.DataParallel(small_conv(width=4))}


EACH = pytest.mark.parametrize("name", networks())
CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("mixed", {}),
    ("mixed", {"also": ("*.bias", "free")}),
    ("mixed", {"protect": ("cell.*", "head.*")}),
    ("conv", {}),
    ("conv", {"also": ("1.*",)}),
    ("conv", {"protect": ("0.*",)}),
    ("wrapped", {}),
]


@pytest.mark.parametrize(("name", "choice"), CHOICES)
@pytest.mark.parametrize(
    "text", [{**EXAMPLES, "measured": f"measured:file={CELLS}"}.get(name, name) for name in CATALOGUE]
)
def test_what_it_calls_touched_moves_and_nothing_else(name: str, choice: dict[str, Any], text: str) -> None:
    model = networks()[name]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.01)  # zeros would stay under relative errors
    strength = 1.0 if getattr(parse(text), "max_strength", 2.0) == 1 else 0.1  # a rate that strikes every weight
    found = audit(model, parse(text), strength, **choice)
    inner = model.module if isinstance(model, nn.DataParallel) else model
    before = {one: parameter.clone() for one, parameter in inner.named_parameters()}
    draw, corruption = Draw(0, "audit", 0), parse(text)
    with replaced(select(model, **choice), lambda array: corruption(array, strength, draw.of(array.name))):
        moved = {one for one, parameter in inner.named_parameters() if not torch.equal(parameter, before[one])}
    if text == "quantised":  # weights that are all the same are a level
        moved |= {row.name for row in found.touched if before[row.name].unique().numel() == 1}
    assert {row.name for row in found.touched} == moved
    assert [row.name for row in found.rows] == list(before)
    assert all(torch.equal(parameter, before[one]) for one, parameter in inner.named_parameters())
    assert {row.name for row in found.skipped} == set(before) - moved
    assert all(
        row.reason and row.filters is row.relative_to_max is row.relative_to_rms is None for row in found.skipped
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_errors_and_sizes_are_those_of_the_weights(kind: torch.dtype) -> None:
    model, draw = networks()["mixed"].to(kind), Draw(3, "audit", 0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    found = audit(model, Gaussian("filter-max"), 0.2, seed=3)
    weights = dict(model.named_parameters())
    for row in found.touched:
        array = next(array for array in select(model) if array.name == row.name)
        clean = weights[row.name].detach()
        error = Gaussian("filter-max")(array, 0.2, draw.of(row.name)).double() - clean.double()
        size = math.sqrt(sum(float(e) ** 2 for e in error.flatten()) / error.numel())
        rms = math.sqrt(sum(float(w) ** 2 for w in clean.flatten()) / clean.numel())
        assert (row.max, row.rms) == pytest.approx((float(clean.abs().max()), rms))
        assert row.relative_to_max == pytest.approx(size / row.max, rel=1e-4)
        assert row.relative_to_rms == pytest.approx(size / rms, rel=1e-4)
        assert (row.shape, row.filters) == (tuple(clean.shape), array.filters)
    assert all(map(torch.equal, model.parameters(), before))


def test_layer_max_errors_are_the_strength_itself() -> None:
    """By hand: 40,000 weights, so that 1.5% is three standard errors and more of a root mean square."""
    (row,) = audit(nn.Linear(200, 200, bias=False), Gaussian("layer-max"), 0.1).rows
    assert row.relative_to_max == pytest.approx(0.1, rel=0.015)
    assert row.relative_to_rms == pytest.approx(0.1 * row.max / row.rms, rel=0.015)


REASONS = {
    "norm.weight": "LayerNorm stays digital",
    "cell.bias_ih": "a bias, scale or vector of GRUCell",
    "frozen.bias": "a bias, scale or vector of Linear",
    "free": "no rule for Mixed: name it in also=(...) to include it",
    "none": "empty",
    "codes": "holds torch.int64, not floats",
    "cell.weight_hh": "left out by '*_hh'",
}


def test_what_is_skipped_has_its_reason() -> None:
    rows = {row.name: row for row in audit(networks()["mixed"], Gaussian("absolute"), 0.1, protect=("*_hh",)).rows}
    assert {name: rows[name].reason for name in REASONS} == REASONS
    assert {name for name, row in rows.items() if not row.reason} == {
        "table.weight",
        "cell.weight_ih",
        "grouped.weight",
        "frozen.weight",
    }


@EACH
def test_the_table_names_every_parameter_and_the_share(name: str) -> None:
    found = audit(networks()[name], Gaussian("filter-max"), 0.1)
    first, *lines = str(found).split("\n")
    assert first.startswith("gaussian-filter-max at 0.1, one chip: ") and repr(found) == str(found)
    assert f"{len(found.touched)} arrays hold {found.share():.1%} of the parameters" in first
    named = [line.split()[0] for line in lines]
    assert [one for one in named if one not in ("array", "not")] == [
        row.name for rows in (found.touched, found.skipped) for row in rows
    ]
    for row in found.skipped:
        assert any(line.startswith(f"{row.name} ") and line.endswith(row.reason) for line in lines)


def test_the_share_counts_weights() -> None:
    assert audit(nn.Linear(3, 2), Gaussian("absolute"), 0.1).share() == 6 / 8
    assert audit(nn.Linear(3, 2), Gaussian("absolute"), 0.1, also=("bias",)).share() == 1
    assert Audit((), "gaussian-absolute", 0.1).share() == 0


def test_zeros_have_no_relative_error() -> None:
    model = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(model.weight)
    (row,) = audit(model, Gaussian("filter-max"), 0.1).rows
    assert (row.max, row.rms, row.relative_to_max, row.relative_to_rms) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("model", "strength", "message"),
    [
        (nn.LayerNorm(3), 0.1, "LayerNorm has no weight to perturb"),
        (nn.Linear(2, 2), -0.1, "strength -0.1: a finite number that is not negative is needed"),
        (nn.Linear(2, 2), math.nan, "strength nan"),
    ],
)
def test_mistakes(model: nn.Module, strength: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        audit(model, Gaussian("filter-max"), strength)


@LAYER_TYPES
def test_every_layer_type_is_reached(layer: Layer) -> None:
    """The audit's rows, the table of layers and the weights that really move name the same parameters."""
    torch.manual_seed(0)
    model, corruption = layer.make(), Gaussian("absolute")
    found = audit(model, corruption, 0.1)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    draw = Draw(0, "audit", 0)
    with replaced(select(model), lambda array: corruption(array, 0.1, draw.of(array.name))):
        moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {row.name: row.filters for row in found.touched} == layer.selected
    assert moved == set(layer.selected)
