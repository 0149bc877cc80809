"""Stage extract: radiographs to PNG images and a table of metadata without identities."""

import sys

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/images, data/metadata.csv, data/rejected.csv and metrics/extract.json."""
    from pneumoseg.extract.extraction import extract

    extract(Layout(), params.data, params.extract, params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(work))
