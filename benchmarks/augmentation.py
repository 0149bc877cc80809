"""Milliseconds an image for every recipe of params.yaml, image and mask together, on one core."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
from ruamel.yaml import YAML

from pneumoseg.augment import Augmenter
from pneumoseg.config.augment import NONE, AugmentParams

SIDES_PX = (256, 512)
REPEATS = 30


def main() -> str:
    """Time each recipe as a DataLoader worker would run it, seeding included; returns a table."""
    section = YAML(typ="safe").load(Path(__file__).resolve().parent.parent / "params.yaml")["augment"]
    params = AugmentParams.model_validate_json(json.dumps(section))
    augmenter = Augmenter(params)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    lines = [f"Augmentation, milliseconds an image with its mask, one core, mean of {REPEATS} draws"]
    lines.append(f"{'recipe':<26}" + "".join(f"{side:>6}²" for side in SIDES_PX))
    try:
        for recipe in (NONE, *params.recipes):
            costs = [_milliseconds(augmenter, recipe, side) for side in SIDES_PX]
            lines.append(f"{recipe:<26}" + "".join(f"{cost:>7.2f}" for cost in costs))
    finally:
        cv2.setNumThreads(threads)
    return "\n".join(lines)


def _milliseconds(augmenter: Augmenter, recipe: str, side_px: int) -> float:
    image = np.random.default_rng(0).integers(0, 256, (side_px, side_px), dtype=np.uint8)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8)
    mask = np.zeros_like(image)
    mask[side_px // 8 : side_px // 3, side_px // 8 : side_px // 4] = 255
    augmenter(recipe, image, mask, 0)
    start = time.perf_counter()
    for seed in range(REPEATS):
        augmenter(recipe, image, mask, seed)
    return (time.perf_counter() - start) / REPEATS * 1000


if __name__ == "__main__":
    print(main())
