"""Stage masks: what is known of each image, and one mask an image."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Write data/masks, data/annotations.csv, data/rejected_annotations.csv and metrics/masks.json."""
    from pneumoseg.masks.mask_files import write_masks
    from pneumoseg.shared.leftovers import remove_stale_more

    remove_stale_more(Layout(), params.data.more)
    write_masks(Layout(), params.data, params.masks, params.runtime.workers)


if __name__ == "__main__":
    sys.exit(run_stage(work))
