"""Stage predict: probability maps of validation, test and unlabelled images."""

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/predictions from data/models and predict.members."""
    from pneumoseg.predict.bringing import Repository
    from pneumoseg.predict.predicting import predict
    from pneumoseg.shared import revisions
    from pneumoseg.shared.fingerprints import project_root, stage_code

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
        Repository(project_root(), stage_code(Path(), "predict"), revisions),
    )


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
