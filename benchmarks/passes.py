"""Noisy passes over a test set, compared with a clean pass: by this package, by hand, and by peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

import incorruptible as inc
from incorruptible import bridges
from incorruptible.bridges.simulated import converted

from .peers import PEERS
from .timing import Variant, Work
from .workloads import NETWORKS

__all__ = ["MEASURED", "SIMULATED", "measuring", "simulated"]

NOISE = 0.05
SWEEP = (0.02, 0.05, 0.1, 0.15, 0.2)
Data = Sequence[tuple[Tensor, Tensor]]

# For each network: images, batch size, chips in one call of `measure`, and clean passes that are timed at once.
MEASURED: dict[str, tuple[int, int, int, int]] = {
    "resnet20": (1000, 250, 2, 1),
    "mlp": (700, 700, 40, 10),
    "digits": (700, 700, 200, 100),
}
SIMULATED = ("resnet20", 200)  # network and images: few, because simulation in other layers takes long


def clean_pass(model: nn.Module, data: Data) -> float:
    """The accuracy of the clean weights, in the code that one would write by hand."""
    with torch.inference_mode():
        hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in data)
    return hits / sum(len(y) for _, y in data)


def noisy_pass_by_hand(model: nn.Module, weights: Sequence[Tensor], data: Data) -> float:
    """The accuracy on one chip, in the code that one would write by hand: clone, randn, pass, copy back."""
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            peak = weight.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1))
            weight.add_(torch.randn_like(weight) * peak, alpha=NOISE)
    try:
        return clean_pass(model, data)
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


def measuring(name: str) -> Work:
    """`measure`, compared with clean passes over the same images, for the network called `name`."""
    network = NETWORKS[name]
    images, size, draws, passes = MEASURED[name]
    model, data = network().eval(), network.batches(images // size, size)
    weights = [array.parameter for array in inc.select(model)]
    variants = [
        Variant("clean", "a clean pass", lambda: _times(passes, clean_pass, model, data), passes),
        Variant("control", "a clean pass again", lambda: _times(passes, clean_pass, model, data), passes, slow=True),
        Variant("measure", f"a draw of measure, {draws} in a call", _measured(model, data, draws), draws, 1.2),
        Variant(
            "by-hand",
            "a noisy pass by hand",
            lambda: _times(passes, noisy_pass_by_hand, model, weights, data),
            passes,
            1.3,
            slow=True,
        ),
    ]
    half: dict[str, Any] = {"autocast": "bf16"}
    ways: list[tuple[str, str, Sequence[float], dict[str, Any]]] = [
        ("measure-bf16", "the same, autocast='bf16'", [NOISE], half),
        ("measure-workers", "the same, two workers of one thread", [NOISE], {"workers": 2}),
    ]
    if network.shape[0] == 3:  # for images only: dense layers have no such layout
        ways.append(("measure-channels-last", "the same, channels_last=True", [NOISE], {"channels_last": True}))
    if draws >= len(SWEEP):
        swept = "a chip read at one of five strengths, for which its noise is drawn once"
        ways += [("measure-sweep", swept, SWEEP, {}), ("measure-sweep-bf16", "the same, autocast='bf16'", SWEEP, half)]
    for way, what, strengths, options in ways:
        run = _measured(model, data, draws // len(strengths), strengths, **options)
        variants.append(Variant(way, what, run, draws, 1.2, slow=True, parallel="workers" in options))
    unit = f"times a clean pass, {network.what}, {images} images"
    return Work(f"measuring-{name}", unit, variants, (), {"images": images, "batch": size, "draws": draws})


def simulated() -> Work:
    """One noisy pass in the layers of each peer that is installed, compared with one in the network's own layers."""
    name, images = SIMULATED
    network = NETWORKS[name]
    model, data = network().eval(), network.batches(1, images)
    weights = [array.parameter for array in inc.select(model)]
    variants = [
        Variant("clean", "a clean pass", lambda: clean_pass(model, data)),
        Variant("measure", "a draw of measure, 2 in a call", _measured(model, data, 2), 2, 1.2),
        Variant("by-hand", "a noisy pass by hand", lambda: noisy_pass_by_hand(model, weights, data), 1, 1.2),
    ]
    absent = []
    others: list[tuple[str, str, str, float, Callable[[nn.Module, Data], Callable[[], Any]]]] = [
        ("aihwkit-lightning", "aihwkit-lightning", "its noisy pass: layers in training mode", 9, _aihwkit_lightning),
        ("crosssim", "CrossSim", "its programmed layers, normal errors", 15, _crosssim),
    ]
    for way, peer, what, cost, make in others:
        if PEERS[peer].bring() is None:
            absent.append(f"{way}: {PEERS[peer].lacks()}")
            continue
        try:
            run = make(network().eval(), data)
            run()
        except Exception as problem:  # whatever another version of it may raise
            absent.append(f"{way}: {peer} fails: {problem}")
        else:
            variants.append(Variant(way, f"{peer}, {what}", run, 1, cost, slow=True))
    unit = f"times a clean pass, {network.what}, {images} images"
    return Work("measuring-peers", unit, variants, absent, {"images": images, "batch": images})


def _times(often: int, run: Callable[..., Any], *arguments: Any) -> None:
    for _ in range(often):
        run(*arguments)


def _measured(
    model: nn.Module, data: Data, draws: int, strengths: Sequence[float] = (NOISE,), **options: Any
) -> Callable[[], Any]:
    seeds, noise = count(), inc.Gaussian("filter-max")
    return lambda: inc.measure(model, inc.accuracy, data, noise, strengths, chips=draws, seed=next(seeds), **options)


def _aihwkit_lightning(model: nn.Module, data: Data) -> Callable[[], Any]:
    """A noisy pass of aihwkit-lightning, which applies noise in training mode only: all layers but BatchNorm are in that mode."""
    analog = bridges.to_aihwkit_lightning(model, bridges.noisy_configuration(NOISE)).train()
    for module in analog.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return lambda: clean_pass(analog, data)


def _crosssim(model: nn.Module, data: Data) -> Callable[[], Any]:
    """A noisy pass of CrossSim: the network is converted once, and every cell is programmed anew for each pass."""
    chip, cells = converted(model, bridges.parameters("NormalIndependentDevice", magnitude=0.02))

    def run() -> float:
        for cell in cells:
            cell.analog.synchronize()
        return clean_pass(chip, data)

    return run
