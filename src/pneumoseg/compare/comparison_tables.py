"""The tables of the page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pneumoseg.compare.comparing import Against, Comparison
from pneumoseg.compare.comparison_charts import dice_chart
from pneumoseg.compare.configuration_rows import Row
from pneumoseg.compare.differences import FIGURES
from pneumoseg.compare.wording import all_empty, figure_text, p_text, signed
from pneumoseg.report.parts import Table, count_of, number, percent


def experiments_table(comparison: Comparison) -> Table:
    """What is compared: commit, network, rule, test images, and whether it saw them before."""
    rows = []
    for index, item in enumerate(comparison.experiments):
        leak = comparison.leaks[index]
        seen = count_of(leak.images, "image") if leak.images else "none"
        rows.append(
            (
                f"{item.name} (reference)" if index == 0 else item.name,
                item.commit,
                item.setting("model.architecture") or "—",
                item.setting("model.encoder") or "—",
                item.rule,
                f"{len(item.cases):,} ({len(comparison.pairing.ids):,} compared)",
                seen if leak.known else "unknown",
            )
        )
    columns = (
        "experiment",
        "commit",
        "architecture",
        "encoder",
        "decision rule",
        "test images",
        "compared images or patients it saw before",
    )
    return Table("Experiments", columns, tuple(rows), numeric=False)


def figures_table(comparison: Comparison) -> Table:
    """Figures on the common images; the all-empty score stands below the first Dice."""
    names = [item.name for item in comparison.experiments]
    rows = [
        (label, *(figure_text(figures, key) for figures in comparison.figures))
        for key, label in FIGURES.items()
        if any(key in figures.values for figures in comparison.figures)
    ]
    prevalence = percent(float(comparison.pairing.positive.mean()))
    rows.insert(1, ("all-empty Dice (share of negatives)", *(number(all_empty(comparison)) for _ in names)))
    rows.append(("prevalence", *(prevalence for _ in names)))
    return Table("Figures on the common images", ("", *names), tuple(rows))


def differences_table(comparison: Comparison, item: Against) -> Table:
    """Differences of one experiment to the reference, with p and verdict."""
    several = len(comparison.against) > 1
    rows = []
    for key, found in item.differences.items():
        ps = (p_text(found.p), p_text(found.p_holm)) if several else (p_text(found.p),)
        rows.append((FIGURES[key], signed(found.value, found.interval), *ps, found.words))
    ps = ("p", "p, corrected") if several else ("p",)
    title = f"{item.experiment.name} against {comparison.reference.name}"
    return Table(title, ("", "difference, 95 % interval", *ps, "verdict"), tuple(rows), numeric=False)


def sizes_table(comparison: Comparison) -> Table:
    """Dice by lesion size."""
    names = [item.name for item in comparison.experiments]
    rows = tuple(
        (
            f"{row.size} ({count_of(row.images, 'image')} of {count_of(row.patients, 'patient')})",
            *(number(value) for value in row.dice),
            *(signed(value, interval) for value, interval in row.differences),
        )
        for row in comparison.sizes
    )
    columns = ("lesion size", *names, *(f"{name}: difference" for name in names[1:]))
    return Table("Dice by lesion size", columns, rows)


def images_view(comparison: Comparison, index: int, item: Against) -> dict[str, Any]:
    """Image by image: chart, counts, and the images that differ most."""
    reference, name = comparison.reference.name, item.experiment.name
    tallies = tuple((row.images, number(row.higher), number(row.same), number(row.lower)) for row in item.tallies)
    calls = tuple(
        (row.images, *(number(value) for value in (row.both, row.reference_only, row.other_only, row.none)))
        for row in item.calls
    )
    images = tuple(
        (
            image.image_id,
            number(image.truth_px),
            number(image.reference_dice),
            number(image.dice),
            signed(image.difference),
        )
        for image in item.most_different
    )
    return {
        "title": f"{name} against {reference}",
        "chart": dice_chart(comparison, index),
        "positives": int(comparison.pairing.positive.sum()),
        "caption": f"Each dot is an image with pneumothorax: above the dashed line {name} has the higher Dice, below "
        f"it {reference}. Images without pneumothorax have a Dice of 0 or 1 and are counted in the table.",
        "tallies": Table(f"Images by Dice of {name}", ("images", "higher", "the same", "lower"), tallies),
        "calls": Table(
            "Images in which a pixel is marked",
            ("images", "by both", f"by {reference} alone", f"by {name} alone", "by none"),
            calls,
        ),
        "images": Table(
            "Images that differ most",
            ("image", "true area, px", f"Dice, {reference}", f"Dice, {name}", "difference"),
            images,
        ),
    }


def shortened(row: Row, key: str) -> Row:
    """A row of MD5 as the page shows it: eight digits tell them apart."""
    return Row(key, tuple(value[:8] if len(value) >= 32 else value for value in row.values))


def rows_table(title: str, rows: Sequence[Row], names: Sequence[str]) -> Table:
    """One column an experiment."""
    return Table(title, ("", *names), tuple((row.key, *row.values) for row in rows), numeric=False)
