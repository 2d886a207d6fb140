"""The result of `measure_mean`: a mean over chips for each strength, and by which chips and images
it was found.

Keeps: every mean stands with its interval, its number of chips and its number of images for each
chip; chips that looked at few images have no score of their own, so that no spread or worst chip is
shown for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...statistics import Components, Gathered, Interval, SubsampleDesign, SubsamplePlan
from ..base import ScoredResult, against_strength


@dataclass(frozen=True, eq=False)
class Average:
    """The mean at one strength, over `chips` chips. The first `whole` of them looked at all images,
    and the others at `images` images each.

    Of the chips that looked at equally many images, the first `paired` stand in antithetic pairs.

    `values` [chip] are the numbers that were averaged, each an estimate of the mean: the mean score
    of a whole chip, or beta mean(C) + D_c as `measure_mean` defines them. `sd` is the standard
    deviation between whole chips, and `sd_from` says from what it was estimated. `reached` says
    whether the interval became short enough, and `why` why this design was taken.

    `components` are the components of variance of the first look, at `seen` images on `looked`
    chips: all images where the first look was at whole chips, and 0 where there was no first look.
    `designs` are the designs that were compared, each with its predicted number of chips and its
    cost in ns. `not_finite` counts the answers that were not finite, which are wrong answers.
    """

    strength: float
    interval: Interval
    reached: bool
    images: int
    beta: float
    chips: int
    whole: int
    paired: int
    sd: float
    sd_from: str
    why: str
    values: NDArray[np.float64]
    seen: int = 0
    looked: int = 0
    components: Components | None = None
    designs: tuple[SubsampleDesign, ...] = ()
    not_finite: int = 0

    @classmethod
    def alike(cls, strength: float, value: float, total: int) -> Average:
        """The result where all chips are the same, so that one chip was scored."""
        same = "all chips are the same"
        return cls(
            strength,
            Interval(value, value, value),
            True,
            total,
            0,
            1,
            1,
            0,
            0,
            same,
            same,
            np.array([value]),
        )

    @classmethod
    def of(
        cls,
        strength: float,
        half: float,
        design: SubsampleDesign,
        come: Gathered,
        sd: float,
        found: SubsamplePlan | None,
        whole: int,
        why: str = "",
    ) -> Average:
        """The result of `gather`. `why` says why all chips are whole, and is empty where they are
        not.
        """
        return cls(
            strength=strength,
            interval=come.interval,
            reached=come.interval.half <= half,
            images=design.images,
            beta=design.beta,
            chips=len(come.values),
            whole=whole,
            paired=come.paired,
            sd=sd,
            sd_from="whole chips" if why else "components",
            why=why or "many chips with few images cost least",
            values=come.values,
            seen=0 if found is None else found.seen,
            looked=0 if found is None else found.chips,
            components=None if found is None else found.components,
            designs=() if found is None else found.designs,
        )

    def row(self) -> dict[str, Any]:
        """The numbers of the table as plain data."""
        low, mean, high = self.interval
        whole = self.sd_from == "whole chips"
        return {
            "strength": self.strength,
            "mean": mean,
            "low": low,
            "high": high,
            "half": self.interval.half,
            "images": self.images,
            "chips": self.chips,
            "whole": self.whole,
            "paired": self.paired,
            "beta": self.beta,
            "sd": self.sd,
            "sd_from": self.sd_from,
            "lowest": float(self.values.min()) if whole else None,
            "first_look": self.seen,
            "first_look_chips": self.looked,
            "why": self.why,
            "reached": self.reached,
            **({"not_finite": self.not_finite} if self.not_finite else {}),
        }

    def plain(self) -> dict[str, Any]:
        """The row, the components of variance, and the designs that were compared."""
        parts = None if self.components is None else self.components._asdict()
        return {
            **self.row(),
            "components": parts,
            "designs": [one._asdict() for one in self.designs],
        }


@dataclass(frozen=True, eq=False, repr=False)
class Means(ScoredResult):
    """What `measure_mean` found, strength by strength."""

    averages: tuple[Average, ...]
    half_width: float
    confidence: float
    max_chips: int

    def chart(self) -> Any:
        """Score against strength: the mean over chips with its interval. Chips that look at few
        images have no score of their own.
        """
        level = f"confidence {self.confidence:g}, Student's, corrected for stopping"
        return against_strength(self, self.rows(), None, level)

    @property
    def strengths(self) -> tuple[float, ...]:
        """[strength]"""
        return tuple(one.strength for one in self.averages)

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """[strength] Of the mean over chips, on these examples."""
        return tuple(one.interval for one in self.averages)

    @property
    def reached(self) -> tuple[bool, ...]:
        """[strength] Whether the interval became as short as was asked."""
        return tuple(one.reached for one in self.averages)

    @property
    def values(self) -> tuple[NDArray[np.float64], ...]:
        """[strength] The numbers that were averaged [chip]."""
        return tuple(one.values for one in self.averages)

    def rows(self) -> list[dict[str, Any]]:
        """One plain row for each strength: what the table prints and `--json` gives."""
        return [one.row() for one in self.averages]

    def plain(self) -> dict[str, Any]:
        """Everything that is printed, and the value of every chip, as plain data."""
        return {
            "corruption": self.corruption,
            "unit": self.corruption_unit,
            "conditions": self.conditions,
            "score": self.name,
            "score_unit": self.unit,
            "half_width": self.half_width,
            "confidence": self.confidence,
            "interval": "Student's, corrected for stopping",
            "most": self.max_chips,
            "examples": self.n_examples,
            "seed": self.seed,
            "purpose": self.purpose,
            "batchnorm": self.batchnorm,
            "read": self.read,
            "autocast": self.autocast,
            "channels_last": self.channels_last,
            "rows": [one.plain() for one in self.averages],
            "values": [one.values.tolist() for one in self.averages],
        }

    def table(self) -> str:
        """The text that the command line prints."""
        titles = ("strength", "images", "chips", "mean", "interval", "half", "sd", "sd from")
        reads = f"; read with {self.read}" if self.read else ""
        lines = [
            f"{self.name} ({self.unit}) under {self.corruption} [{self.corruption_unit}]; the mean "
            f"over chips within {self.half_width:g}, at most {self.max_chips} chips; "
            f"{self._on_examples()}{reads}",
            *([self.conditions] if self.conditions else []),
            "  ".join(f"{title:>{width}}" for title, width in zip(titles, _WIDTHS, strict=True)),
        ]
        for row in self.rows():
            alike = row["chips"] == 1
            cells = (
                f"{row['strength']:g}",
                f"{row['images']}",
                f"{row['chips']}",
                f"{row['mean']:.4f}",
                "all the same" if alike else f"{row['low']:.4f} to {row['high']:.4f}",
                f"{row['half']:.4f}",
                f"{row['sd']:.4f}" if row["sd"] == row["sd"] else "-",
                "-" if alike else row["sd_from"],
            )
            line = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
            lines.append(line if row["reached"] else f"{line}  not reached")
        lines += [
            f"strength {one.strength:g}: {one.why}"
            for one in self.averages
            if one.sd_from == "whole chips"
        ]
        lines += [
            f"strength {one.strength:g}: {one.not_finite} answers were not finite, and are wrong"
            for one in self.averages
            if one.not_finite
        ]
        lines.append(
            "interval: of the mean over chips, on these examples, at confidence "
            f"{self.confidence:g} for each strength (Student's, corrected for stopping); images: "
            "of each chip; sd: between whole chips"
        )
        return "\n".join(lines)


_WIDTHS = (8, 6, 6, 7, 17, 7, 7, 11)
