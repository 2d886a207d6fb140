"""What may be promised of chips that nobody has measured, and on what it rests."""

from __future__ import annotations

from .certificate import Certificate
from .chip_yield import ChipYield, certify, chips_for
from .fresh import FreshAccuracy, certify_fresh
from .ground import Ground
from .sequence import Step, fixed_sequence

__all__ = [
    "Certificate",
    "ChipYield",
    "FreshAccuracy",
    "Ground",
    "Step",
    "certify",
    "certify_fresh",
    "chips_for",
    "fixed_sequence",
]
