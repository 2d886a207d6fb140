"""Errors of weights as CrossSim draws them, as a corruption for networks of plain PyTorch.

Relies on: CrossSim draws every random number from numpy's global generator. Keeps: this generator
is afterwards as it was; the same chip gives the same weights; at strength 1 they are bit for bit
the weights of CrossSim's own layer with the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..corruptions import Moments
from ..errors import UserError
from ..randomness.streams import Draw, Noise
from ..weights.arrays import Array
from .circuits import described, model_of
from .peers import crosssim

_ESTIMATE = 64  # chips from which moments are estimated


@dataclass(frozen=True, eq=False)
class CrossSim:
    """Weights as CrossSim holds them: w + s (w_CrossSim - w), with CrossSim's device model, mapping
    and drift.

    `params` is a CrossSimParameters, such as `parameters` makes. Strength 1 gives CrossSim's
    weights, bit for bit: its own layer with the same seed has the same weights. At other strengths
    the error grows in proportion to s, which has no physical meaning; strength 0 gives the clean
    weights. A Linear or an ungrouped convolution is one matrix [filter, fan-in], as in CrossSim. A
    grouped convolution is one matrix here too, while CrossSim puts its blocks on a diagonal: the
    numbers differ, their distribution does not.

    CrossSim draws from numpy's global state, which is seeded from the chip's noise and then
    restored. Moments are estimated from 64 chips, so a standard deviation is off by some 9% (one
    standard error). Raises `UserError` if CrossSim is not installed, for params that it refuses,
    and for params with an error that arises in a product and that weights alone cannot carry:
    `programmed(params)` leaves such errors out.
    """

    params: Any

    def __post_init__(self) -> None:
        crosssim("")
        xbar = self.params.xbar
        beyond = {
            "ADC": xbar.adc.mvm.bits,
            "DAC": xbar.dac.mvm.bits,
            "wire resistance": xbar.array.parasitics.enable,
            "Icol_max": xbar.array.Icol_max,
            "read noise": xbar.device.read_noise.enable,
            "nonlinear I-V": xbar.device.nonlinear_IV.enable,
        }
        named = [name for name, there in beyond.items() if there]
        if named:
            raise UserError(
                "errors that arise in each product, which weights alone cannot carry: "
                f"{', '.join(named)}; bridges.evaluate(...) simulates them, programmed(params) "
                "leaves them out."
            )
        # a first draw, so that CrossSim refuses wrong params now and not in the middle of a
        # measurement
        self._drawn(np.eye(2, dtype=np.float32), Draw(0, "check", 0).of(""))

    def __str__(self) -> str:
        return f"crosssim:{described(self.params)}"

    @property
    def unit(self) -> str:
        return "multiple of CrossSim's weight error (1 = as CrossSim draws it)"

    @property
    def formula(self) -> str:
        return "w + s (w_CrossSim - w)"

    @property
    def source(self) -> str:
        return f"CrossSim, github.com/sandialabs/cross-sim: {model_of(self.params)}"

    def __call__(self, array: Array, strength: float, noise: Noise) -> Tensor:
        value = array.value
        if strength == 0 or not bool(value.any()):
            return value.clone()
        matrix = matrix_of(array).float().cpu().numpy()
        drawn = tensor_of(torch.from_numpy(self._drawn(matrix, noise)).to(value.device), array)
        if strength != 1:
            drawn = value.float() + strength * (drawn - value.float())
        return drawn.to(value.dtype)

    def moments(self, array: Array, strength: float) -> Moments:
        """Mean and standard deviation of the error: those of 64 chips at strength 1, times the
        strength.
        """
        first = torch.zeros_like(array.value, dtype=torch.float64)
        second = first.clone()
        for chip in range(_ESTIMATE if strength else 0):
            error = (
                self(array, 1.0, Draw(0, "moments", chip).of(array.name)).double()
                - array.value.double()
            )
            first, second = first + error / _ESTIMATE, second + error**2 / _ESTIMATE
        std = ((second - first**2).clamp_min(0) * _ESTIMATE / (_ESTIMATE - 1)).sqrt()
        kind = torch.promote_types(array.value.dtype, torch.float32)
        return Moments((strength * first).to(kind), (strength * std).to(kind))

    def _drawn(self, matrix: np.ndarray[Any, Any], noise: Noise) -> np.ndarray[Any, Any]:
        """The matrix as CrossSim programs it on the chip with this noise."""
        (simulator,) = crosssim("")
        with refusing():
            with seeded(noise):
                core = simulator.AnalogCore(matrix, self.params, empty_matrix=True)
            # The generator is seeded again, because making a core draws random numbers too, while
            # programming a layer of CrossSim does not.
            with seeded(noise):
                core.set_matrix(matrix)
        return np.ascontiguousarray(core.get_matrix(), dtype=np.float32)


@contextmanager
def seeded(noise: Noise) -> Iterator[None]:
    """Seeds numpy's global state, from which CrossSim draws, from `noise` for the length of a
    block, and restores it afterwards.
    """
    numbers = noise.uniform(torch.empty(8), "crosssim")
    entropy = (numbers.double() * 2**24).long().tolist()
    before = np.random.get_state()  # noqa: NPY002 (CrossSim draws from this one)
    try:
        state: Any = np.random.MT19937(np.random.SeedSequence(entropy)).state
        np.random.set_state(state)  # noqa: NPY002
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


@contextmanager
def refusing() -> Iterator[None]:
    """Raises the errors of a block in which CrossSim refuses something as `UserError`."""
    try:
        yield
    except (ValueError, NotImplementedError) as problem:
        if isinstance(problem, UserError):
            raise
        hint = (
            " Set r_min= and r_max=, or --r-min and --r-max, in ohm."
            if "Rmin" in str(problem)
            else ""
        )
        raise UserError(f"CrossSim refuses: {problem}{hint}") from problem


def matrix_of(array: Array) -> Tensor:
    """The weights of an array as a matrix [filter, fan-in]."""
    value = array.value
    if array.axis is None:
        return value.reshape(1, -1)
    if array.groups == 1:
        return value.movedim(array.axis, 0).reshape(value.shape[array.axis], -1)
    blocks = value.reshape(array.groups, -1, *value.shape[1:]).movedim(array.axis + 1, 1)
    return blocks.reshape(array.filters, -1)


def tensor_of(matrix: Tensor, array: Array) -> Tensor:
    """The inverse of `matrix_of`: a matrix [filter, fan-in] in the array's own shape."""
    shape = array.value.shape
    if array.axis is None:
        return matrix.reshape(shape)
    if array.groups == 1:
        rest = [size for place, size in enumerate(shape) if place != array.axis]
        return matrix.reshape(shape[array.axis], *rest).movedim(0, array.axis).contiguous()
    block = [shape[0] // array.groups, *shape[1:]]
    rest = [size for place, size in enumerate(block) if place != array.axis]
    blocks = matrix.reshape(array.groups, block[array.axis], *rest).movedim(1, array.axis + 1)
    return blocks.reshape(shape).contiguous()
