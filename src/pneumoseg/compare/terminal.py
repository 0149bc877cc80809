"""A comparison as plain text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from pneumoseg.compare.comparing import Against, Comparison
from pneumoseg.compare.wording import (
    against_empty,
    all_empty,
    common_images,
    figure_text,
    main_verdict,
    p_text,
    short_names,
    signed,
)


def as_text(comparison: Comparison) -> str:
    """The figures, their differences to the reference with 95 % intervals, and the verdicts."""
    phantom = " (phantom data, not patients)" if comparison.pairing.phantom else ""
    empty = all_empty(comparison)
    lines = [f"{common_images(comparison)}{phantom}{'' if empty is None else f'; all-empty Dice {empty:.3f}'}"]
    for index, item in enumerate(comparison.against, start=1):
        lines += ["", main_verdict(comparison, item), "", *_table(comparison, index, item)]
        every = item.tallies[0]
        if comparison.masks:
            lines.append(
                f"Dice of {item.experiment.name} is higher on {every.higher:,} images, the same on {every.same:,}, "
                f"lower on {every.lower:,}"
            )
    weak = against_empty(comparison)
    return "\n".join([*lines, *(["", weak] if weak else [])]) + "\n"


def _table(comparison: Comparison, index: int, item: Against) -> list[str]:
    names = short_names([experiment.name for experiment in comparison.experiments])
    several = len(comparison.against) > 1
    header = ["", names[0], names[index], "difference", "p", *(["p (Holm)"] if several else []), ""]
    rows = [header]
    for key, found in item.differences.items():
        rows.append(
            [
                found.metric.title,
                figure_text(comparison.figures[0], key),
                figure_text(comparison.figures[index], key),
                signed(found.value, found.interval),
                p_text(found.p),
                *([p_text(found.p_holm)] if several else []),
                found.words,
            ]
        )
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
