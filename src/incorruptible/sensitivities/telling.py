"""A sensitivity map as people read it: two tables, the worst first, and what they do not say."""

from __future__ import annotations

from collections.abc import Sequence

from ..statistics import Interval
from .results import Effect, Sensitivity

__all__ = ["table"]

_NUMBERS = ("weights", "share")
_LOSS = ("loss", "95% interval", "p (Holm)", "per 1%")
_GAIN = ("gain", "95% interval", "p (Holm)", "per 1%", "5%", "worst")
_WIDTHS = {"95% interval": 18, "weights": 10, "share": 6, "p (Holm)": 8}


def table(found: Sensitivity) -> str:
    """Losses and gains, sorted; how much of the joint loss the single ones add up to; and how to read them."""
    together, loss, interaction = found.together, found.loss().interval, found.interaction().interval
    what = "layer" if found.by == "layer" else found.by
    first, *held = together.header().splitlines()
    gains = sorted(found.gains(), key=_size)
    width = max(len("kept digital, all else corrupted"), *(len(one.group.name) for one in gains))
    total = sum(one.group.weights for one in found.losses())
    singles = loss.estimate - interaction.estimate
    return "\n".join(
        [
            f"{first}, strength {together.strengths[0]:g}, by {what}",
            *held,
            f"clean {found.clean:.4f}; all {total:,} weights corrupted {found.joint.mean():.4f}: a loss of {_of(loss)}",
            "",
            _line(f"{'corrupted alone':<{width}}", (*_NUMBERS, *_LOSS)),
            *(_row(one, width, _LOSS) for one in sorted(found.losses(), key=_size)),
            f"their sum {singles:.4f}; the joint loss is {_more(interaction)}",
            "",
            _line(f"{'kept digital, all else corrupted':<{width}}", (*_NUMBERS, *_GAIN)),
            *(_row(one, width, _GAIN) for one in gains),
            "interval: Student's, of a mean paired over chips, on these examples, each row by itself",
            "p (Holm): of no loss or gain at all, over all rows of both tables; share and per 1%: of these weights",
            "5%, worst: gain in the 5% quantile and in the worst of these chips",
        ]
    )


def _size(one: Effect) -> float:
    return -one.difference.interval.estimate


def _row(one: Effect, width: int, titles: Sequence[str]) -> str:
    mean, interval = one.difference.interval.estimate, one.difference.interval
    cells = {
        "weights": f"{one.group.weights:,}",
        "share": f"{one.group.share:.1%}",
        "loss": f"{mean:.4f}",
        "gain": f"{mean:.4f}",
        "95% interval": f"{interval.low:.4f} to {interval.high:.4f}",
        "p (Holm)": f"{one.adjusted:.3f}" if one.adjusted >= 0.001 else "<.001",
        "per 1%": f"{one.rate / 100:.2g}",
        "5%": f"{one.tail:.4f}",
        "worst": f"{one.worst:.4f}",
    }
    return _line(f"{one.group.name:<{width}}", [cells[title] for title in (*_NUMBERS, *titles)], (*_NUMBERS, *titles))


def _line(name: str, cells: Sequence[str], titles: Sequence[str] | None = None) -> str:
    widths = [_WIDTHS.get(title, 7) for title in titles or cells]
    return "  ".join([name, *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])


def _of(one: Interval) -> str:
    return f"{one.estimate:.4f} ({one.low:.4f} to {one.high:.4f})"


def _more(one: Interval) -> str:
    size = f"{abs(one.estimate):.4f}"
    low, high = sorted((abs(one.low), abs(one.high)))
    if one.low > 0:
        return f"{size} ({low:.4f} to {high:.4f}) more than that"
    if one.high < 0:
        return f"{size} ({low:.4f} to {high:.4f}) less than that"
    return f"not told apart from it: {one.estimate:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
