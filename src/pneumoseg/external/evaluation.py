"""Stage external_evaluate: the figures of an external set under the rule that was tuned on the project's own images."""

from __future__ import annotations

import logging
from typing import Any

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.assessing import Judged, assess, judge
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.evaluate.result import Note, Overlap, TestResult, WithoutShared
from pneumoseg.rule.cases import Predictions
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import Columns
from pneumoseg.split.overlap import PARTS, REASONS, find_shared

logger = logging.getLogger(__name__)

#: cases.csv of a set: as test_cases.csv, and how and with which part of data.root an image is shared (see overlap).
CASES: Columns = {**TEST_CASES, "shared_by": "text", "shared_with": "text"}


def evaluate_site(site: Layout, params: EvaluateParams, workers: int | None = None) -> TestResult:
    """Judge a set: the same figures as of the test images, under the same rule and temperature.

    Nothing is tuned on the set: rule and temperature come from the main set's validation images. Images that the main
    set has too are counted, and figures without them are given beside.

    Args:
        site: the set, extracted and predicted; its figures and cases are written.
        params: section evaluate.
        workers: threads; None one a core. No output depends on it.

    Returns:
        What was written to ``site.test``.

    Raises:
        DataError: files are missing or contradict each other.
    """
    judged = judge(site, Predictions.read(site), params, workers)
    shared = find_shared(site)
    overlap = Overlap(
        images=len(shared),
        by={reason: int((shared["reason"] == reason).sum()) for reason in REASONS},
        parts={part: int((shared["part"] == part).sum()) for part in PARTS},
    )
    told: dict[str, Any] = {"overlap": overlap}
    if len(shared):
        note = Note(code="shared", text=_describe(overlap, judged.result.n))
        logger.warning("external set %s: %s", site.name, note.text)
        told["without_shared"] = _without(judged, set(shared["image_id"]), params)
        told["notes"] = (note, *judged.result.notes)
    columns = {"reason": "shared_by", "part": "shared_with"}
    rows = judged.rows.merge(shared.rename(columns=columns), on="image_id", how="left")
    judged.write_rows(site, CASES, rows.fillna(dict.fromkeys(columns.values(), "")))
    result = judged.result.model_copy(update=told)
    result.write(site.test)
    return result


def _without(judged: Judged, shared: set[str], params: EvaluateParams) -> WithoutShared:
    """The figures of the images that are not shared; only n where none is left."""
    rows = judged.rows[~judged.rows["image_id"].isin(shared)].reset_index(drop=True)
    if rows.empty:
        return WithoutShared(n=0)
    result = assess(rows, judged.labels, params, "external")
    return WithoutShared(n=result.n, n_positive=result.n_positive, n_patients=result.n_patients, figures=result.figures)


def _describe(overlap: Overlap, count: int) -> str:
    training = overlap.parts["training"]
    learnt = f"{training} of them with images that networks or rule were made with" if training else "none in training"
    known = ", ".join(f"{number} by {reason}" for reason, number in overlap.by.items() if number)
    return (
        f"{overlap.images} of {count} images share their radiograph or patient with data.root ({known}; {learnt}): "
        "for these the set is not external"
    )
