"""Stage external_predict: probability maps of one set of evaluate.external."""

import argparse
import sys
from functools import partial
from pathlib import Path

from pneumoseg.params import Params
from pneumoseg.stage import run_stage


def work(name: str, params: Params) -> None:
    """Write data/external/<name>/predictions from data/models and predict.members."""
    from pneumoseg import revisions
    from pneumoseg.external.prediction import predict_site
    from pneumoseg.external.sites import Site
    from pneumoseg.fingerprints import project_root, stage_code
    from pneumoseg.inference.bringing import Repository

    predict_site(
        Site.below(Path(), name),
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
