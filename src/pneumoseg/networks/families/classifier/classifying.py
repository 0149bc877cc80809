"""Encoder, pooling and a line: the network of a classifier, its loss, and where it looked."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pneumoseg.config.loss import LossParams
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.family import Objective, Truth
from pneumoseg.networks.heads import image_head
from pneumoseg.networks.losses.image import image_terms
from pneumoseg.networks.network import Network


class Output(NamedTuple):
    """What a network says of a batch, as logits.

    Attributes:
        image: (N,), of pneumothorax in the image.
        places: (N, h, w), the class activation map: what the head would say of an image that looked everywhere as it
            does there. Its mean is ``image`` where pooling is average, its maximum is no less where it is maximum.
            None in training mode.
    """

    image: Tensor
    places: Tensor | None = None


class ClassifierNetwork(Network):
    """An encoder, whose deepest features are pooled, and a line on them."""

    def __init__(self, params: ModelParams, encoder: Any) -> None:
        """Put the head on the encoder."""
        super().__init__(params, encoder)
        self.image_head = image_head(encoder.out_channels[-1], params.image_head)

    def forward(self, x: Tensor) -> Output:
        """Logits of a batch.

        Args:
            x: (N, C, H, W) float, normalised as preparation.normalise does.
        """
        deepest = self.encoder(x)[-1]
        return Output(
            self.image_head(deepest).flatten(), None if self.training else activation(deepest, self.image_head)
        )


def activation(features: Tensor, head: nn.Sequential) -> Tensor:
    """Class activation map (Zhou et al., CVPR 2016): the line of an image head at every place, (N, h, w) logits."""
    line = cast(nn.Linear, head[-1])
    return F.conv2d(features, line.weight[..., None, None], line.bias)[:, 0]


def objective(params: LossParams) -> Objective:
    """Weighted sum of the image terms of a section train.loss; computed in float32, under autocast too."""

    def minimise(model: nn.Module, pixels: Tensor, truth: Truth) -> tuple[dict[str, Tensor], Output]:
        output: Output = model(pixels)
        with torch.autocast(output.image.device.type, enabled=False):
            terms = image_terms(output.image.float(), truth.labels, params.image)
            loss = torch.stack([weight * value for _, weight, value in terms]).sum()
        return {"loss": loss, **{name: value.detach() for name, _, value in terms}}, output

    return minimise
