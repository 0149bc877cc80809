"""The page of a comparison: one index.html that opens from disk without a network, and its numbers beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from pneumoseg import report
from pneumoseg.compare.comparing import MIN_PATIENTS, Comparison
from pneumoseg.compare.comparison_charts import STYLES, curve_drawings, forest_chart
from pneumoseg.compare.comparison_tables import (
    differences_table,
    experiments_table,
    figures_table,
    images_view,
    rows_table,
    shortened,
    sizes_table,
)
from pneumoseg.compare.configuration_rows import DATA
from pneumoseg.compare.record import MADE_BY, record
from pneumoseg.compare.wording import (
    against_empty,
    all_empty,
    common_images,
    main_verdict,
    other_verdicts,
    verdict_kind,
)
from pneumoseg.drawing.plotting import palette_css
from pneumoseg.report.parts import listed, number
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path, write_json

_TEMPLATES = Path(__file__).with_name("templates")
#: Where the report's look lies: its style and the pieces of its pages.
_SHARED = Path(report.__file__).with_name("templates")
_SECTIONS: Final = {
    "result": "Result",
    "figures": "Figures",
    "images": "Images",
    "training": "Training",
    "configuration": "Configuration",
    "method": "Method",
}
RECORD: Final = "comparison.json"


def check_folder(out: Path) -> None:
    """See that ``out`` may be written to: it is not there, empty, or holds an earlier comparison.

    Raises:
        DataError: it is something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file; give --out a folder")
    if any(out.iterdir()) and not _is_ours(out / RECORD):
        raise DataError(f"{out}: holds files, but no {RECORD} of this command; give --out a new or an empty folder")


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(content, dict) and content.get("made_by") == MADE_BY


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write index.html and comparison.json into ``out``; other files of an earlier comparison's folder stay.

    Raises:
        DataError: see check_folder.
    """
    check_folder(out)
    # Strict: a name that the view lacks is an error here, not a hole in the page.
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_TEMPLATES, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = pages.get_template("comparison.html").render(
        view=_view(comparison),
        style=Markup(palette_css() + (_SHARED / "style.css").read_text("utf-8")),  # noqa: S704 - our own
        more_style=Markup((_TEMPLATES / "comparison.css").read_text("utf-8")),  # noqa: S704 - our own file
    )
    # The mark first: a run that is broken off leaves a folder that the next one knows as its own.
    write_json(out / RECORD, record(comparison))
    with atomic_path(out / "index.html") as temporary:
        temporary.write_bytes(page.encode())


def _view(comparison: Comparison) -> dict[str, Any]:
    """What the template shows; every value is plain text, a chart of ours, or made of them."""
    names = [item.name for item in comparison.experiments]
    return {
        "title": "Comparison of experiments",
        "subtitle": f"{listed(names[1:])} against {names[0]}; {common_images(comparison)}",
        "phantom": comparison.pairing.phantom,
        "sections": tuple(_SECTIONS.items()),
        "grave": [caution.text for caution in comparison.cautions if caution.grave],
        "cautions": [caution.text for caution in comparison.cautions if not caution.grave],
        "verdicts": [
            (verdict_kind(item.differences["dice_all"]), (main_verdict(comparison, item), other_verdicts(item)))
            for item in comparison.against
        ],
        "against_empty": against_empty(comparison),
        "all_empty": number(all_empty(comparison)),
        "forest": forest_chart(comparison),
        "experiments": experiments_table(comparison),
        "figures": figures_table(comparison),
        "differences": [differences_table(comparison, item) for item in comparison.against],
        "sizes": sizes_table(comparison),
        "min_patients": MIN_PATIENTS,
        "against": [images_view(comparison, index, item) for index, item in enumerate(comparison.against, start=1)],
        "curves": tuple(curve_drawings(comparison)),
        "curves_note": _curves_note(comparison),
        "parameters": rows_table("Parameters that differ", comparison.parameters, names),
        "data": rows_table("MD5 of the data", [shortened(row, DATA[row.key]) for row in comparison.data], names),
        "data_differ": any(row.differs for row in comparison.data),
        "data_known": all(row.known for row in comparison.data),
        "code": rows_table("Code that differs", [shortened(row, row.key) for row in comparison.code], names),
        "method": _method(comparison),
    }


def _curves_note(comparison: Comparison) -> str:
    folds = next(row for row in comparison.data if row.key.endswith("folds.csv"))
    notes = [
        "Validation figures chose the epoch, so they flatter; a loss can only be compared where the loss is the same."
    ]
    if folds.differs:
        notes.append("The folds differ: these are figures of different validation images.")
    if len(comparison.experiments) > STYLES:
        notes.append(f"The first {STYLES} experiments are drawn.")
    return " ".join(notes)


def _method(comparison: Comparison) -> tuple[str, ...]:
    several, replicates = len(comparison.against) > 1, f"{comparison.replicates:,}"
    return tuple(
        text
        for text in (
            "Compared are the test images that all experiments share, with the same true mask area and image size. "
            "Every figure is computed anew on them.",
            f"Intervals: percentile bootstrap, {replicates} resamples of patients, not of images, because images of "
            "one patient are alike; each resample is the same for all experiments, so that the difference is paired. "
            "Where all resamples are alike, the exact bound for so many patients stands instead.",
            "p: two-sided permutation test that exchanges the two experiments for whole patients (for the AUC their "
            f"ranks); all ways where there are no more than {replicates}, else so many drawn.",
            "Corrected p: Holm's correction for the number of experiments compared with the reference, for each figure "
            "on its own."
            if several
            else "",
            "Better or worse is said only where the interval leaves out 0 and the "
            f"{'corrected ' if several else ''}p is at most 0.05. No difference shown does not mean no difference: the "
            "interval says how large it may be.",
            "Dice over all images is the figure to decide by. The others say where a difference comes from; they are "
            "not corrected for being several, so that a single one of them proves little.",
            "The intervals are about other patients like these. They do not hold how much the figures change when the "
            "same configuration is trained again with another seed; compare two such runs to see it.",
        )
        if text
    )
