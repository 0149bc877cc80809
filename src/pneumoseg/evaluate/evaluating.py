"""Stage evaluate: the figures of the test images under the tuned rule, their tables and plots, and the submission."""

from __future__ import annotations

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.assessing import judge
from pneumoseg.evaluate.curves import write_plots
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.evaluate.result import TestResult
from pneumoseg.evaluate.submission import choose_ids, write_submission
from pneumoseg.rule.cases import Predictions
from pneumoseg.shared.files import fresh_dir, write_json
from pneumoseg.shared.layout import Layout


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
    write_json(layout.headline, judged.result.headline())
    return judged.result
