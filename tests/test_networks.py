"""What every network of the catalogue promises: its size, its shapes, and that hardening, audit and folding work on it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from incorruptible import RWP, SAM, Constant, Gaussian, Hardener, Objective, audit, fold_batchnorm, replaced, select
from incorruptible.errors import UserError
from incorruptible.randomness.streams import Draw
from incorruptible.tasks.networks import (
    IMAGES,
    cifar_resnet,
    mlp,
    mobilenet_v2,
    resnet8,
    resnet18,
    resnet20,
    resnet50,
    small_conv,
    vit,
    wide_resnet,
)

FILTER_MAX = Gaussian("filter-max")
HOLDING = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)
NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.Embedding)


class Row(NamedTuple):
    """A network of the catalogue: its parameters for 10 classes, in millions as its source prints them and exactly as
    counted by hand or by a peer; the same code in small, for `size` pixels; and how many BatchNorms folding leaves."""

    printed: float
    exact: int
    small: Callable[[], nn.Module]
    left: int | None = 0
    channels: int = 3
    size: int = 8


# He et al. 2016, table 6: ResNet-20 0.27M, ResNet-56 0.85M. Zagoruyko and Komodakis 2016, table 4: WRN-28-10 36.5M.
# ResNet-18, 50 and MobileNetV2: torchvision's for ImageNet with this stem and head, 11,689,512 and 25,557,032 less
# 9,408 - 1,728 (stem) and 990 heads, 3,504,872 less 990 heads. The others, which no paper prints, by hand below.
NETWORKS = {
    "mlp": Row(0.026, 64 * 128 + 128 * 128 + 128 * 10 + 266, lambda: mlp(192, 8, 10), None),
    "conv": Row(0.014, 9 * 16 + 9 * 16 * 32 + 9 * 32 * 32 + 2 * 80 + 330, small_conv, channels=1),
    "resnet8": Row(0.08, 75_290, lambda: cifar_resnet(8, width=4)),
    "resnet20": Row(0.27, 269_722, lambda: cifar_resnet(20, width=4)),
    "resnet56": Row(0.85, 853_018, lambda: cifar_resnet(56, width=2)),
    "resnet18": Row(11.17, 11_689_512 - 9_408 + 1_728 - 990 * 513, lambda: resnet18(width=4)),
    "resnet50": Row(23.52, 25_557_032 - 9_408 + 1_728 - 990 * 2_049, lambda: resnet50(width=2)),
    "wrn-16-4": Row(2.75, 2_748_890, lambda: wide_resnet(16, 2), 6),
    "wrn-28-10": Row(36.5, 36_479_194, lambda: wide_resnet(28, 2), 12),
    "mobilenet-v2": Row(2.24, 3_504_872 - 990 * 1_281, lambda: mobilenet_v2(width=0.25), size=16),
    "vit": Row(2.69, 2_693_194, lambda: vit(size=8, width=16, depth=2, heads=2), None),
}
each = pytest.mark.parametrize("name", IMAGES)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def made(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NETWORKS[name].small()


def batch(name: str, n: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    row = NETWORKS[name]
    images = torch.randn(n, row.channels, row.size, row.size, generator=generator)
    return images, torch.randint(10, (n,), generator=generator)


def test_every_network_has_a_row() -> None:
    assert list(NETWORKS) == list(IMAGES)


@each
def test_as_many_parameters_as_the_source_says(name: str) -> None:
    with torch.device("meta"):
        found = count(IMAGES[name]())
    places = len(str(NETWORKS[name].printed).partition(".")[2])
    assert round(found / 1e6, places) == NETWORKS[name].printed
    assert found == NETWORKS[name].exact


@pytest.mark.parametrize(
    ("make", "printed"),
    [
        # He et al. 2016, table 6
        *[(lambda d=d: cifar_resnet(d), p) for d, p in ((32, 0.46), (44, 0.66), (110, 1.7))],
        # Zagoruyko and Komodakis 2016, table 4
        *[
            (lambda d=d, k=k: wide_resnet(d, k), p)
            for d, k, p in ((40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (22, 8, 17.2), (16, 8, 11.0), (16, 10, 17.1))
        ],
    ],
)
def test_other_depths_and_widths_are_the_papers_too(make: Callable[[], nn.Module], printed: float) -> None:
    with torch.device("meta"):
        found = count(make()) / 1e6
    assert abs(found - printed) < 10.0 ** -len(str(printed).partition(".")[2])  # some are cut, not rounded


def test_counts_by_hand() -> None:
    def three_by_three(fan_in: int, fan_out: int) -> int:
        return 9 * fan_in * fan_out + 2 * fan_out  # with the BatchNorm that goes with it

    # ResNet-8: a stem, a block of two at each of 16, 32, 64, shortcuts without parameters
    blocks = sum(three_by_three(a, b) + three_by_three(b, b) for a, b in ((16, 16), (16, 32), (32, 64)))
    assert NETWORKS["resnet8"].exact == three_by_three(3, 16) + blocks + 650
    # WRN-16-4: BatchNorm is counted with its inputs; a 1x1 shortcut in the first block of each stage, two blocks each
    total = 9 * 3 * 16 + 2 * 256 + 2_570
    for a, b in ((16, 64), (64, 128), (128, 256)):
        total += 2 * a + 9 * a * b + a * b + 2 * b + 9 * b * b + 2 * (2 * b + 9 * b * b)
    assert NETWORKS["wrn-16-4"].exact == total
    # ViT: patches and positions, 6 blocks of two norms, four projections and an MLP four times as wide, norm and head
    block = 2 * 2 * 192 + 4 * (192 * 192 + 192) + (192 * 768 + 768) + (768 * 192 + 192)
    assert NETWORKS["vit"].exact == 48 * 192 + 192 + 64 * 192 + 6 * block + 2 * 192 + 1_930


@pytest.mark.parametrize("name", [name for name in IMAGES if name != "mlp"])
def test_channels_and_classes_can_be_chosen(name: str) -> None:
    assert set(inspect.signature(IMAGES[name]).parameters) >= {"channels", "classes"}
    with torch.device("meta"):
        model = IMAGES[name](channels=2, classes=7)
        assert model(torch.empty(3, 2, 32, 32)).shape == (3, 7)


@each
def test_weights_come_from_the_seed_alone(name: str) -> None:
    first, second, third = made(name), made(name), made(name, seed=1)
    images, _ = batch(name)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first(images), second(images))
    assert not torch.equal(first(images), third(images))
    assert first(images).shape == (4, 10) and first(images).isfinite().all()


@each
def test_every_weight_is_in_an_array_and_the_rest_has_a_reason(name: str) -> None:
    model = made(name)
    found = audit(model, FILTER_MAX, 0.1)
    holding = {
        f"{prefix}.{own}".removeprefix(".")
        for prefix, module in model.named_modules()
        if isinstance(module, HOLDING)
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.dim() > 1
    }
    assert {row.name for row in found.touched} == holding
    assert all(row.relative_to_max for row in found.touched)  # a filter of error 0 is none that was touched
    for row in found.skipped:
        assert "stays digital" in row.reason or row.reason.startswith("a bias")
    assert {row.name for row in found.rows} == {name for name, _ in model.named_parameters()}


def test_long_names_of_modules_keep_the_audit_aligned() -> None:
    lines = str(audit(made("vit"), FILTER_MAX, 0.1)).splitlines()[1:12]  # the head, and ten arrays
    assert len({len(line) for line in lines}) == 1 and "NonDynamicallyQuantizableLinear" in lines[3]


@each
def test_noise_in_any_one_array_is_seen_at_the_output(name: str) -> None:
    model, (images, _) = made(name), batch(name, n=16)
    model(images)  # some running statistics
    model.eval()
    arrays, draw = select(model), Draw(0, "test", 0)
    with torch.no_grad():  # where attention takes its fast path
        clean = model(images)
        for one in arrays:
            with replaced([one], lambda array: FILTER_MAX(array, 0.5, draw.of(array.name))):
                assert not torch.equal(model(images), clean), one.name
        assert torch.equal(model(images), clean)


@each
@pytest.mark.parametrize("objective", [RWP(FILTER_MAX), SAM()], ids=str)
def test_one_hardened_step_leaves_weights_bit_equal(name: str, objective: Objective) -> None:
    model, (images, labels) = made(name), batch(name)
    clean = {key: value.clone() for key, value in model.named_parameters()}
    arrays, draw = select(model), Draw(0, "test", 0)
    with replaced(arrays, lambda array: FILTER_MAX(array, 0.1, draw.of(array.name))):
        assert all(not torch.equal(array.value, clean[array.name]) for array in arrays)
    robust = Hardener(model, objective, Constant(0.1), steps=1, seed=0)
    loss = robust.backward(lambda: F.cross_entropy(model(images), labels))
    assert loss.isfinite() and not robust.skipped
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, clean[key]), key
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(not torch.equal(array.value, clean[array.name]) for array in arrays)


@each
def test_folding_batchnorm_computes_the_same(name: str) -> None:
    model, (images, _) = made(name).double(), batch(name, n=16)
    if NETWORKS[name].left is None:
        with pytest.raises(UserError, match=r"has no BatchNorm that directly follows .*: nothing to fold"):
            fold_batchnorm(model)
        return
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):  # fresh ones do nothing, which anything folds
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            norm.momentum = 0.3
    for _ in range(2):
        model(images.double())
    model.eval()
    folded = fold_batchnorm(model)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == NETWORKS[name].left
    expected, found = model(images.double()), folded(images.double())
    assert (found - expected).abs().max() < 1e-9 * expected.abs().max()
    assert [array.name for array in select(folded)] == [array.name for array in select(model)]


def test_what_folding_leaves_in_a_wide_network_follows_a_sum() -> None:
    folded = fold_batchnorm(made("wrn-16-4"))
    left = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == ["1.1.bn1", "2.0.bn1", "2.1.bn1", "3.0.bn1", "3.1.bn1", "4"]


def test_a_depthwise_filter_sees_one_channel() -> None:
    depthwise = [array for array in select(made("mobilenet-v2")) if array.value.shape[1:] == (1, 3, 3)]
    assert len(depthwise) == 17
    for array in depthwise:
        assert array.filters == len(array.value) and array.peak().shape == (array.filters, 1, 1, 1)


def test_option_a_takes_every_other_pixel_and_adds_zeros() -> None:
    block = resnet8()[2][0]  # type: ignore[index]
    x = torch.randn(2, 16, 8, 8)
    kept = block.shortcut(x)
    assert torch.equal(kept[:, :16], x[:, :, ::2, ::2]) and kept.shape == (2, 32, 4, 4)
    assert not kept[:, 16:].any()


def test_positions_are_asked_for_by_name() -> None:
    model = made("vit")
    assert "position.weight" not in {array.name for array in select(model)}
    assert "position.weight" in {array.name for array in select(model, also=("position.*",))}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: cifar_resnet(18), "depth=18: CIFAR's ResNets have 6 n + 2 layers"),
        (lambda: cifar_resnet(2), "depth=2"),
        (lambda: wide_resnet(20, 4), "WRN-20-4: the depth must be 6 n + 4"),
        (lambda: wide_resnet(16, 0), "WRN-16-0"),
        (lambda: mobilenet_v2(width=0), "width=0: a positive factor"),
        (lambda: mobilenet_v2(width=float("nan")), "width=nan"),
        (lambda: vit(size=30), "size=30 must be a multiple of patch=4"),
        (lambda: vit(heads=5), "width=192 a multiple of heads=5"),
        (lambda: vit(depth=0), "and depth=0 at least 1"),
    ],
)
def test_what_cannot_be_made_is_answered_in_a_line(make: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_the_page_lists_every_network_and_its_example_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "networks.md").read_text()
    assert re.findall(r"^\| `([a-z0-9-]+)` ", page, re.M) == list(IMAGES)
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    scope: dict[str, object] = {"images": torch.randn(4, 3, 32, 32), "labels": torch.tensor([0, 1, 2, 3])}
    exec(example, scope)
    assert isinstance(scope["model"], type(resnet20())) and scope["robust"].step == 1  # type: ignore[attr-defined]
