"""Which test images the report shows: chosen by rules that are told on the page, never by taste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd


@dataclass(frozen=True)
class Gallery:
    """Cases in the order of showing; ``rule`` tells how they were chosen and out of how many."""

    key: str
    title: str
    rule: str
    image_ids: tuple[str, ...]


#: Values of column lesion_size of test_cases.csv.
SIZES: Final = ("small", "medium", "large")


def choose_galleries(cases: pd.DataFrame, limits_px_at_1024: tuple[int, int], count: int) -> tuple[Gallery, ...]:
    """The galleries of a test set: best, median, worst, missed, false alarms, and each size of pneumothorax.

    Best, median and worst are drawn from pneumothoraces that were found at all and share no case. An image without
    pneumothorax and without a marked pixel has Dice 1 and would fill the best; it is in no gallery.

    Args:
        cases: rows with image_id, dice, truth_px, predicted_px, lesion_size.
        limits_px_at_1024: where medium and large sizes begin, in pixels of a 1024 x 1024 image.
        count: most cases of one gallery.
    """
    positives = cases[cases["truth_px"] > 0]
    found = positives[positives["predicted_px"] > 0].sort_values(["dice", "image_id"], ascending=[False, True])
    missed = positives[positives["predicted_px"] == 0].sort_values(["truth_px", "image_id"], ascending=[False, True])
    alarms = cases[(cases["truth_px"] == 0) & (cases["predicted_px"] > 0)]
    alarms = alarms.sort_values(["predicted_px", "image_id"], ascending=[False, True])
    negatives = int((cases["truth_px"] == 0).sum())
    best, median, worst = _thirds([str(name) for name in found["image_id"]], count)
    of_found = f"of {len(found)} pneumothoraces with a marked pixel"
    galleries = [
        Gallery("best", "Best", f"Highest Dice {of_found}.", best),
        Gallery("median", "Median", f"Dice around the median {of_found}.", median),
        Gallery("worst", "Worst", f"Lowest Dice {of_found}, the worst first.", worst),
        Gallery(
            "missed",
            "Missed",
            f"No pixel marked in {len(missed)} of {len(positives)} pneumothoraces; the largest first.",
            _first(missed, count),
        ),
        Gallery(
            "false-alarms",
            "False positives",
            f"Pixels marked in {len(alarms)} of {negatives} images without pneumothorax; the largest area first.",
            _first(alarms, count),
        ),
    ]
    for size in SIZES:
        inside = positives[positives["lesion_size"] == size].sort_values(["dice", "image_id"], ascending=[False, True])
        galleries.append(
            Gallery(
                f"size-{size}",
                f"{size.capitalize()} pneumothoraces",
                f"{_limits(size, limits_px_at_1024)}; {_spread_rule(len(inside), count)}",
                _spread([str(name) for name in inside["image_id"]], count),
            )
        )
    return tuple(galleries)


def _thirds(ids: Sequence[str], count: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Best, median and worst (worst first) of ids in falling order: at most a third each, so that none is in two."""
    if len(ids) < 3:
        return tuple(ids[:1]), (), tuple(ids[1:])
    share = min(count, len(ids) // 3)
    middle = (len(ids) - share) // 2
    return tuple(ids[:share]), tuple(ids[middle : middle + share]), tuple(reversed(ids[-share:]))


def _first(rows: pd.DataFrame, count: int) -> tuple[str, ...]:
    return tuple(str(name) for name in rows["image_id"].iloc[:count])


def _spread(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """At most ``count`` of ids at equal steps, the first and the last among them."""
    if len(ids) <= count:
        return tuple(ids)
    if count == 1:
        return (ids[(len(ids) - 1) // 2],)
    return tuple(ids[round(index * (len(ids) - 1) / (count - 1))] for index in range(count))


def _spread_rule(found: int, count: int) -> str:
    if found == 0:
        return "the test set has none."
    return (
        f"all {found}, by Dice."
        if found <= count
        else f"{count} of {found} at equal steps from the highest Dice to the lowest."
    )


def _limits(size: str, limits_px_at_1024: tuple[int, int]) -> str:
    low, high = limits_px_at_1024
    area = {"small": f"Below {low:,}", "medium": f"From {low:,} to {high:,}", "large": f"From {high:,}"}[size]
    return f"{area} px of a 1024 x 1024 image"
