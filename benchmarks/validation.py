"""Validation beside training: what counting a map at its original size costs; the floor is what OpenCV alone takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch

from pneumoseg.rule.map_counts import count_maps

SIZES_PX = ((128, 1024), (256, 1024), (512, 1024), (128, 128), (256, 256))
BATCH, REPEATS = 8, 7


def main() -> str:
    """Milliseconds an image, a quarter of the images with a mask; on the CPU, and on a GPU where there is one."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    lines = [
        "Validation: a map enlarged, rounded and counted, ms an image",
        f"{'map px':>8}{'image px':>10}{'floor':>9}" + "".join(f"{device:>9}" for device in devices),
    ]
    chooser = np.random.default_rng(0)
    for small, whole in SIZES_PX:
        maps = torch.from_numpy(np.stack([_map(chooser, small) for _ in range(BATCH)]))
        shapes = [(whole, whole)] * BATCH
        masks = [np.packbits(_map(chooser, whole) > 0.8) if index % 4 == 0 else None for index in range(BATCH)]
        row = f"{small:>8}{whole:>10}{_milliseconds(partial(_floor, maps, whole)):9.2f}"
        for device in devices:
            count = partial(count_maps, maps.to(device), shapes, masks)
            row += f"{_milliseconds(count):9.2f}"
        lines.append(row)
    if len(devices) == 1:
        lines.append("On a GPU: not measured here, this machine has none.")
    return "\n".join(lines)


def _map(chooser: np.random.Generator, side_px: int) -> np.ndarray:
    coarse = chooser.random((8, 8), dtype=np.float32) ** 6
    return np.clip(cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), 0, 1)


def _floor(maps: torch.Tensor, whole: int) -> None:
    for one in maps.numpy():
        levels = cv2.convertScaleAbs(cv2.resize(one, (whole, whole)), alpha=255)
        cv2.calcHist([levels], [0], None, [256], [0, 256])


def _milliseconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1e3 * float(np.median(seconds)) / BATCH
