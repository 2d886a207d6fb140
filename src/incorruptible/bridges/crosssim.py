"""Errors of weights as CrossSim draws them, for networks that stay native."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..corruptions import Moments
from ..durations import Seconds, seconds
from ..errors import Mistake, unknown
from ..streams import Draw, Noise
from .peers import crosssim

__all__ = [
    "DEVICES",
    "CrossSim",
    "described",
    "matrix_of",
    "parameters",
    "programmed",
    "refusing",
    "seeded",
    "tensor_of",
]

_ESTIMATE = 64  # chips


class _Range(NamedTuple):
    """Resistances in ohm between which a device of CrossSim is programmed here, unless one says otherwise."""

    r_min: float
    r_max: float
    sized: bool = False  # whether the size of the error is the user's to say


# inside what CrossSim's own checks allow; the plain devices have its default range
DEVICES = {
    "IdealDevice": _Range(1e3, 1e4),
    "NormalIndependentDevice": _Range(1e3, 1e4, True),
    "NormalProportionalDevice": _Range(1e3, 1e4, True),
    "NormalInverseProportionalDevice": _Range(1e3, 1e4, True),
    "UniformIndependentDevice": _Range(1e3, 1e4, True),
    "UniformProportionalDevice": _Range(1e3, 1e4, True),
    "UniformInverseProportionalDevice": _Range(1e3, 1e4, True),
    "PCMJoshi": _Range(40e3, 4e6),  # 0.25 to 25 uS
    "RRAMMilo": _Range(1e6 / 225, 20e3),  # 50 to 225 uS
    "RRAMWan": _Range(25.5e3, 1e6),  # 1 to 39.2 uS
    "SONOS": _Range(62.5e3, 62.5e10),  # up to 1600 nA at 0.1 V
}
_DRIFTING = "SONOS"
_DAY = 86400.0


def parameters(
    device: str,
    *,
    r_min: float | None = None,
    r_max: float | None = None,
    magnitude: float | None = None,
    time: Seconds | str | float = 0.0,
    cell_bits: int = 0,
    adc_bits: int = 0,
    dac_bits: int = 0,
    wire: float = 0.0,
) -> Any:
    """CrossSimParameters for a one-sided pair of that `device`, for all that CrossSim would leave ideal.

    `r_min`, `r_max` in ohm; `magnitude` is the size of the error of a plain device (NormalIndependentDevice, ...), relative to
    the largest conductance or the cell's own; `time` since programming (SONOS alone drifts in CrossSim); `cell_bits` levels
    of conductance; bits of converters, 0 for ideal ones; `wire` in ohm, the resistance between two cells of a row and of a
    column. Everything else of CrossSim is set on what comes back. Raises `Mistake` for what does not fit together.
    """
    if device not in DEVICES:
        raise unknown("device of CrossSim", device, DEVICES)
    (simulator,) = crosssim("")
    usual, later = DEVICES[device], float(seconds(time)) / _DAY
    if usual.sized != (magnitude is not None):
        raise Mistake(
            f"{device} {'needs' if usual.sized else 'has its own error, and takes no'} magnitude, the size of its error"
            f"{': 0.02, for example' if usual.sized else ''}."
        )
    if later and device != _DRIFTING:
        raise Mistake(
            f"{device} does not drift in CrossSim: time={seconds(time)}; use {_DRIFTING}, or a device of ours."
        )
    if min(cell_bits, adc_bits, dac_bits, wire, magnitude or 0) < 0:
        raise Mistake("bits, wire and magnitude are at least 0.")
    if 1 in (adc_bits, dac_bits):
        raise Mistake("a converter with a sign has at least 2 bits; 0 is an ideal one.")
    made = simulator.CrossSimParameters()
    cell = made.xbar.device
    cell.Rmin = usual.r_min if r_min is None else r_min
    cell.Rmax = usual.r_max if r_max is None else r_max
    if not 0 < cell.Rmin < cell.Rmax:
        raise Mistake(f"r_min={cell.Rmin:g} and r_max={cell.Rmax:g} ohm: 0 < r_min < r_max is needed.")
    cell.cell_bits, cell.time = cell_bits, later
    error = cell.drift_error if later else cell.programming_error
    error.enable, error.model, error.magnitude = True, device, magnitude or 0
    if adc_bits:
        made.xbar.adc.mvm.model, made.xbar.adc.mvm.bits = "SignMagnitudeADC", adc_bits
    if dac_bits:
        made.xbar.dac.mvm.model, made.xbar.dac.mvm.bits = "SignMagnitudeDAC", dac_bits
    if wire:
        lines = made.xbar.array.parasitics
        lines.enable, lines.Rp_row, lines.Rp_col = True, wire, wire
    return made


def programmed(params: Any) -> Any:
    """`params` without what happens in a product: converters, wires, noise of reading, nonlinear cells."""
    found = params.copy()
    found.xbar.adc.mvm.bits = found.xbar.dac.mvm.bits = 0
    found.xbar.array.parasitics.enable = False
    found.xbar.array.Icol_max = 0
    found.xbar.device.read_noise.enable = found.xbar.device.nonlinear_IV.enable = False
    return found


@dataclass(frozen=True, eq=False)
class CrossSim:
    """Weights as CrossSim holds them: w + s (w_CrossSim - w), with its device model, its mapping, its drift.

    `params` is a CrossSimParameters, such as `parameters` makes. At strength 1 these are CrossSim's weights, bit for bit: its own
    layer, seeded alike, has the same ones; elsewhere the error grows in proportion to s, which is no physics. Strength 0
    is the weights themselves. A Linear or an ungrouped convolution is one matrix [filter, fan-in], as in CrossSim;
    a grouped one is too, where CrossSim would put its blocks on a diagonal: other numbers of the same distribution.

    CrossSim draws from numpy's global state, which is seeded from the chip's noise and restored. Moments are estimates from
    64 chips, whose spreads are off by some 9% (one standard deviation). Raises `Mistake` where CrossSim is not installed, for params
    that it refuses, and for those with an error that weights alone cannot carry: `programmed(params)` leaves these out.
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
            raise Mistake(
                f"{', '.join(named)} happens in each product, and weights alone cannot carry it: "
                "bridges.evaluate(...) simulates it, programmed(params) leaves it out."
            )
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
        return f"CrossSim, github.com/sandialabs/cross-sim: {_model(self.params)}"

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
        first = torch.zeros_like(array.value, dtype=torch.float64)
        second = first.clone()
        for chip in range(_ESTIMATE if strength else 0):
            error = self(array, 1.0, Draw(0, "moments", chip).of(array.name)).double() - array.value.double()
            first, second = first + error / _ESTIMATE, second + error**2 / _ESTIMATE
        std = ((second - first**2).clamp_min(0) * _ESTIMATE / (_ESTIMATE - 1)).sqrt()
        kind = torch.promote_types(array.value.dtype, torch.float32)
        return Moments((strength * first).to(kind), (strength * std).to(kind))

    def _drawn(self, matrix: np.ndarray[Any, Any], noise: Noise) -> np.ndarray[Any, Any]:
        (simulator,) = crosssim("")
        with refusing():
            with seeded(noise):
                core = simulator.AnalogCore(matrix, self.params, empty_matrix=True)
            with seeded(noise):  # anew, for making a core draws as well; programming a layer of CrossSim's does not
                core.set_matrix(matrix)
        return np.ascontiguousarray(core.get_matrix(), dtype=np.float32)


