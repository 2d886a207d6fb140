"""Arrays to statements."""

from __future__ import annotations

from .betting import Betting, confidence_sequence
from .binomial import fewest, lower_bound, quantile_rank
from .intervals import (
    Difference,
    Interval,
    agree,
    crossed,
    crossed_sum,
    holm,
    paired,
    t_interval,
    verdict,
)
from .population import Slack, misled, slack_for
from .two_level import TwoLevel, two_level
from .variance import Components, components

__all__ = [
    "Betting",
    "Components",
    "Difference",
    "Interval",
    "Slack",
    "TwoLevel",
    "agree",
    "components",
    "confidence_sequence",
    "crossed",
    "crossed_sum",
    "fewest",
    "holm",
    "lower_bound",
    "misled",
    "paired",
    "quantile_rank",
    "slack_for",
    "t_interval",
    "two_level",
    "verdict",
]
