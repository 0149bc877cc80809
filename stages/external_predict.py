"""Stage external_predict: probability maps of one set of evaluate.external."""

import argparse
import sys
from functools import partial
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(name: str, params: Params) -> None:
    """Write data/external/<name>/predictions from data/models and predict.members."""
    from pneumoseg.external.prediction import predict_site
    from pneumoseg.predict.bringing import Repository
    from pneumoseg.shared import revisions
    from pneumoseg.shared.fingerprints import project_root, stage_code
    from pneumoseg.shared.layout import Layout

    predict_site(
        Layout(site=name),
        Path("data/models"),
        Path("metrics/train"),
        params.split.train_folds,
        Path("data/splits/folds.csv"),
        params.predict,
        params.runtime,
        Repository(project_root(), stage_code(Path(), "external_predict"), revisions),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the stage; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", required=True, help="a name of evaluate.external")
    return run_stage(partial(work, parser.parse_args(argv).site))


if __name__ == "__main__":
    sys.exit(main())
