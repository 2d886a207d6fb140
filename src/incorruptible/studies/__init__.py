"""Arms x seeds with a question and a verdict."""

from __future__ import annotations

from .digits import Study, conclude, study
from .verdicts import Arm, Row, Verdict

__all__ = ["Arm", "Row", "Study", "Verdict", "conclude", "study"]
