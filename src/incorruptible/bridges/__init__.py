"""Bridges to other simulators of analog hardware: their devices and circuits for our networks, and
our networks for them.

The peers are imported where they are used, and a `UserError` says what to install where one is not
there.
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
