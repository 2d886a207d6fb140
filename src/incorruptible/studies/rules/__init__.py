"""How a claim is decided: one rule in each file, fixed before any run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..evidence import Arm, Judgement
from .ahead import Ahead
from .carried import Carried
from .changing import Changing
from .exponent import Exponent
from .grows import Grows
from .over_regularised import OverRegularised
from .preferred import Preferred
from .shortfall import Shortfall
from .small_large import SmallLarge
from .uncollapsed import Uncollapsed
from .vanishing import Vanishing
from .withstands import Withstands

__all__ = [
    "CATALOGUE",
    "Ahead",
    "Carried",
    "Changing",
    "Exponent",
    "Grows",
    "OverRegularised",
    "Preferred",
    "Rule",
    "Shortfall",
    "SmallLarge",
    "Uncollapsed",
    "Vanishing",
    "Withstands",
]


class Rule(Protocol):
    """Arms and the test strengths above 0 -> a word with its rows."""

    def needs(self) -> list[str]:
        """Names, or patterns of names, of arms without which nothing can be said."""
        ...

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        """The word. Raises `Lacking` where what it needs has not come to an end."""
        ...


CATALOGUE: dict[str, Any] = {
    "ahead": Ahead,
    "carried": Carried,
    "changing": Changing,
    "exponent": Exponent,
    "grows": Grows,
    "over-regularised": OverRegularised,
    "preferred": Preferred,
    "shortfall": Shortfall,
    "small-large": SmallLarge,
    "uncollapsed": Uncollapsed,
    "vanishing": Vanishing,
    "withstands": Withstands,
}
