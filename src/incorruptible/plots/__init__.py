"""Charts from arrays: what they say, on paper and on a page."""

from __future__ import annotations

from .charts import Bars, Chart, Heat, Line, Lines
from .effects import effects
from .paper import draw, save

__all__ = ["Bars", "Chart", "Heat", "Line", "Lines", "draw", "effects", "save"]
