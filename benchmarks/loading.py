"""Data loading: images a second for one worker, and where its time goes; against decoding PNG files every time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pneumoseg.augment import Augmenter
from pneumoseg.config import load_params
from pneumoseg.networks.preparation import resize_image, resize_mask
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.train.arrays import build_arrays
from pneumoseg.train.dataset import EpochLoader, TrainingImages
from pneumoseg.train.fold_data import FoldData
from pneumoseg.train.pseudo_labels import no_pseudo_labels
from pneumoseg.train.sampling import Sample

IMAGES, SIDE_PX, SIZE_PX, BATCH, ROUNDS = 24, 1024, 512, 8, 4


def main() -> str:
    """Time loading at 512 x 512 from 1024 x 1024 PNG files, every recipe in turn; returns a table."""
    params = load_params(Path(__file__).resolve().parent.parent / "params.yaml")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            return _table(Path(name), Augmenter(params.augment), ["none", *params.augment.recipes])
    finally:
        cv2.setNumThreads(threads)


def fold_of(root: Path, ids: list[str]) -> FoldData:
    """The images of _write as a fold."""
    nothing = no_pseudo_labels()
    return FoldData(Layout(root), 0, nothing.rows, tuple(ids), (), frozenset(), nothing, "benchmark")


def _table(root: Path, augmenter: Augmenter, recipes: list[str]) -> str:
    ids = _write(root)
    began = time.perf_counter()
    arrays = build_arrays(fold_of(root, ids), SIZE_PX, root / "arrays")
    built = time.perf_counter() - began
    samples = [
        Sample(ids[number % IMAGES], recipes[number % len(recipes)], number) for number in range(IMAGES * ROUNDS)
    ]
    dataset = TrainingImages(arrays, augmenter, None, {})
    read = _seconds(lambda sample: (arrays.image(sample.image_id) + 0, arrays.mask(sample.image_id) + 0), samples)
    both = _seconds(dataset.__getitem__, samples)
    batches = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]
    items = [dataset[sample] for sample in samples[:BATCH]]
    collate = _seconds(lambda _: torch.utils.data.default_collate(items), batches) * len(batches) / len(samples)
    png = _seconds(
        lambda sample: (
            resize_image(read_png(root / "data/images" / f"{sample.image_id}.png"), SIZE_PX),
            resize_mask(read_png(root / "data/masks" / f"{sample.image_id}.png"), SIZE_PX),
        ),
        samples,
    )
    loader = EpochLoader(dataset, 1, pin_memory=False)
    list(loader.epoch(batches[:2]))  # the worker starts and builds its transforms
    began = time.perf_counter()
    list(loader.epoch(batches))
    rate = len(samples) / (time.perf_counter() - began)
    total = both + collate
    return "\n".join(
        [
            f"Loading at {SIZE_PX}², every recipe in turn, one core",
            f"{'one worker process':<34}{rate:8.0f} images/s",
            f"{'read from the memory map':<34}{read * 1e3:8.2f} ms an image {read / total:6.0%}",
            f"{'augment':<34}{(both - read) * 1e3:8.2f} ms an image {(both - read) / total:6.0%}",
            f"{'collate':<34}{collate * 1e3:8.2f} ms an image {collate / total:6.0%}",
            f"{'decode and resize PNG instead':<34}{png * 1e3:8.2f} ms an image, {png / read:.0f} x the memory map",
            f"{'building the arrays once':<34}{built / IMAGES * 1e3:8.2f} ms an image",
        ]
    )


def _seconds(work: Callable[[object], object], items: list) -> float:
    """Mean seconds of one item, after a first pass that warms caches."""
    for item in items[:BATCH]:
        work(item)
    began = time.perf_counter()
    for item in items:
        work(item)
    return (time.perf_counter() - began) / len(items)


def _write(root: Path) -> list[str]:
    ids = [f"image{number:02d}" for number in range(IMAGES)]
    for number, image_id in enumerate(ids):
        image, mask = smooth_image(number)
        write_png(root / "data/images" / f"{image_id}.png", image)
        write_png(root / "data/masks" / f"{image_id}.png", mask)
    return ids


def smooth_image(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Large structures and fine grain, SIDE_PX x SIDE_PX, and the brightest of them as a mask."""
    chooser = np.random.default_rng(seed)
    smooth = cv2.resize(chooser.normal(120, 50, (32, 32)), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    grainy = smooth + chooser.normal(0, 4, (SIDE_PX, SIDE_PX))
    return grainy.clip(0, 255).astype(np.uint8), np.where(smooth > 170, 255, 0).astype(np.uint8)
