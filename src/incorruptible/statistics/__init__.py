"""Arrays to statements."""

from __future__ import annotations

from .betting import CLOSE, WIDE, Bets, Betting, confidence_sequence
from .binomial import fewest, lower_bound, quantile_rank
from .intervals import (
    Difference,
    Interval,
    agree,
    crossed,
    crossed_each,
    crossed_sum,
    holm,
    paired,
    t_interval,
    verdict,
)
from .population import Slack, misled, slack_for
from .stopping import Gathered, Stratum, gather, mean_interval, needed
from .subsampling import (
    CHIPS,
    Costs,
    SubsampleDesign,
    SubsamplePlan,
    choose,
    plan,
    variance_of,
    worth_another,
)
from .two_level import TwoLevel, share_interval, two_level
from .variance import Components, components

__all__ = [
    "CHIPS",
    "CLOSE",
    "WIDE",
    "Bets",
    "Betting",
    "Components",
    "Costs",
    "Difference",
    "Gathered",
    "Interval",
    "Slack",
    "Stratum",
    "SubsampleDesign",
    "SubsamplePlan",
    "TwoLevel",
    "agree",
    "choose",
    "components",
    "confidence_sequence",
    "crossed",
    "crossed_each",
    "crossed_sum",
    "fewest",
    "gather",
    "holm",
    "lower_bound",
    "mean_interval",
    "misled",
    "needed",
    "paired",
    "plan",
    "quantile_rank",
    "share_interval",
    "slack_for",
    "t_interval",
    "two_level",
    "variance_of",
    "verdict",
    "worth_another",
]
