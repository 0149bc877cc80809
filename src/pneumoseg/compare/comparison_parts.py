"""What the page of a comparison shows: tables of figures, of images, of training and of configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pneumoseg.compare.comparing import MIN_PATIENTS, Against, Comparison
from pneumoseg.compare.comparison_charts import STYLES, curve_drawings, dice_chart
from pneumoseg.compare.configuration_rows import DATA, Row
from pneumoseg.compare.overlay_pairs import Pairs
from pneumoseg.compare.wording import all_empty, figure_text, p_text, signed
from pneumoseg.evaluate.metrics.core import ALL_EMPTY, DICE_ALL, PREVALENCE
from pneumoseg.report.parts import Part, Table, count_of, number, percent


def experiments_table(comparison: Comparison) -> Table:
    """What is compared: commit, network, rule, test images, and whether it saw them before."""
    rows = []
    for item, leak in zip(comparison.experiments, comparison.leaks, strict=True):
        seen = count_of(leak.images, "image") if leak.images else "none"
        rows.append(
            (
                f"{item.name} (reference)" if item is comparison.reference else item.name,
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


def parts(comparison: Comparison) -> dict[str, Part]:
    """The sections below the result, by their anchors."""
    return {
        "figures": _figures(comparison),
        "images": Part(
            "Images",
            parts=tuple(_images(comparison, index, item) for index, item in enumerate(comparison.against, start=1)),
        ),
        "training": _training(comparison),
        "configuration": _configuration(comparison),
        "method": Part("Method", points=tuple(_method(comparison))),
    }


def _figures(comparison: Comparison) -> Part:
    return Part(
        "Figures",
        (
            "On the common images, with 95 % intervals over patients. The intervals of two experiments may overlap and "
            "their difference still be shown: that of the difference is paired.",
        ),
        tables=(
            _figures_table(comparison),
            *(_differences_table(comparison, item) for item in comparison.against),
            _sizes_table(comparison),
        ),
    )


def _figures_table(comparison: Comparison) -> Table:
    """Figures on the common images; the all-empty score stands below the first Dice."""
    names = [item.name for item in comparison.experiments]
    rows: list[tuple[str, ...]] = []
    for metric in comparison.metrics:
        rows.append((metric.title, *(figure_text(figures, metric.name) for figures in comparison.figures)))
        if metric.name == DICE_ALL.name:
            rows.append((ALL_EMPTY.title, *(number(all_empty(comparison)) for _ in names)))
    prevalence = percent(float(comparison.pairing.positive.mean()))
    rows.append((PREVALENCE.title, *(prevalence for _ in names)))
    costs = {
        "training of all folds, s": [item.seconds for item in comparison.costs],
        "highest memory in training, GiB": [item.memory_gib for item in comparison.costs],
    }
    for title, values in costs.items():
        if any(value is not None for value in values):
            rows.append((title, *(number(value, 1) for value in values)))
    return Table("Figures on the common images", ("", *names), tuple(rows))


def _differences_table(comparison: Comparison, item: Against) -> Table:
    """Differences of one experiment to the reference, with p and verdict."""
    several = len(comparison.against) > 1
    rows = []
    for found in item.differences.values():
        ps = (p_text(found.p), p_text(found.p_holm)) if several else (p_text(found.p),)
        rows.append((found.metric.title, signed(found.value, found.interval), *ps, found.words))
    ps = ("p", "p, corrected") if several else ("p",)
    title = f"{item.experiment.name} against {comparison.reference.name}"
    return Table(title, ("", "difference, 95 % interval", *ps, "verdict"), tuple(rows), numeric=False, headed=True)


def _sizes_table(comparison: Comparison) -> Table:
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
    title = f"Dice by lesion size: described, not tested; no interval for fewer than {MIN_PATIENTS} patients"
    return Table(title, columns, rows, headed=True)


def _images(comparison: Comparison, index: int, item: Against) -> Part:
    """Image by image: chart, counts, and the images that differ most."""
    reference, name = comparison.reference.name, item.experiment.name
    calls = tuple(
        (row.images, *(number(value) for value in (row.both, row.reference_only, row.other_only, row.none)))
        for row in item.calls
    )
    called = Table(
        "Images that are called positive",
        ("images", "by both", f"by {reference} alone", f"by {name} alone", "by none"),
        calls,
        headed=True,
    )
    title = f"{name} against {reference}"
    if not comparison.masks:
        return Part(title, ("Not every experiment marks pixels: there is no Dice to compare.",), tables=(called,))
    tallies = tuple((row.images, number(row.higher), number(row.same), number(row.lower)) for row in item.tallies)
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
    caption = (
        f"Each dot is an image with pneumothorax: above the dashed line {name} has the higher Dice, below it "
        f"{reference}. Images without pneumothorax have a Dice of 0 or 1 and are counted in the table."
    )
    tables = (
        Table(f"Images by Dice of {name}", ("images", "higher", "the same", "lower"), tallies, headed=True),
        called,
        Table(
            "Images that differ most",
            ("image", "true area, px", f"Dice, {reference}", f"Dice, {name}", "difference"),
            images,
            mono=True,
            headed=True,
        ),
    )
    drawn = ((dice_chart(comparison, index), caption),) if comparison.pairing.positive.any() else ()
    pairs = comparison.pictures[index - 1] if comparison.pictures else {}
    parts = (_side_by_side(item, pairs, (reference, name)),) if pairs else ()
    told = "" if images else "No image differs."
    if images and comparison.pictures and not pairs:
        told = (
            "What both marked is not shown: DVC's cache lacks images or maps of one of them (dvc pull), or has others."
        )
    return Part(title, (told,) if told else (), drawings=drawn, tables=tables, parts=parts)


def _side_by_side(item: Against, pairs: Pairs, names: tuple[str, str]) -> Part:
    drawings = [
        (picture, f"{image.image_id}, {name}: Dice {number(score)}")
        for image in item.most_different
        if image.image_id in pairs
        for picture, name, score in zip(pairs[image.image_id], names, (image.reference_dice, image.dice), strict=True)
    ]
    told = "Blue: marked and annotated. Vermilion: marked only. Yellow, striped: annotated only."
    return Part("What both marked where they differ most", (told,), drawings=tuple(drawings))


def _training(comparison: Comparison) -> Part:
    drawings = tuple(curve_drawings(comparison))
    if not drawings:
        return Part("Training", ("No experiment has training curves.",))
    folds = next(row for row in comparison.data if row.key.endswith("folds.csv"))
    notes = [
        "Validation figures chose the epoch, so they flatter; a loss can only be compared where the loss is the same."
    ]
    if folds.differs:
        notes.append("The folds differ: these are figures of different validation images.")
    if len(comparison.experiments) > STYLES:
        notes.append(f"The first {STYLES} experiments are drawn.")
    return Part("Training", (" ".join(notes),), drawings=drawings)


def _configuration(comparison: Comparison) -> Part:
    data, code = comparison.data, comparison.code
    differ = any(row.differs for row in data)
    same = "The same data, folds and test set." if all(row.known for row in data) else "Not known of every experiment."
    told = "Files, folders and pinned packages that the stages ran with and that differ; beginnings of their MD5:"

    def table(title: str, rows: Sequence[Row]) -> tuple[Table, ...]:
        columns = ("", *(item.name for item in comparison.experiments))
        cells = tuple((row.key, *row.values) for row in rows)
        return (Table(title, columns, cells, numeric=False, mono=True),)

    return Part(
        "Configuration",
        parts=(
            Part(
                "Parameters that differ",
                () if comparison.parameters else ("None: every parameter is the same.",),
                tables=table("Parameters that differ", comparison.parameters),
            ),
            Part(
                "Data",
                (f"{'The data differ.' if differ else same} The beginnings of the MD5 in dvc.lock:",),
                tables=table("MD5 of the data", [_shortened(row, DATA[row.key]) for row in data]),
            ),
            Part(
                "Code",
                (told if code else "No difference is recorded in dvc.lock.",),
                tables=table("Code that differs", [_shortened(row, row.key) for row in code]),
            ),
        ),
    )


def _shortened(row: Row, key: str) -> Row:
    """A row of MD5 as the page shows it: eight digits tell them apart."""
    return Row(key, tuple(value[:8] if len(value) >= 32 else value for value in row.values))


def _method(comparison: Comparison) -> Iterator[str]:
    several, replicates = len(comparison.against) > 1, f"{comparison.replicates:,}"
    yield (
        "Compared are the test images that all experiments share, with the same label, true mask area and image size. "
        "Every figure is computed anew on them."
    )
    yield (
        f"Intervals: percentile bootstrap, {replicates} resamples of patients, not of images, because images of one "
        "patient are alike; each resample is the same for all experiments, so that the difference is paired. Where all "
        "resamples are alike, the exact bound for so many patients stands instead."
    )
    yield (
        "p: two-sided permutation test that exchanges the two experiments for whole patients (for the AUC their "
        f"ranks); all ways where there are no more than {replicates}, else so many drawn."
    )
    if several:
        yield (
            "Corrected p: Holm's correction for the number of experiments compared with the reference, for each figure "
            "on its own."
        )
    yield (
        "Better or worse is said only where the interval leaves out 0 and the "
        f"{'corrected ' if several else ''}p is at most 0.05. No difference shown does not mean no difference: the "
        "interval says how large it may be."
    )
    deciding = "Dice over all images" if comparison.masks else "The AUC, where not every experiment has a Dice,"
    yield (
        f"{deciding} is the figure to decide by. The others say where a difference comes from; they are not corrected "
        "for being several, so that a single one of them proves little."
    )
    yield (
        "The intervals are about other patients like these. They do not hold how much the figures change when the same "
        "configuration is trained again with another seed; compare two such runs to see it."
    )
