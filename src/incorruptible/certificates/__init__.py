"""What may be promised of chips that nobody has measured, and on what it rests."""

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
