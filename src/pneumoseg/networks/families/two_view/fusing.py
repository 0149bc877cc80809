"""Two encoders, a residual block with channel attention on their features, three outputs: network, loss, answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pneumoseg.config.loss import LossParams
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.family import Objective, Prediction, Truth
from pneumoseg.networks.heads import image_head
from pneumoseg.networks.losses.image import image_terms
from pneumoseg.networks.network import Network


class Output(NamedTuple):
    """What a network says of a batch of studies, as logits (N,); what rests on a view that is not there means nothing.

    Attributes:
        frontal: of the frontal view alone.
        lateral: of the lateral view alone.
        fused: of both.
        present: 1 where there is a lateral view, else 0.
    """

    frontal: Tensor
    lateral: Tensor
    fused: Tensor
    present: Tensor


class Fusion(nn.Module):
    """Features of both views side by side, narrowed, through a residual block with squeeze and excitation.

    That of Hu et al. (CVPR 2018, arXiv:1709.01507), as channel attention; which kind Luo et al. have was not found.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        """Features of ``channels`` of each view."""
        super().__init__()
        hidden = max(1, channels // reduction)
        self.narrow = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, frontal: Tensor, lateral: Tensor) -> Tensor:
        """(N, C, h, w) twice to (N, C, h, w)."""
        narrow = self.narrow(torch.cat([frontal, lateral], dim=1))
        block = self.block(narrow)
        return torch.relu(narrow + block * self.attention(block))


class TwoViewNetwork(Network):
    """A study of two views; a lateral view without any contrast, such as all zeros, is none."""

    def __init__(self, params: ModelParams, encoder: Any, lateral: Any | None) -> None:
        """Take the frontal encoder and the lateral one; None: one encoder for both."""
        super().__init__(params, encoder)
        self.views = 2
        self.lateral_encoder = lateral
        self.freeze_norms()
        self.train(self.training)
        channels = encoder.out_channels[-1]
        self.fusion = Fusion(channels)
        self.frontal_head, self.lateral_head, self.fused_head = (
            image_head(channels, params.image_head) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Output:
        """Logits of a batch of studies.

        Args:
            x: (N, 2, C, H, W) float, frontal and lateral, normalised as preparation.normalise does.
        """
        frontal, lateral = x.unbind(1)
        present = (lateral.amax((2, 3)) > lateral.amin((2, 3))).any(1).float()
        # A view that is there stands in for one that is not, so that batch norms see radiographs alone; what comes of
        # it is nowhere used.
        own = torch.arange(len(lateral), device=lateral.device)
        lateral = lateral[torch.where(present > 0, own, present.argmax())]
        seen = self.encoder(frontal)[-1]
        beside = (self.encoder if self.lateral_encoder is None else self.lateral_encoder)(lateral)[-1]
        return Output(
            self.frontal_head(seen).flatten(),
            self.lateral_head(beside).flatten(),
            self.fused_head(self.fusion(seen, beside)).flatten(),
            present,
        )


def predict(output: Output) -> Prediction:
    """See TwoView.predict; an output that a study does not give is NaN."""
    frontal, lateral, fused = (logits.float().sigmoid() for logits in output[:3])
    there = output.present > 0
    nothing = torch.full_like(frontal, torch.nan)
    outputs = {
        "frontal": frontal,
        "lateral": torch.where(there, lateral, nothing),
        "fused": torch.where(there, fused, nothing),
    }
    return Prediction(None, torch.where(there, fused, frontal), outputs=outputs)


def objective(params: LossParams) -> Objective:
    """Weighted sum over outputs of the image terms; lateral and fused ones of the studies with a lateral view alone."""

    def minimise(model: nn.Module, pixels: Tensor, truth: Truth) -> tuple[dict[str, Tensor], Output]:
        output: Output = model(pixels)
        parts: dict[str, Tensor] = {}
        rows = (output.present > 0).nonzero()[:, 0]
        with torch.autocast(output.frontal.device.type, enabled=False):
            # With a gradient of 0 at least: DistributedDataParallel waits for one of every output.
            total = sum((logits.float().sum() * 0.0 for logits in output[:3]), truth.labels.new_zeros(()))
            for name, weight in params.views.model_dump().items():
                logits, labels = getattr(output, name).float(), truth.labels
                if name != "frontal":
                    logits, labels = logits[rows], labels[rows]
                if not len(labels):
                    continue
                for term, share, value in image_terms(logits, labels, params.image):
                    total = total + weight * share * value
                    parts[f"{name}_{term}"] = value.detach()
        return {"loss": total, **parts}, output

    return minimise
