"""Stage split: patient-safe folds, a test set, and the balanced, augmented manifest of each fold."""

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Divide the images of data/metadata.csv; writes data/splits and metrics/split.json."""
    from pneumoseg.split.splitting import split

    split(
        metadata=Path("data/metadata.csv"),
        annotations=Path("data/annotations.csv"),
        images=Path("data/images"),
        masks=Path("data/masks"),
        out=Path("data/splits"),
        metrics=Path("metrics/split.json"),
        params=params.split,
        augment_params=params.augment,
        workers=params.runtime.workers,
    )


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
