"""Stage explore: tables and statistical plots of the data set."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Write metrics/explore."""
    from pneumoseg.explore.exploring import explore

    explore(Layout(), params.explore)


if __name__ == "__main__":
    sys.exit(run_stage(work))
