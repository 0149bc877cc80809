"""Stage phantom: chest radiograph phantoms as DICOM files and an RLE table, in SIIM layout."""

import sys

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/phantom anew."""
    from pneumoseg.phantom import generate

    generate(Layout(), params.phantom, params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(work))
