"""Training steps: ours against the plain script everyone starts from (fp32, contiguous, PNG decoded each time)."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.loading import _write, fold_of
from pneumoseg.augment import Augmenter
from pneumoseg.config import load_params
from pneumoseg.networks.building import build_network
from pneumoseg.networks.family import Batch
from pneumoseg.networks.memory import checkpoint_activations
from pneumoseg.networks.preparation import normalise
from pneumoseg.shared.devices import autocast, choose_device, choose_precision
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.train.dataset import TrainingSet
from pneumoseg.train.sampling import Sample

Batches = Iterator[Batch]
PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"


@dataclass(frozen=True)
class Variant:
    """A way to train."""

    label: str
    fast: bool = True  # auto precision, channels last, memory-mapped images; else the plain script
    compiled: bool = False
    checkpointed: bool = False


PLAIN = Variant("plain fp32, PNG each time", fast=False)
CPU = (PLAIN, Variant("ours"), Variant("ours + activation checkpointing", checkpointed=True))
GPU = (
    PLAIN,
    Variant("bf16, channels last"),
    Variant("bf16, channels last, compiled", compiled=True),
    Variant("bf16, channels last, checkpointed", checkpointed=True),
)


def main() -> str:
    """Images a second and peak memory; U-Net ResNet-34 at 256² on a CPU, the reference encoders at 512² on a GPU."""
    on_gpu = choose_device("auto") == "cuda"
    encoders = ("efficientnet-b4", "se_resnext101_32x4d", "resnet34") if on_gpu else ("resnet34",)
    lines = [
        f"Training, U-Net at {512 if on_gpu else 256}², {'cuda' if on_gpu else 'cpu'}",
        f"{'encoder':<22}{'':<36}{'batch':>6}{'images/s':>10}{'ratio':>7}{'peak GiB':>10}{'data wait':>11}",
    ]
    for encoder in encoders:
        lines += _rows(encoder, on_gpu)
    if not on_gpu:
        lines.append("GPU figures: not measured here, this machine has none.")
    return "\n".join(lines)


def _rows(encoder: str, on_gpu: bool) -> list[str]:
    rows, first = [], 0.0
    for variant in GPU if on_gpu else CPU:
        figures = _measure(encoder, variant, 8, on_gpu)
        first = first or figures[0]
        rows.append(_row(encoder, variant, 8, figures, first))
    if on_gpu:
        rows += _largest_batch(encoder, first)
    return rows


def _largest_batch(encoder: str, first: float) -> list[str]:
    """Twice the batch as long as it fits; the fastest of them."""
    best, row, batch = 0.0, [], 16
    while True:
        try:
            figures = _measure(encoder, GPU[1], batch, on_gpu=True)
        except torch.cuda.OutOfMemoryError:
            return row
        if figures[0] > best:
            best, row = figures[0], [_row(encoder, GPU[1], batch, figures, first)]
        batch *= 2


def _row(encoder: str, variant: Variant, batch: int, figures: tuple[float, float, float], first: float) -> str:
    rate, memory, waited = figures
    peak = f"{memory:10.2f}" if memory else f"{'':>10}"
    return f"{encoder:<22}{variant.label:<36}{batch:6d}{rate:10.1f}{rate / first:7.2f}{peak}{waited:11.1%}"


def _measure(encoder: str, variant: Variant, batch: int, on_gpu: bool, workers: int = 8) -> tuple[float, float, float]:
    """Images a second, peak GiB of GPU memory (0 on a CPU), share of time spent waiting for data."""
    steps, warm, size_px = (60, 20, 512) if on_gpu else (14, 2, 256)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        ids = _write(root)
        make = _ours if variant.fast else _plain
        source = make(root, ids, size_px, steps + warm, batch, workers=workers if on_gpu else 0)
        return _train(encoder, "cuda" if on_gpu else "cpu", source, warm, variant)


def _train(encoder: str, device: str, source: Batches, warm: int, variant: Variant) -> tuple[float, float, float]:
    params = load_params(PARAMS)
    precision = choose_precision("auto" if variant.fast else "fp32", device)  # type: ignore[arg-type]
    layout = torch.channels_last if variant.fast else torch.contiguous_format
    network = build_network(params.model.model_copy(update={"encoder": encoder})).to(device).to(memory_format=layout)
    if variant.checkpointed:
        checkpoint_activations(network)
    model = torch.compile(network, dynamic=False) if variant.compiled else network
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, fused=(variant.fast and device == "cuda") or None)
    objective = FAMILIES[params.model.architecture].objective(params.train.loss)
    if device == "cuda":
        torch.backends.cudnn.benchmark = variant.fast
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began, images, waited, asked = time.perf_counter(), 0, 0.0, time.perf_counter()
    for number, batch_of in enumerate(source):
        if number == warm:
            _wait(device)
            began, images, waited = time.perf_counter(), 0, 0.0
        elif number > warm:
            waited += time.perf_counter() - asked
        pixels = normalise(batch_of.images.to(device, non_blocking=True), network).contiguous(memory_format=layout)
        with autocast(device, precision):  # type: ignore[arg-type]
            terms, _ = objective(model, pixels, batch_of.truth(device))
        terms["loss"].backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        images += len(batch_of.ids)
        asked = time.perf_counter()
    _wait(device)
    spent = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return images / spent, memory, waited / spent


def train_synthetic(
    encoder: str, size_px: int, batch: int, *, compiled: bool = False, checkpointed: bool = False, steps: int = 20
) -> tuple[float, float]:
    """Images a second and peak GiB of our steps on one batch that lies on the GPU: without loader and disk."""
    images = torch.randint(0, 256, (batch, size_px, size_px), dtype=torch.uint8, device="cuda")
    masks = torch.zeros_like(images)
    masks[::4, size_px // 4 : size_px // 2, size_px // 4 : size_px // 3] = 255
    one = Batch(
        images, masks, (masks.flatten(1).amax(1) > 0).byte(), torch.ones(batch, dtype=torch.bool), ["x"] * batch
    )
    variant = Variant("", compiled=compiled, checkpointed=checkpointed)
    rate, peak, _ = _train(encoder, "cuda", itertools.repeat(one, steps + 8), 8, variant)
    return rate, peak


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _plain(root: Path, ids: list[str], size_px: int, steps: int, batch: int, workers: int) -> Batches:
    """Decode, resize and stack in the training process."""
    for step in range(steps):
        names = [ids[(step * batch + index) % len(ids)] for index in range(batch)]
        parts = []
        for folder in ("images", "masks"):
            read = [cv2.imread(str(root / "data" / folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE) for name in names]
            parts.append(torch.from_numpy(np.stack([cv2.resize(image, (size_px, size_px)) for image in read])))
        images, masks = parts
        yield Batch(images, masks, masks.flatten(1).amax(1) > 0, torch.ones(batch, dtype=torch.bool), names)


def _ours(root: Path, ids: list[str], size_px: int, steps: int, batch: int, workers: int) -> Batches:
    data = fold_of(root, ids)
    images = TrainingSet(data, Augmenter(load_params(PARAMS).augment), root / "arrays", workers, workers > 0)
    groups = [
        [Sample(ids[(step * batch + index) % len(ids)], "horizontal_flip", step * batch + index)
         for index in range(batch)]
        for step in range(steps)
    ]  # fmt: skip
    yield from images.labelled(images.arrays(size_px), None).epoch(groups)
