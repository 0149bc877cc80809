"""Memory and speed of training by encoder, size and batch: of the card at hand, and what counting says of others."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.training import train_synthetic
from pneumoseg.config import load_params
from pneumoseg.networks.building import build_network
from pneumoseg.networks.memory import checkpoint_activations, largest_batch, training_bytes

ENCODERS = ("resnet34", "efficientnet-b4", "se_resnext101_32x4d")
SIZES_PX = (512, 1024)
BATCHES = (8, 16, 32, 64)
CARDS_GIB = (11, 16, 24, 80)
PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"


def main() -> str:
    """A row an encoder, size and batch, under bf16: GiB by counting, and on a GPU the peak and images a second."""
    here = torch.cuda.is_available()
    cards = "".join(f"{f'{size} GiB':>8}" for size in CARDS_GIB)
    lines = [
        "Memory of training, U-Net, bf16, Adam; right: the largest batch that should fit a card",
        f"{'encoder':<22}{'':<14}{'px':>6}{'batch':>6}{'counted':>9}{'peak GiB':>10}{'images/s':>10}{cards}",
    ]
    for encoder in ENCODERS:
        for lean in (False, True):
            lines += _rows(encoder, lean, here)
    if not here:
        lines.append("Peak and images a second: not measured here, this machine has no NVIDIA GPU.")
    return "\n".join(lines)


def _rows(encoder: str, lean: bool, here: bool) -> list[str]:
    model = build_network(load_params(PARAMS).model.model_copy(update={"encoder": encoder, "weights": None}))
    if lean:
        checkpoint_activations(model)
    rows = []
    for size_px in SIZES_PX:
        fits = "".join(f"{largest_batch(model, size_px, 2, size * 2**30):8d}" for size in CARDS_GIB)
        for batch in BATCHES:
            counted = training_bytes(model, size_px, 2, batch) / 2**30
            measured = f"{'':>20}"
            if here and counted * 2**30 < torch.cuda.mem_get_info()[0]:
                rate, peak = train_synthetic(encoder, size_px, batch, checkpointed=lean)
                measured = f"{peak:10.1f}{rate:10.0f}"
            how = "checkpointed" if lean else ""
            rows.append(f"{encoder:<22}{how:<14}{size_px:>6}{batch:>6}{counted:9.1f}{measured}{fits}")
    return rows
