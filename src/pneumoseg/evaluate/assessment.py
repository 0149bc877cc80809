"""Stage evaluate: the figures of the test images under the tuned rule, their tables and plots, and the submission."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pandas as pd

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.assessing import assess
from pneumoseg.evaluate.curves import write_plots
from pneumoseg.evaluate.measuring import TEST_CASES, measure, read_attributes, table_of
from pneumoseg.evaluate.result import TestResult
from pneumoseg.evaluate.submission import choose_ids, write_submission
from pneumoseg.rule.cases import Predictions
from pneumoseg.rule.decision import DecisionRule, read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import fresh_dir
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import map_threads
from pneumoseg.shared.tables import Columns, write_table


@dataclass(frozen=True)
class Judged:
    """The test images of a set under a rule.

    Attributes:
        rule: which one.
        rows: one an image, as test_cases.csv, and ``instances``.
        labels: probability and truth of the main set's validation images, for the temperature; empty for none.
        result: all figures.
    """

    rule: DecisionRule
    rows: pd.DataFrame
    labels: tuple[tuple[float, bool], ...]
    result: TestResult

    def write_rows(self, layout: Layout, columns: Columns, rows: pd.DataFrame | None = None) -> None:
        """Write the table of the images, or of rows that hold more about them."""
        table = self.rows if rows is None else rows
        write_table(layout.test_cases, table.drop(columns="instances"), columns)


def judge(layout: Layout, predictions: Predictions, params: EvaluateParams, workers: int | None) -> Judged:
    """Measure the test images of the main set or of an external one under the rule tuned on the main set.

    Args:
        layout: of the set.
        predictions: its tables.
        params: section evaluate.
        workers: threads; None for one a core. No figure depends on it.

    Raises:
        DataError: there is no test image, or files contradict each other.
    """
    rule = read_rule(layout.main.thresholds)
    known = read_attributes(layout.metadata)
    cases = predictions.cases("test")
    if (cases[0].map is None) != (rule.mask_threshold is None):
        raise DataError(
            f"{layout.main.thresholds} holds a rule of kind {rule.kind}, but {layout.predictions} "
            f"{'has no maps' if cases[0].map is None else 'has maps'}; run dvc repro tune"
        )
    rows = table_of(
        map_threads(
            partial(measure, rule=rule, known=known, params=params), cases, workers, f"test images of {layout.name}"
        )
    )
    labels: tuple[tuple[float, bool], ...] = ()
    if params.temperature_scaling:
        main = predictions if layout.site is None else Predictions.read(layout.main)
        labels = tuple((case.probability, case.label) for case in main.cases("validation"))
    result = assess(rows, labels, params, "test" if layout.site is None else "external")
    return Judged(rule, rows, labels, result.model_copy(update={"rule": (rule.describe(),)}))


def evaluate(layout: Layout, params: EvaluateParams, workers: int | None = None) -> TestResult:
    """Judge the test images and write their figures, tables and plots, and the submission.

    Args:
        layout: of the main set.
        params: section evaluate.
        workers: threads; None for one a core. No output depends on it.

    Returns:
        What was written to ``layout.test``.

    Raises:
        DataError: there is no test image, or files contradict each other.
    """
    predictions = Predictions.read(layout)
    # A mistake there is told before the long part.
    chosen = choose_ids(predictions.images, params.submission_ids)
    judged = judge(layout, predictions, params, workers)
    write_submission(layout, chosen, judged.rule)
    judged.write_rows(layout, TEST_CASES)
    write_plots(fresh_dir(layout.plots), judged.rows, judged.result)
    judged.result.write(layout.test)
    return judged.result
