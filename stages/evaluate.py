"""Stage evaluate: the figures of the test images and the submission."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Apply metrics/thresholds.json to data/predictions/test and to the images without annotation."""
    from pneumoseg.evaluate.evaluating import evaluate
    from pneumoseg.shared.layout import Layout
    from pneumoseg.shared.leftovers import remove_stale_sites
    from pneumoseg.track import record_test

    remove_stale_sites(Layout(), params.evaluate.external)
    evaluate(Layout(), params.evaluate, params.runtime.workers)
    record_test(Layout(), params)


if __name__ == "__main__":
    sys.exit(run_stage(work))
