"""Instances in the format of COCO (cocodataset.org, format-data): a component of a mask is an instance."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.export.samples import TEST, Sample
from pneumoseg.shared.files import write_json
from pneumoseg.shared.rle import runs_of

_CATEGORY = {"id": 1, "name": "pneumothorax", "supercategory": "finding"}


def write_coco(folder: Path, samples: Sequence[Sample], folds: Sequence[str]) -> None:
    """Write images/, and annotations/ with test.json, fold<k>_train.json and fold<k>_val.json.

    Images without pneumothorax are in them, too: an engine may drop them, a comparison must not.
    """
    (folder / "images").mkdir(parents=True)
    described: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    for number, sample in enumerate(samples, 1):
        name = f"{sample.image_id}.png"
        shutil.copyfile(sample.image, folder / "images" / name)
        mask = sample.picture_mask()
        image = {"id": number, "file_name": name, "height": mask.shape[0], "width": mask.shape[1]}
        described[sample.image_id] = (image, instances(mask, number))
    _write(folder / "annotations/test.json", [sample for sample in samples if sample.fold == TEST], described)
    for fold in folds:
        parts = {
            "train": [sample for sample in samples if sample.fold not in (fold, TEST)],
            "val": [sample for sample in samples if sample.fold == fold],
        }
        for part, chosen in parts.items():
            _write(folder / f"annotations/fold{fold}_{part}.json", chosen, described)


def instances(mask: NDArray[np.bool_], image: int) -> list[dict[str, Any]]:
    """The 8-connected components of a mask, (H, W), without ids: uncompressed column-major RLE, area and box."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    found = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in boxes[label])
        # COCO counts background and marked pixels in turns, from background on, to the last pixel.
        edges = np.concatenate([[0], runs_of(labels == label).ravel(), [mask.size]])
        counts = np.diff(edges).tolist()
        segmentation = {"size": list(mask.shape), "counts": counts if counts[-1] else counts[:-1]}
        box = [left, top, width, height]
        found.append({"image_id": image, "segmentation": segmentation, "area": area, "bbox": box})
    return found


def _write(
    path: Path, samples: Sequence[Sample], described: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]
) -> None:
    found = [instance for sample in samples for instance in described[sample.image_id][1]]
    content = {
        "images": [described[sample.image_id][0] for sample in samples],
        "annotations": [{"id": i, "category_id": 1, "iscrowd": 0, **instance} for i, instance in enumerate(found, 1)],
        "categories": [_CATEGORY],
    }
    write_json(path, content)
