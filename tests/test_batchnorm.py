"""BatchNorm folded, computed anew, kept, and back in its mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from incorruptible.corruptions import parse
from incorruptible.errors import UserError
from incorruptible.randomness.streams import Draw, Noise
from incorruptible.tasks.networks import small_conv
from incorruptible.weights.arrays import Array, select
from incorruptible.weights.batchnorm import Statistics, evaluating, fold_batchnorm, recalibrate_batchnorm
from incorruptible.weights.swap import replaced


class Net(NamedTuple):
    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[int, ...]


NETS = [
    Net("linear", lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)), (5, 4)),
    Net("linear, no bias", lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3)), (5, 4)),
    Net("linear, no affine", lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)), (5, 4)),
    Net("conv1d", lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3, eps=0.1)), (5, 2, 6)),
    Net("conv2d", lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)), (5, 2, 6, 6)),
    Net("conv2d, padded with more", lambda: small_conv(width=4), (5, 1, 8, 8)),
    Net("conv2d, no affine", lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False)), (5, 2, 6, 6)),
    Net("conv2d, grouped", lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (5, 4, 6, 6)),
    Net("conv3d", lambda: nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)), (5, 2, 3, 3, 3)),
    Net("transposed1d", lambda: nn.Sequential(nn.ConvTranspose1d(2, 3, 3), nn.BatchNorm1d(3)), (5, 2, 4)),
    Net("transposed2d", lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3)), (5, 2, 4, 4)),
    Net(
        "transposed2d, grouped",
        lambda: nn.Sequential(nn.ConvTranspose2d(8, 6, 3, groups=2), nn.BatchNorm2d(6)),
        (5, 8, 4, 4),
    ),
    Net(
        "transposed2d, depthwise",
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)),
        (5, 4, 4, 4),
    ),
]
EACH = pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)


def norms(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def lively(make: Callable[[], nn.Module], negative: bool = False) -> nn.Module:
    """A network in eval mode whose BatchNorms hold random statistics, gains and shifts."""
    torch.manual_seed(0)
    model = make().eval()
    for norm in norms(model):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.2, 3)
        if norm.affine:
            with torch.no_grad():
                norm.weight.uniform_(0.3, 2)
                norm.bias.normal_()
                if negative:
                    norm.weight[::2] *= -1
    return model


def noisy(model: nn.Module, inputs: Tensor, corruption: str, noise: Callable[[str], Noise]) -> Tensor:
    member = parse(corruption)
    with replaced(select(model), lambda array: member(array, 0.2, noise(array.name))), torch.no_grad():
        output: Tensor = model(inputs)
    return output


@EACH
@pytest.mark.parametrize("negative", [False, True])
def test_the_folded_copy_computes_what_the_model_does(net: Net, negative: bool) -> None:
    model, inputs = lively(net.make, negative), torch.randn(net.inputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batchnorm(model.train())
    assert not norms(folded) and not folded.training
    torch.testing.assert_close(folded(inputs), model.eval()(inputs), rtol=1e-5, atol=1e-5)
    # the model is as it was, shares nothing with the copy, and both have arrays of the same names and shapes
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in folded.parameters()}
    assert [(a.name, a.value.shape) for a in select(folded)] == [(a.name, a.value.shape) for a in select(model)]


@pytest.mark.parametrize("biased", [True, False])
def test_what_is_frozen_stays_frozen_in_the_folded_copy(biased: bool) -> None:
    """A bias that the folding makes is new, and learns."""
    model = nn.Sequential(nn.Linear(4, 3, bias=biased), nn.BatchNorm1d(3), nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    folded = fold_batchnorm(model)
    learns = {name: parameter.requires_grad for name, parameter in folded.named_parameters()}
    assert learns == {"0.weight": False, "0.bias": not biased, "2.weight": True, "2.bias": True}


@EACH
@pytest.mark.parametrize("corruption", ["gaussian-filter-max", "gaussian-filter-norm", "multiplicative", "lognormal"])
def test_noise_that_scales_with_the_filter_folds_along(net: Net, corruption: str) -> None:
    model, inputs, draw = lively(net.make), torch.randn(net.inputs), Draw(0, "test", 0)
    with torch.no_grad():
        clean, plain = model(inputs), noisy(model, inputs, corruption, draw.of)
    folded = noisy(fold_batchnorm(model), inputs, corruption, draw.of)
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)
    assert float((plain - clean).abs().max()) > 0.01


@EACH
@pytest.mark.parametrize("corruption", ["gaussian-absolute", "gaussian-filter-sqrtmax"])
def test_noise_that_does_not_makes_another_chip(net: Net, corruption: str) -> None:
    model, inputs, draw = lively(net.make), torch.randn(net.inputs), Draw(0, "test", 0)
    difference = noisy(model, inputs, corruption, draw.of) - noisy(fold_batchnorm(model), inputs, corruption, draw.of)
    assert float(difference.abs().max()) > 0.01


@dataclass(frozen=True)
class Flipped:
    """Noise with other signs in some filters: as likely as the noise itself."""

    noise: Noise
    signs: Tensor

    def normal(self, like: Tensor, tag: str = "") -> Tensor:
        return self.noise.normal(like, tag) * self.signs

    def uniform(self, like: Tensor, tag: str = "") -> Tensor:
        return self.noise.uniform(like, tag)

    def chip(self, tag: str = "") -> float:
        return self.noise.chip(tag)

    @property
    def reading(self) -> Noise:
        return self


def test_a_negative_gain_flips_the_noise_of_its_filter() -> None:
    model = lively(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)), negative=True)
    inputs, draw = torch.randn(5, 2, 6, 6), Draw(0, "test", 0)
    signs = norms(model)[0].weight.detach().sign().reshape(-1, 1, 1, 1)
    plain, folded = noisy(model, inputs, "gaussian-filter-max", draw.of), fold_batchnorm(model)
    same = noisy(folded, inputs, "gaussian-filter-max", draw.of)
    flipped = noisy(folded, inputs, "gaussian-filter-max", lambda name: Flipped(draw.of(name), signs))
    torch.testing.assert_close(flipped, plain, rtol=1e-4, atol=1e-4)
    assert ((same - plain).abs().amax((0, 2, 3)) > 0.01).tolist() == (signs.flatten() < 0).tolist()


class Wired(nn.Module):
    """A folding pair, and a second pair `conv`, `norm` that is wired in some way that must not fold."""

    def __init__(self, wiring: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.conv, self.norm, self.other = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.wiring = wiring

    def forward(self, x: Tensor) -> Tensor:
        return self.wiring(self, self.second(self.first(x)))


def shared_conv(net: Any, x: Tensor) -> Tensor:
    x = net.norm(net.conv(x))
    return net.other(net.conv(x))


def shared_norm(net: Any, x: Tensor) -> Tensor:
    return net.norm(net.other(net.norm(net.conv(x))))


def two_consumers(net: Any, x: Tensor) -> Tensor:
    x = net.conv(x)
    return net.other(net.norm(x).relu() + x)


def something_between(net: Any, x: Tensor) -> Tensor:
    return net.other(net.norm(net.conv(x).relu()).relu())


def read_elsewhere(net: Any, x: Tensor) -> Tensor:
    return net.other(net.norm(net.conv(x)) * net.conv.weight.mean())


def parametrised(net: Any, x: Tensor) -> Tensor:
    return net.other(net.norm(net.conv(x)).relu())


@pytest.mark.parametrize(
    "wiring", [shared_conv, shared_norm, two_consumers, something_between, read_elsewhere, parametrised]
)
def test_what_stays_unfolded(wiring: Callable[[Any, Tensor], Tensor]) -> None:
    model, inputs = lively(lambda: Wired(wiring)), torch.randn(5, 2, 4, 4)
    if wiring is parametrised:
        parametrizations.weight_norm(model.conv)
    folded = fold_batchnorm(model)
    kept = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert kept == ["norm", "other"]
    with torch.no_grad():
        torch.testing.assert_close(folded(inputs), model(inputs), rtol=1e-5, atol=1e-5)


def test_a_batchnorm_over_channels_stays_behind_a_linear_over_features() -> None:
    model = lively(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(6, 2)))
    with pytest.raises(UserError, match="nothing to fold"):
        fold_batchnorm(model)
    assert model(torch.randn(5, 2, 4)).shape == (5, 2)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2)), "Sequential has no BatchNorm that directly follows"),
        (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(2)), "nothing to fold"),
        (
            lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)),
            "nothing to fold",
        ),
        (Branching, r"torch.fx cannot trace Branching \(.*\); measure it as-is or recalibrated"),
    ],
)
def test_what_cannot_be_folded_is_a_mistake(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fold_batchnorm(make())
    assert "\n" not in str(caught.value)


class Dropping(nn.Module):
    """Keeps what its BatchNorm sees; the dropout before it would change that, if it were on."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.conv, self.norm = nn.Dropout(0.5), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=0.3)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(self.conv(self.drop(x)).detach())
        output: Tensor = self.norm(self.seen[-1])
        return output


