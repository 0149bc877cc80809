"""Stage split: patient-safe folds, a test set, and the balanced, augmented manifest of each fold."""

import sys

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/splits and metrics/split.json."""
    from pneumoseg.split.splitting import split

    split(Layout(), params.split, params.augment, params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(work))
