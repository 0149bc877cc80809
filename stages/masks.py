"""Stage masks: run-length encoded annotations decoded and merged to one mask an image."""

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/masks, data/annotations.csv, data/rejected_annotations.csv and metrics/masks.json."""
    from pneumoseg.masks.merging import write_masks

    write_masks(
        annotations_csv=Path(params.data.annotations),
        metadata_csv=Path("data/metadata.csv"),
        masks_dir=Path("data/masks"),
        annotations_out=Path("data/annotations.csv"),
        rejected_out=Path("data/rejected_annotations.csv"),
        metrics_out=Path("metrics/masks.json"),
        params=params.masks,
        workers=params.runtime.workers,
    )


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
