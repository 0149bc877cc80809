"""Stage external_evaluate: the figures of an external set under the rule that was tuned on the project's own images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.assessing import Judged, assess, judge
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.evaluate.result import Group, Note, Overlap, TestResult, WithoutShared
from pneumoseg.rule.cases import Predictions, read_map
from pneumoseg.rule.decision import read_rule
from pneumoseg.shared.files import write_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import METADATA, Columns, read_table, unknown_patient, write_table
from pneumoseg.split.overlap import PARTS, REASONS, find_shared
from pneumoseg.stats.margins import Margin

logger = logging.getLogger(__name__)

#: cases.csv of a set: as test_cases.csv, and how and with which part of data.root an image is shared (see overlap).
CASES: Columns = {**TEST_CASES, "shared_by": "text", "shared_with": "text"}


def evaluate_site(
    site: Layout,
    params: EvaluateParams,
    workers: int | None = None,
    more: Sequence[str] = (),
    patient_map: Path | None = None,
) -> TestResult:
    """Judge a set: the same figures as of the test images, under the same rule and temperature.

    Nothing is tuned on the set: rule and temperature come from the main set's validation images. Images that the main
    set has too are counted, and figures without them are given beside. Of a set without labels only the calls are told.

    Args:
        site: the set, extracted and predicted; its figures and cases are written.
        params: section evaluate.
        workers: threads; None one a core. No output depends on it.
        more: names of data.more, which networks learnt from as well.
        patient_map: split.patient_map, which may tell the NIH names of data.root's images; None: there is none.

    Returns:
        What was written to ``site.test``.

    Raises:
        DataError: files are missing or contradict each other.
    """
    predictions, shared = Predictions.read(site), find_shared(site, more, patient_map)
    overlap = Overlap(
        images=len(shared),
        by={reason: int((shared["reason"] == reason).sum()) for reason in REASONS},
        parts={part: int((shared["part"] == part).sum()) for part in PARTS},
    )
    if predictions.folds.empty:
        return _only_predicted(site, predictions.images, overlap)
    judged = judge(site, predictions, params, workers)
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
    write_json(site.headline, result.headline())
    return result


def _only_predicted(site: Layout, images: pd.DataFrame, overlap: Overlap) -> TestResult:
    """Table and count of the calls in a set without labels: nothing is measured."""
    rule = read_rule(site.main.thresholds)
    about = read_table(site.metadata, METADATA).set_index("image_id").to_dict("index")
    rows = []
    for image_id, which, probability in images[["image_id", "set", "probability"]].itertuples(index=False):
        known, pixels = about[image_id], None
        if rule.mask_threshold is not None:
            levels = read_map(site.predictions / which / f"{image_id}.png")
            pixels = int(np.count_nonzero(rule.apply(levels, probability)))
        called = rule.opens(probability) if pixels is None else pixels > 0
        row = {"image_id": image_id, "patient": known["patient_id"] or unknown_patient(image_id), "called": int(called)}
        row |= {"probability": probability, "predicted_px": pixels, "image_px": known["rows"] * known["columns"]}
        rows.append(row | {name: known[name] for name in ("sex", "view_position", "phantom")})
    table = pd.DataFrame(rows)
    write_table(site.test_cases, table, CASES)
    said = (
        f"no image has a label, so nothing is measured; {int(table['called'].sum())} of {len(table)} images are called "
        f"positive: {site.test_cases.name} lists them, maps are in {site.predictions}"
    )
    logger.warning("external set %s: %s", site.name, said)
    nothing = Margin(difference=None, interval=(None, None), verdict="unknown")
    result = TestResult(
        n=0,
        phantom=int((table["phantom"] == 1).any()),
        beats_all_empty=nothing,
        beats_plain_05=nothing,
        plain_05=Group(),
        notes=(Note(code="no_labels", text=said),),
        rule=(rule.describe(),),
        overlap=overlap,
    )
    result.write(site.test)
    write_json(site.headline, result.headline())
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
        "for these the set is not external, as NIH ChestX-ray14 is not beside SIIM-ACR, whose radiographs it holds"
    )
