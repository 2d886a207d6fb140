"""Advice on standard error besides a verb's answer: what a large measurement will cost, and that
nothing corrects the drift of a device.

Keeps: advice goes to standard error and never changes an answer; the one refusal here is for scores
that this machine's memory cannot hold. Fewer chips than `MANY` are measured without a word.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ..errors import UserError
from .terminal import say

if TYPE_CHECKING:
    from ..corruptions import Corruption

MANY = 20_000  # from this number of chips on, the cost is told before the work begins
# One example on one chip takes this many bytes: its score has 4, and stands once in a list and once
# in the array that is made of the list.
_BYTES = 8


def tell_cost(
    chips: int, examples: Callable[[], int], few: Callable[[int], Any], at_once: int = 1
) -> None:
    """Say how long `chips` chips will take, over all strengths. Says nothing for fewer than `MANY`.

    `examples()` counts the examples, and `few(n)` does the work for n chips. The scores of one in
    `at_once` chips are in memory at a time. Raises `UserError` if these scores do not fit into this
    machine's memory.
    """
    if chips < MANY:
        return
    few(1)  # not timed, because the first call is slower than others
    began = time.perf_counter()
    few(4)
    seconds = (time.perf_counter() - began) / 4 * chips
    needed = chips / at_once * examples() * _BYTES
    memory = _memory()
    cost = f"{chips:,} chips take about {_duration(seconds)} and {_size(needed)} of memory"
    if needed > memory:
        raise UserError(
            f"{cost}, and this machine has {_size(memory)}: ask for fewer chips or --examples; "
            "measure --half-width 0.0025 takes as many chips as that precision needs."
        )
    say(f"incorruptible: {cost}; Ctrl-C stops.")


def _memory() -> float:
    """The memory of this machine in bytes, as far as the system tells."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _duration(seconds: float) -> str:
    """A length of time to two digits, in a unit that people use for it.

    >>> _duration(4.24), _duration(5400), _duration(259200)
    ('4.2 seconds', '90 minutes', '3 days')
    """
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{float(f'{seconds / length:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} seconds"


def _size(count: float) -> str:
    """Bytes to two digits.

    >>> _size(8e11), _size(2.5e7)
    ('800 GB', '25 MB')
    """
    unit, size = ("GB", 1e9) if count >= 1e9 else ("MB", 1e6)
    return f"{float(f'{count / size:.2g}'):g} {unit}"


def tell_drift(corruptions: Iterable[Corruption]) -> None:
    """Give a tip for each kind of device that has drifted while nothing corrects the drift. Real
    hardware mostly corrects it.
    """
    from ..corruptions import Sweep

    told = set()
    for corruption in corruptions:
        since: Any = getattr(corruption, "time", 0)
        faults: Any = getattr(corruption, "faults", None)
        if getattr(corruption, "compensation", "") != "none" or not since or faults is None:
            continue
        name = str(getattr(corruption, "name", corruption))
        if name not in told and any(
            fault.ages for fault in (faults() if callable(faults) else faults)
        ):
            told.add(name)
            corrected: Any = replace(cast("Any", corruption), compensation="global")
            say(
                f"incorruptible: tip: {name} has drifted for {since} and nothing corrects it; "
                f"rescaling what is read does: {Sweep(corrected, (1.0,))}, or "
                "compensation=column."
            )
