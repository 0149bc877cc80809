"""Stage predict: probability maps of validation, test and unlabelled images."""

import sys
from pathlib import Path

from pneumoseg.params import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/predictions from data/models."""
    from pneumoseg.inference.run import predict

    predict(
        Path("data/models"),
        Path("metrics/train"),
        params.split.train_folds,
        Path("data/images"),
        Path("data/metadata.csv"),
        Path("data/annotations.csv"),
        Path("data/splits/folds.csv"),
        Path("data/predictions"),
        params.predict,
        params.runtime,
    )


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
