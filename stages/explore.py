"""Stage explore: tables and statistical plots of the data set."""

import sys

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write metrics/explore."""
    from pneumoseg.explore.exploring import explore

    explore(Layout(), params.explore)


if __name__ == "__main__":
    sys.exit(run_stage(work))