def call(model: nn.Module, batch: Tensor) -> Any:
    return model(batch)


@pytest.mark.parametrize("sizes", [(8,), (4, 4, 4), (8, 3)])
def test_recalibrated_statistics_are_the_plain_average_over_batches(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = Dropping().train()
    model.norm.running_mean.fill_(7)
    batches = [torch.randn(size, 2, 5, 5) for size in sizes]
    recalibrate_batchnorm(model, batches, call)
    for batch, seen in zip(batches, model.seen, strict=True):
        assert torch.equal(seen, model.conv(batch))  # no dropout
    flat = [seen.movedim(1, 0).flatten(1) for seen in model.seen]
    mean = sum(one.mean(1) for one in flat) / len(flat)
    var = sum(((one - one.mean(1, keepdim=True)) ** 2).sum(1) / (one.shape[1] - 1) for one in flat) / len(flat)
    torch.testing.assert_close(model.norm.running_mean, mean)
    torch.testing.assert_close(model.norm.running_var, var)
    assert model.norm.momentum == 0.3
    assert all(module.training for module in model.modules())


def test_recalibrated_statistics_are_those_of_the_weights_in_place() -> None:
    model, batch = Dropping(), torch.randn(8, 2, 5, 5)
    with replaced(select(model), lambda array: torch.zeros_like(array.value)):
        recalibrate_batchnorm(model, [batch], call)
    torch.testing.assert_close(model.norm.running_mean, model.conv.bias.detach())
    assert float(model.norm.running_var.max()) < 1e-9


@pytest.mark.parametrize(
    ("batches", "kind", "message"),
    [
        ([torch.zeros(4, 2, 5, 5), torch.zeros(4, 9, 5, 5)], RuntimeError, "channels"),
        ([], UserError, "there is no batch"),
    ],
)
def test_a_failed_recalibration_leaves_all_as_it_was(batches: Any, kind: type[Exception], message: str) -> None:
    model = lively(Dropping)
    model.conv.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(kind, match=message):
        recalibrate_batchnorm(model, batches, call)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.norm.momentum == 0.3
    assert [name for name, module in model.named_modules() if module.training] == ["conv"]


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.LayerNorm(2)])
def test_without_running_statistics_there_is_nothing_to_recalibrate(model: nn.Module) -> None:
    with pytest.raises(UserError, match=f"{type(model).__name__} has no BatchNorm with running statistics"):
        recalibrate_batchnorm(model, [torch.ones(3, 2)], call)


