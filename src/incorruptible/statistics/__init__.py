"""Statistics: from arrays of numbers to statements with stated confidence.

The functions here take plain arrays (scores of chips, seeds, examples) and return intervals,
verdicts, or how many chips are needed. They know nothing of networks or hardware. Each states what
it assumes, where it comes from, and how often it is wrong.

>>> from incorruptible.statistics import paired, verdict
>>> hardened, plain = [0.91, 0.93, 0.92, 0.92], [0.88, 0.91, 0.87, 0.90]  # one score for each seed
>>> difference = paired(hardened, plain)
>>> print(f"{difference.interval.estimate:.2f} +- {difference.interval.half:.2f}")
0.03 +- 0.02
>>> verdict([difference])
['supported']

To find the room's answer to a question: `intervals` for means and differences over seeds, chips and
images; `two_level` for one mean over chips and examples; `betting` for an interval that may be
watched; `stopping` and `subsampling` for how many chips and images to measure; `binomial` and
`population` for the promises of certificates; `curves` for scores at many strengths.
"""

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
