"""Whether training compiles its network (train.compile), and the network so compiled."""

from __future__ import annotations

import logging
import shutil
from typing import Literal, cast

import torch
from torch import nn

from pneumoseg.config.train import TrainParams
from pneumoseg.networks.network import Network

logger = logging.getLogger(__name__)

#: Images of 512 x 512 from which on compiling pays. Measured on an H200 with a U-Net ResNet-34 in bf16: it took 60 s
#: and saved 0.43 ms an image; larger networks should save more, and take longer.
PAYS_FROM = 150_000
_SIDE_PX = 512
#: Triton, which writes the kernels, needs a GPU from here on.
_CAPABILITY = (7, 0)


def planned_images(params: TrainParams, images: int) -> float:
    """What all phases together will see, counted in images of 512 x 512.

    Args:
        params: section train.
        images: of an epoch.
    """
    return sum(images * one.epochs * ((one.crop_px or one.size_px) / _SIDE_PX) ** 2 for one in params.phases)


def why_not(params: TrainParams, images: int, device: Literal["cpu", "cuda"]) -> str:
    """Why ``auto`` does not compile here; empty: it does. Nothing that is asked changes while training runs."""
    if device == "cpu":
        return "on a CPU it takes minutes"
    planned = planned_images(params, images)
    if planned < PAYS_FROM:
        return f"{planned:,.0f} images of 512 x 512 do not pay for it, {PAYS_FROM:,} would"
    if params.checkpoint_activations:
        return "train.checkpoint_activations is on"
    if torch.cuda.get_device_capability() < _CAPABILITY:
        return "this GPU is older than Triton's kernels"
    return "" if shutil.which("cc") or shutil.which("gcc") else "there is no C compiler (cc), which Triton needs"


def compiled(network: Network, params: TrainParams, images: int, device: Literal["cpu", "cuda"]) -> nn.Module:
    """The network as training steps run it; validation runs the bare one, whose batches have other shapes.

    A phase compiles once, and once more where its encoder thaws: every batch of it has the same shape.
    """
    if not network.compiles:
        return network
    reason = why_not(params, images, device) if params.compile == "auto" else ""
    if params.compile is False or reason:
        if reason and device == "cuda":
            logger.info("the network is not compiled: %s (train.compile)", reason)
        return network
    return cast(nn.Module, torch.compile(network, dynamic=False))  # typed as the function that it also is
