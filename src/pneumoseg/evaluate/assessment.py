"""Stage evaluate: the figures of the test images under the tuned rule, their tables and plots, and the submission."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.assessing import assess, validation_labels
from pneumoseg.evaluate.curves import write_plots
from pneumoseg.evaluate.measuring import TEST_CASES, measure, read_attributes, table_of
from pneumoseg.evaluate.submission import choose_ids, write_submission
from pneumoseg.rule.cases import for_each, read_cases, read_predicted
from pneumoseg.rule.decision import read_rule
from pneumoseg.shared.files import fresh_dir, write_json
from pneumoseg.shared.tables import write_table


@dataclass(frozen=True)
class Outputs:
    """Where the stage writes; each is rewritten completely."""

    figures_json: Path
    cases_csv: Path
    plots: Path
    submission_csv: Path


def evaluate(
    predictions: Path,
    masks: Path,
    annotations_csv: Path,
    metadata_csv: Path,
    folds_csv: Path,
    thresholds_json: Path,
    outputs: Outputs,
    params: EvaluateParams,
    workers: int | None = None,
) -> dict[str, Any]:
    """Judge the test images and write the submission.

    Args:
        predictions: folder with images.csv and the maps, uint8 round(255 p), of all sets.
        masks: folder of true masks, positives only.
        annotations_csv: labels, checked against the masks.
        metadata_csv: sizes, pixel spacing, sex, age, view position.
        folds_csv: image_id, patient, fold.
        thresholds_json: of the stage tune.
        outputs: where to write.
        params: section evaluate.
        workers: threads; None for one a core. No output depends on it.

    Returns:
        What was written to ``outputs.figures_json``, NaN where that has null.

    Raises:
        DataError: there is no test image, or files contradict each other.
    """
    rule = read_rule(thresholds_json)
    choose_ids(read_predicted(predictions), params.submission_ids)  # a mistake there is told before the long part
    known = read_attributes(metadata_csv, annotations_csv)
    cases = read_cases(predictions, folds_csv, masks, "test")
    measured = for_each(partial(measure, rule=rule, known=known, params=params), cases, workers, "test images")
    rows = table_of(measured)
    labels = validation_labels(predictions, folds_csv, masks) if params.temperature_scaling else []
    content = assess(rows, measured, labels, params)
    content["rule"] = [rule.describe()]
    write_submission(predictions, rule, params.submission_ids, outputs.submission_csv)
    write_table(outputs.cases_csv, rows, TEST_CASES)
    write_plots(fresh_dir(outputs.plots), rows, content)
    write_json(outputs.figures_json, content)
    return content
