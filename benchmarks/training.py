"""Training steps: ours against the plain script everyone starts from (fp32, contiguous, PNG decoded each time)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.loading import _write
from pneumoseg.augment import Augmenter
from pneumoseg.devices import autocast, choose_device, choose_precision
from pneumoseg.models.factory import build_model
from pneumoseg.models.losses import build_loss
from pneumoseg.models.preparation import normalise
from pneumoseg.params import load_params
from pneumoseg.training.arrays import build_arrays
from pneumoseg.training.dataset import EpochLoader, TrainingImages
from pneumoseg.training.sampling import Sample

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def main() -> str:
    """Images a second and peak memory; U-Net ResNet-34 at 256² on a CPU, the reference encoders at 512² on a GPU."""
    device = choose_device("auto")
    on_gpu = device == "cuda"
    cases = (
        [("efficientnet-b4", 512), ("se_resnext101_32x4d", 512), ("resnet34", 512)] if on_gpu else [("resnet34", 256)]
    )
    lines = [
        f"Training, U-Net, batch 8, {device}",
        f"{'encoder':<24}{'':<30}{'images/s':>9}{'ratio':>7}{'peak GiB':>10}",
    ]
    for encoder, size_px in cases:
        lines += _compare(encoder, size_px, device, steps=60 if on_gpu else 8, warm=20 if on_gpu else 2)
    if not on_gpu:
        lines.append("GPU figures: not measured here, this machine has none.")
    return "\n".join(lines)


def _compare(encoder: str, size_px: int, device: str, steps: int, warm: int) -> list[str]:
    lines, first = [], 0.0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        ids = _write(root)
        for label, ours in (("plain fp32, PNG each time", False), ("ours", True)):
            source = _ours(root, ids, size_px, steps + warm) if ours else _plain(root, ids, size_px, steps + warm)
            rate, memory = _train(encoder, device, source, warm, fast=ours)
            first = first or rate
            peak = f"{memory:10.2f}" if memory else f"{'':>10}"
            lines.append(f"{encoder:<24}{label:<30}{rate:9.1f}{rate / first:7.2f}{peak}")
    return lines


def _train(encoder: str, device: str, source: Batches, warm: int, *, fast: bool) -> tuple[float, float]:
    params = load_params(Path(__file__).resolve().parent.parent / "params.yaml")
    precision = choose_precision("auto" if fast else "fp32", device)  # type: ignore[arg-type]
    layout = torch.channels_last if fast else torch.contiguous_format
    model = build_model(params.model.model_copy(update={"encoder": encoder})).to(device).to(memory_format=layout)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=(fast and device == "cuda") or None)
    loss = build_loss(params.train.loss)
    if device == "cuda":
        torch.backends.cudnn.benchmark = fast
        torch.cuda.reset_peak_memory_stats()
    began, images = 0.0, 0
    for number, (image, mask) in enumerate(source):
        if number == warm:
            _wait(device)
            began, images = time.perf_counter(), 0
        batch = normalise(image.to(device, non_blocking=True), model).contiguous(memory_format=layout)
        with autocast(device, precision):  # type: ignore[arg-type]
            output = model(batch)
        loss(output, mask.to(device).unsqueeze(1).float() / 255)["loss"].backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        images += len(image)
    _wait(device)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return images / (time.perf_counter() - began), memory


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _plain(root: Path, ids: list[str], size_px: int, steps: int) -> Batches:
    """Decode, resize and stack in the training process."""
    for step in range(steps):
        names = [ids[(step * 8 + index) % len(ids)] for index in range(8)]
        parts = []
        for folder in ("images", "masks"):
            read = [cv2.imread(str(root / folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE) for name in names]
            parts.append(torch.from_numpy(np.stack([cv2.resize(image, (size_px, size_px)) for image in read])))
        yield parts[0], parts[1]


def _ours(root: Path, ids: list[str], size_px: int, steps: int) -> Batches:
    params = load_params(Path(__file__).resolve().parent.parent / "params.yaml")
    arrays = build_arrays(root / "images", root / "masks", ids, size_px, root / "arrays", "benchmark")
    loader = EpochLoader(TrainingImages(arrays, Augmenter(params.augment), None), 0, pin_memory=False)
    groups = [
        [Sample(ids[(step * 8 + index) % len(ids)], "horizontal_flip", step * 8 + index) for index in range(8)]
        for step in range(steps)
    ]
    for image, mask, _ in loader.epoch(groups):
        yield image, mask
