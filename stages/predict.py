"""Stages predict and external_predict: probability maps of the main set, or of one set of evaluate.external."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def main(argv: list[str] | None = None) -> int:
    """Run the stage; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", help="a name of evaluate.external; none: the main set")
    site = parser.parse_args(argv).site

    def work(params: Params) -> None:
        from pneumoseg.predict.predicting import predict
        from pneumoseg.shared.layout import Layout

        predict(Layout(site=site), params.split.train_folds, params.predict, params.runtime)

    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
