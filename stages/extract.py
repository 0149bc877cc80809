"""DICOM files to PNG images and a table of metadata without identities."""

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/images, data/metadata.csv, data/rejected.csv and metrics/extract.json."""
    from pneumoseg.extract.extraction import extract

    extract(
        root=Path(params.data.root),
        images=Path("data/images"),
        metadata=Path("data/metadata.csv"),
        rejected=Path("data/rejected.csv"),
        metrics=Path("metrics/extract.json"),
        params=params.extract,
        workers=params.runtime.workers,
    )


def main() -> int:
    """Run the stage; 0 when all went well."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
