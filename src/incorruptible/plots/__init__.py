"""Charts: what a figure shows, as plain data, and two ways to draw it.

A chart is `Lines`, `Bars` or `Heat`: arrays with names and units. `draw` makes a matplotlib figure
of it and `save` writes files; `plots.web.figure` makes what plotly draws on a page. Both show the
same numbers.

>>> sgd = Line([1, 2], [0.5, 0.25], "sgd")
>>> chart = Lines("loss", "Training loss", {"": [sgd]}, "epoch", "nats")
>>> sgd.texts()
['0.5', '0.25']
"""

from __future__ import annotations

from .charts import Bars, Chart, Heat, Line, Lines
from .effects import effects
from .paper import draw, save

__all__ = ["Bars", "Chart", "Heat", "Line", "Lines", "draw", "effects", "save"]
