"""Stage split: patient-safe folds, a test set, and the balanced, augmented manifest of each fold."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Write data/splits and metrics/split.json."""
    from pneumoseg.split.splitting import split

    split(Layout(), params.split, params.augment, params.runtime.workers, sorted(params.data.more))


if __name__ == "__main__":
    sys.exit(run_stage(work))
