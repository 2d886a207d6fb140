"""Parameters for CrossSim: which device, between which resistances, read by which converters, over
which wires.

Keeps: whatever `parameters` is not asked for is ideal in CrossSim's defaults, and stays ideal;
`described` names every parameter that it can set.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import UserError, unknown
from ..specs.durations import Seconds, seconds
from .peers import crosssim


class _ResistanceRange(NamedTuple):
    """The resistances in ohm between which a device of CrossSim is programmed here, unless the user
    gives others.
    """

    r_min: float
    r_max: float
    sized: bool = False  # whether the user has to give the size of the error


# The ranges lie within the limits of CrossSim's own checks. The plain devices have its default
# range.
DEVICES = {
    "IdealDevice": _ResistanceRange(1e3, 1e4),
    "NormalIndependentDevice": _ResistanceRange(1e3, 1e4, True),
    "NormalProportionalDevice": _ResistanceRange(1e3, 1e4, True),
    "NormalInverseProportionalDevice": _ResistanceRange(1e3, 1e4, True),
    "UniformIndependentDevice": _ResistanceRange(1e3, 1e4, True),
    "UniformProportionalDevice": _ResistanceRange(1e3, 1e4, True),
    "UniformInverseProportionalDevice": _ResistanceRange(1e3, 1e4, True),
    "PCMJoshi": _ResistanceRange(40e3, 4e6),  # 0.25 to 25 uS
    "RRAMMilo": _ResistanceRange(1e6 / 225, 20e3),  # 50 to 225 uS
    "RRAMWan": _ResistanceRange(25.5e3, 1e6),  # 1 to 39.2 uS
    "SONOS": _ResistanceRange(62.5e3, 62.5e10),  # up to 1600 nA at 0.1 V
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
    """CrossSimParameters for a one-sided pair of cells of `device`. Whatever is not asked for stays
    ideal.

    - `r_min`, `r_max`: the resistances of a cell, in ohm.
    - `magnitude`: the size of the error of a plain device (NormalIndependentDevice, ...), relative
      to the largest conductance or to the cell's own.
    - `time`: the time since programming. In CrossSim only SONOS drifts.
    - `cell_bits`: the number of bits of a cell's conductance; 0 means continuous.
    - `adc_bits`, `dac_bits`: the bits of the converters; 0 means ideal ones.
    - `wire`: the resistance in ohm between two cells of a row and of a column.

    Other parameters of CrossSim can be set on the result. Raises `UserError` for an unknown device
    and for values that do not fit together.
    """
    if device not in DEVICES:
        raise unknown("device of CrossSim", device, DEVICES)
    (simulator,) = crosssim("")
    usual, later = DEVICES[device], float(seconds(time)) / _DAY
    if usual.sized != (magnitude is not None):
        raise UserError(
            f"{device} {'needs' if usual.sized else 'has its own error, and takes no'} magnitude, "
            f"the size of its error{': 0.02, for example' if usual.sized else ''}."
        )
    if later and device != _DRIFTING:
        raise UserError(
            f"{device} does not drift in CrossSim, so time={seconds(time)} has no effect; use "
            f"{_DRIFTING}, or a device of this package."
        )
    if min(cell_bits, adc_bits, dac_bits, wire, magnitude or 0) < 0:
        raise UserError("bits, wire and magnitude must be at least 0.")
    if 1 in (adc_bits, dac_bits):
        raise UserError("a converter has a sign bit, so it needs at least 2 bits; 0 is ideal.")
    made = simulator.CrossSimParameters()
    cell = made.xbar.device
    cell.Rmin = usual.r_min if r_min is None else r_min
    cell.Rmax = usual.r_max if r_max is None else r_max
    if not 0 < cell.Rmin < cell.Rmax:
        raise UserError(
            f"r_min={cell.Rmin:g} and r_max={cell.Rmax:g} ohm: 0 < r_min < r_max is needed."
        )
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
    """Returns `params` without the errors that arise in a product: converters, wires, read noise,
    nonlinear cells.
    """
    found = params.copy()
    found.xbar.adc.mvm.bits = found.xbar.dac.mvm.bits = 0
    found.xbar.array.parasitics.enable = False
    found.xbar.array.Icol_max = 0
    found.xbar.device.read_noise.enable = found.xbar.device.nonlinear_IV.enable = False
    return found


def model_of(params: Any) -> str:
    """The name of the device model that makes errors; "IdealDevice" if none does."""
    cell = params.xbar.device
    for error in (cell.programming_error, cell.drift_error):
        if error.enable:
            return str(error.model)
    return "IdealDevice"


def described(params: Any) -> str:
    """The parameters that a result must name, as the fields of a text."""
    cell, adc, dac, lines = (
        params.xbar.device,
        params.xbar.adc.mvm,
        params.xbar.dac.mvm,
        params.xbar.array.parasitics,
    )
    error = cell.programming_error if cell.programming_error.enable else cell.drift_error
    parts = [f"device={model_of(params)}", f"r_min={cell.Rmin:g}", f"r_max={cell.Rmax:g}"]
    parts += [f"magnitude={error.magnitude:g}"] if error.magnitude else []
    parts += [f"time={seconds(cell.time * _DAY)}"] if cell.time else []
    parts += [f"cell_bits={cell.cell_bits}"] if cell.cell_bits else []
    parts += [f"adc_bits={adc.bits}"] if adc.bits else []
    parts += [f"dac_bits={dac.bits}"] if dac.bits else []
    parts += [f"wire={lines.Rp_row:g},{lines.Rp_col:g}"] if lines.enable else []
    parts += ["read_noise=true"] if cell.read_noise.enable else []
    return ":".join(parts)
