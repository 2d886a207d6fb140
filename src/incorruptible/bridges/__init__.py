"""Bridges to other simulators of analog hardware: their devices and circuits for our networks, and
our networks for their layers.

There are two *peers*. CrossSim simulates crossbars: `CrossSim` draws its errors of weights as a
corruption, and `evaluate` runs a whole network in its simulation, with converters and wires.
aihwkit-lightning trains networks for analog hardware: `to_aihwkit_lightning` moves a network into
its layers. Both peers are optional. They are imported where they are used, and a `UserError` says
what to install if a peer is missing.

    params = parameters("NormalIndependentDevice", magnitude=0.05, adc_bits=8)
    found = evaluate(model, accuracy, data, params, chips=10, seed=0)  # in CrossSim's circuits
"""

from __future__ import annotations

from .aihwkit_lightning import noisy_configuration, to_aihwkit_lightning
from .circuits import parameters, programmed
from .crosssim import CrossSim
from .simulated import evaluate

__all__ = [
    "CrossSim",
    "evaluate",
    "noisy_configuration",
    "parameters",
    "programmed",
    "to_aihwkit_lightning",
]
