"""The boxes around the lungs of a fold's images, and what of the lesions lies outside of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumoseg.networks.lungs import LungFinder
from pneumoseg.rule.crop import Box
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import map_threads

logger = logging.getLogger(__name__)

_BATCH = 16


def find_boxes(finder: LungFinder, image_ids: Sequence[str], layout: Layout) -> dict[str, Box]:
    """The box of each image, in the order of the ids.

    Args:
        finder: of section model.lungs.
        image_ids: as in manifests.
        layout: of the main set.
    """

    def of(ids: Sequence[str]) -> list[Box]:
        if not finder.by_masks:
            return finder.boxes([read_png(layout.image(image_id)) for image_id in ids])
        paths = [layout.lung_mask(image_id) for image_id in ids]
        nothing = [np.zeros((1, 1), np.uint8)] * len(ids)  # nobody looks at the radiographs
        return finder.boxes(nothing, [read_png(path) if path.is_file() else None for path in paths])

    parts = [image_ids[start : start + _BATCH] for start in range(0, len(image_ids), _BATCH)]
    # A network computes with all cores by itself.
    found = map_threads(of, parts, None if finder.by_masks else 1, "lungs")
    return dict(zip(image_ids, (box for boxes in found for box in boxes), strict=True))


def tell_boxes(boxes: Mapping[str, Box]) -> None:
    """Log how many images are seen whole, and why."""
    whole = Counter(box.whole for box in boxes.values() if box.whole)
    told = ", ".join(f"{count} {why}" for why, count in whole.most_common(3))
    logger.info("%d of %d images are cropped to their lungs%s", len(boxes) - whole.total(), len(boxes),
                f"; the others are seen whole ({told})" if whole else "")  # fmt: skip
    if whole.total() == len(boxes):
        logger.warning("model.lungs: no image has lungs to be cropped to (%s); see data.lungs", told)


def count_cut(boxes: Mapping[str, Box], layout: Layout) -> dict[str, Any]:
    """What the crop leaves out, for the summary of a fold.

    Returns:
        ``n_seen_whole`` images; ``lesion_px`` of all known masks, ``lesion_cut_px`` of them outside of their box, and
        ``lesion_cut_worst``, the largest share of one image.
    """

    def of(image_id: str) -> tuple[int, int]:
        path = layout.mask(image_id)
        mask = read_png(path) > 0 if path.is_file() else np.zeros((1, 1), np.bool_)
        return int(np.count_nonzero(mask)), int(np.count_nonzero(boxes[image_id].cut(mask)))

    counted = map_threads(of, list(boxes), None, "lesions in the crop")
    total, inside = (sum(column) for column in zip(*counted, strict=True))
    worst = max((1 - kept / px for px, kept in counted if px), default=0.0)
    whole = sum(bool(box.whole) for box in boxes.values())
    return {
        "n_seen_whole": whole,
        "lesion_px": total,
        "lesion_cut_px": total - inside,
        "lesion_cut_worst": worst,
    }
