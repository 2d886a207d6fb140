"""The rules that decide claims, each in a file of its own and fixed before any run.

A claim of a study names a rule and gives its fields. The rule gets the finished arms and the test
strengths above 0, and answers with one word and the rows that the word rests on.

>>> rule = Ahead(left=("rwp *",), right=("sgd",))
>>> rule.needs()
['rwp *', 'sgd']
"""

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
    """A rule: from arms and the test strengths above 0 to a word with its rows."""

    def needs(self) -> list[str]:
        """The names, or patterns of names, of the arms that the rule needs."""

    def __call__(self, arms: Sequence[Arm], tests: Sequence[float]) -> Judgement:
        """Decide. Raises `Lacking` where an arm that the rule needs is not finished."""


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
