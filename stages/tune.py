"""Stage tune: the decision rule, chosen on validation images."""

from __future__ import annotations

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Search the rules of params.tune on the maps of data/predictions/validation."""
    from pneumoseg.tune.tuning import tune

    tune(
        predictions=Path("data/predictions"),
        masks=Path("data/masks"),
        folds_csv=Path("data/splits/folds.csv"),
        metadata_csv=Path("data/metadata.csv"),
        out_json=Path("metrics/thresholds.json"),
        out_dir=Path("metrics/tune"),
        params=params.tune,
        workers=params.runtime.workers,
    )


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
