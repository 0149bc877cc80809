"""Stage phantom: chest radiograph phantoms as DICOM files and an RLE table, in SIIM layout."""

import sys

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/phantom anew."""
    from pneumoseg.phantom import generate

    generate(Layout(), params.phantom, params.runtime.workers)


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