def _model(params: Any) -> str:
    """The name of the device model that errs."""
    cell = params.xbar.device
    for error in (cell.programming_error, cell.drift_error):
        if error.enable:
            return str(error.model)
    return "IdealDevice"


def described(params: Any) -> str:
    """What a result must say of the parameters, as fields."""
    cell, adc, dac, lines = params.xbar.device, params.xbar.adc.mvm, params.xbar.dac.mvm, params.xbar.array.parasitics
    error = cell.programming_error if cell.programming_error.enable else cell.drift_error
    parts = [f"device={_model(params)}", f"r_min={cell.Rmin:g}", f"r_max={cell.Rmax:g}"]
    parts += [f"magnitude={error.magnitude:g}"] if error.magnitude else []
    parts += [f"time={seconds(cell.time * _DAY)}"] if cell.time else []
    parts += [f"cell_bits={cell.cell_bits}"] if cell.cell_bits else []
    parts += [f"adc_bits={adc.bits}"] if adc.bits else []
    parts += [f"dac_bits={dac.bits}"] if dac.bits else []
    parts += [f"wire={lines.Rp_row:g},{lines.Rp_col:g}"] if lines.enable else []
    parts += ["read_noise=true"] if cell.read_noise.enable else []
    return ":".join(parts)


@contextmanager
def seeded(noise: Noise) -> Iterator[None]:
    """numpy's global state, from which CrossSim draws, set from `noise` for a while, and restored."""
    numbers = noise.uniform(torch.empty(8), "crosssim")
    entropy = (numbers.double() * 2**24).long().tolist()
    before = np.random.get_state()  # noqa: NPY002 (CrossSim knows no other)
    try:
        state: Any = np.random.MT19937(np.random.SeedSequence(entropy)).state
        np.random.set_state(state)  # noqa: NPY002
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


@contextmanager
def refusing() -> Iterator[None]:
    """What CrossSim refuses is a user's mistake."""
    try:
        yield
    except (ValueError, NotImplementedError) as problem:
        if isinstance(problem, Mistake):
            raise
        hint = " Here: r_min=, r_max= or --r-min, --r-max, in ohm." if "Rmin" in str(problem) else ""
        raise Mistake(f"CrossSim refuses: {problem}{hint}") from problem


def matrix_of(array: Array) -> Tensor:
    """The weights as [filter, fan-in]."""
    value = array.value
    if array.axis is None:
        return value.reshape(1, -1)
    if array.groups == 1:
        return value.movedim(array.axis, 0).reshape(value.shape[array.axis], -1)
    blocks = value.reshape(array.groups, -1, *value.shape[1:]).movedim(array.axis + 1, 1)
    return blocks.reshape(array.filters, -1)


def tensor_of(matrix: Tensor, array: Array) -> Tensor:
    """The way back from [filter, fan-in] to the array's own shape."""
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
