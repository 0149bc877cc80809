"""Which test images the report shows: chosen by rules that are told on the page, never by taste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pneumoseg.evaluate.subgroups import SIZES


@dataclass(frozen=True)
class Gallery:
    """Cases in the order of showing; ``rule`` tells how they were chosen and out of how many."""

    key: str
    title: str
    rule: str
    image_ids: tuple[str, ...]


def choose_galleries(cases: pd.DataFrame, limits_px_at_1024: tuple[int, int], count: int) -> tuple[Gallery, ...]:
    """The galleries of a test set: best, median, worst, missed, false alarms, and each size of pneumothorax.

    No case is in two galleries. Best, median and worst are drawn from pneumothoraces that were found at all. An image
    without pneumothorax and without a marked pixel has Dice 1 and would fill the best; it is in no gallery. Where the
    networks give no map, there are found, missed and false alarms, by probability.

    Args:
        cases: rows with image_id, pneumothorax, called, probability, dice, truth_px, predicted_px, lesion_size.
        limits_px_at_1024: where medium and large sizes begin, in pixels of a 1024 x 1024 image.
        count: most cases of one gallery.
    """
    if len(cases) and cases["predicted_px"].isna().all():
        return _by_probability(cases, count)
    positives = cases[cases["pneumothorax"] == 1]
    called = positives[positives["called"] == 1]
    found = called.dropna(subset=["dice"])
    best, median, worst = _thirds(_ids(found, "dice"), count)
    unknown = len(called) - len(found)
    left_out = f" (left out: {unknown} more, whose true mask is not known)" if unknown else ""
    of_found = f"of {len(found)} pneumothoraces with a marked pixel{left_out}"
    missed, alarms, negatives = _wrong(cases)
    galleries = [
        Gallery("best", "Best", f"Highest Dice {of_found}.", best),
        Gallery("median", "Median", f"Dice around the median {of_found}.", median),
        Gallery("worst", "Worst", f"Lowest Dice {of_found}, the worst first.", worst),
        Gallery(
            "missed",
            "Missed",
            f"No pixel marked in {len(missed)} of {len(positives)} pneumothoraces; the largest first.",
            _ids(missed, "truth_px")[:count],
        ),
        Gallery(
            "false-alarms",
            "False positives",
            f"Pixels marked in {len(alarms)} of {negatives} images without pneumothorax; the largest area first.",
            _ids(alarms, "predicted_px")[:count],
        ),
    ]
    shown = {name for gallery in galleries for name in gallery.image_ids}
    for size in SIZES:
        inside = _ids(positives[positives["lesion_size"] == size], "dice")
        left = [name for name in inside if name not in shown]
        above = len(inside) - len(left)
        galleries.append(
            Gallery(
                f"size-{size}",
                f"{size.capitalize()} pneumothoraces",
                f"{_limits(size, limits_px_at_1024)}; {_spread_rule(len(left), count, above)}",
                _spread(left, count),
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


def _by_probability(cases: pd.DataFrame, count: int) -> tuple[Gallery, ...]:
    positives = cases[cases["pneumothorax"] == 1]
    found = positives[positives["called"] == 1]
    missed, alarms, negatives = _wrong(cases)
    of = f"of {len(positives)} pneumothoraces"
    return (
        Gallery(
            "found",
            "Found",
            f"Called positive: {len(found)} {of}; highest probability first.",
            _ids(found, "probability")[:count],
        ),
        Gallery(
            "missed",
            "Missed",
            f"Called negative: {len(missed)} {of}; lowest probability first.",
            _ids(missed, "probability", rising=True)[:count],
        ),
        Gallery(
            "false-alarms",
            "False positives",
            f"Called positive: {len(alarms)} of {negatives} images without pneumothorax; highest probability first.",
            _ids(alarms, "probability")[:count],
        ),
    )


def _wrong(cases: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Missed pneumothoraces, false alarms, and the number of images without pneumothorax."""
    positive, called = cases["pneumothorax"] == 1, cases["called"] == 1
    return cases[positive & ~called], cases[~positive & called], int((~positive).sum())


def _ids(rows: pd.DataFrame, by: str, rising: bool = False) -> tuple[str, ...]:
    """Ids in the order of a column, the highest first, and of the ids where it is equal."""
    return tuple(map(str, rows.sort_values([by, "image_id"], ascending=[rising, True])["image_id"]))


def _spread(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """At most ``count`` of ids at equal steps, the first and the last among them."""
    if len(ids) <= count:
        return tuple(ids)
    if count == 1:
        return (ids[(len(ids) - 1) // 2],)
    return tuple(ids[round(index * (len(ids) - 1) / (count - 1))] for index in range(count))


def _spread_rule(found: int, count: int, above: int) -> str:
    """How many of one size are shown; ``above`` more stand in other galleries already."""
    if found == 0:
        told = "the only one is shown above." if above == 1 else f"all {above} are shown above."
        return told if above else "the test set has none."
    more = f"; {above} more {'is' if above == 1 else 'are'} shown above" if above else ""
    if found <= count:
        return f"all {found}, by Dice{more}."
    return f"{count} of {found} at equal steps from the highest Dice to the lowest{more}."


def _limits(size: str, limits_px_at_1024: tuple[int, int]) -> str:
    low, high = limits_px_at_1024
    area = {"small": f"Below {low:,}", "medium": f"From {low:,} to {high:,}", "large": f"From {high:,}"}[size]
    return f"{area} px of a 1024 x 1024 image"
