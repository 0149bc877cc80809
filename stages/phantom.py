"""Stage phantom: chest radiograph phantoms as DICOM files and an RLE table, in SIIM layout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Write data/phantom anew."""
    from pneumoseg.phantom import generate

    generate(Layout(), params.phantom, params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(work))
