"""Stage extract: radiographs to PNG images and a table of metadata without identities."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Write data/images, data/metadata.csv, data/rejected.csv and metrics/extract.json."""
    from pneumoseg.extract.extraction import extract

    extract(Layout(), params.data, params.extract, params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(work))
