"""Stage tune: the decision rule, chosen on validation images."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Search the rules of params.tune on the maps of data/predictions/validation."""
    from pneumoseg.shared.layout import Layout
    from pneumoseg.tune.tuning import tune

    tune(Layout(), params.tune, params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(work))