def test_statistics_come_back_into_the_same_storage() -> None:
    model = small_conv(width=2)
    statistics = Statistics(model)
    taken = statistics.take()
    places = [buffer.data_ptr() for buffer in model.buffers()]
    model.train()(torch.randn(4, 1, 8, 8))
    moved = statistics.take()
    assert len(taken) == len(moved) == 9
    assert not any(torch.equal(before, after) for (_, before), (_, after) in zip(taken, moved, strict=True))
    assert statistics.moved(taken)
    statistics.put(taken)
    assert not statistics.moved(taken)
    assert all(torch.equal(before, buffer) for (_, before), buffer in zip(taken, model.buffers(), strict=True))
    assert [buffer.data_ptr() for buffer in model.buffers()] == places


@pytest.mark.parametrize("raises", [False, True])
def test_evaluating_gives_each_module_its_own_mode_back(raises: bool) -> None:
    model = small_conv(width=2).train()
    model[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    assert set(before.values()) == {True, False}
    try:
        with evaluating(model):
            assert not any(module.training for module in model.modules())
            if raises:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert {name: module.training for name, module in model.named_modules()} == before


def test_folding_counts_filters_as_arrays_do() -> None:
    """For a grouped transposed convolution too: the norm of each folded filter is |gamma| / sqrt(var + eps) of its own."""
    model = lively(lambda: nn.Sequential(nn.ConvTranspose2d(8, 6, 3, groups=2), nn.BatchNorm2d(6)), negative=True)
    norm: Any = model[1]
    growth = norm.weight.detach().abs() / (norm.running_var + norm.eps).sqrt()
    spread = growth.reshape(2, 1, 3).expand(2, 4, 3).reshape(8, 3, 1, 1)

    def only(model: nn.Module) -> Array:
        return select(model)[0]

    torch.testing.assert_close(only(fold_batchnorm(model)).norm(), only(model).norm() * spread)
