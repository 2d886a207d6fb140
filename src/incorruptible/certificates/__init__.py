"""Certificates: promises about chips and examples that nobody has measured, and what they rest on.

A certificate is made from new chips, none of which was used to train or to choose the network. It
says, for example: with confidence 0.95, at least 0.9 of all chips reach an accuracy of 0.92. The
bound is exact (Clopper-Pearson), and the certificate's text states everything that must be true for
the promise to hold. There are two kinds. `certify` promises a *yield*: the share of all chips that
are good enough. `certify_fresh` promises an accuracy where each example meets a chip of its own.

>>> import torch, incorruptible as inc
>>> model = torch.nn.Linear(2, 2, bias=False)
>>> model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
>>> data = [(torch.eye(2), torch.tensor([0, 1]))]
>>> found = inc.certify(model, inc.accuracy, data, "gaussian-layer-max", [0.1], accuracy=1.0)
>>> found.strength, found.steps[0].hits, found.steps[0].n, round(found.steps[0].bound, 4)
(0.1, 61, 61, 0.9521)
"""

from __future__ import annotations

from .assumptions import Assumptions
from .certificate import Certificate, StrengthVerdict, fixed_sequence
from .chip_yield import ChipYield, certify, chips_for
from .fresh_noise import FreshAccuracy, certify_fresh

__all__ = [
    "Assumptions",
    "Certificate",
    "ChipYield",
    "FreshAccuracy",
    "StrengthVerdict",
    "certify",
    "certify_fresh",
    "chips_for",
    "fixed_sequence",
]
