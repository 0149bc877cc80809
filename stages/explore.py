"""Stage explore: tables and statistical plots of the data set."""

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write metrics/explore."""
    from pneumoseg.explore.explore import explore

    explore(
        metadata=Path("data/metadata.csv"),
        annotations=Path("data/annotations.csv"),
        masks=Path("data/masks"),
        out=Path("metrics/explore"),
        params=params.explore,
    )


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
