"""Segmentation: a map of the lesion by an architecture of segmentation-models-pytorch, and what is added to it.

Only this module is imported to know the names of the architectures, so that what is heavy comes in when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pneumoseg.networks.family import Objective, Prediction
from pneumoseg.shared.registry import FAMILIES

if TYPE_CHECKING:
    from pneumoseg.config.loss import LossParams
    from pneumoseg.config.model import ModelParams
    from pneumoseg.networks.network import Network

ARCHITECTURES = (
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
    "dpt",
)


class Segmentation:
    """The family; see networks.family.Family."""

    gives_map = True
    chooses = "auc_and_dice_pos"

    def gives_image(self, params: ModelParams) -> bool:
        """Whether there is an image head."""
        return params.image_head.enabled

    def build(self, params: ModelParams, published: str | None) -> Network:
        """Encoder, decoder and heads."""
        from pneumoseg.networks.families.segmentation.assembly import SegmentationNetwork, build_base

        return SegmentationNetwork(params, build_base(params, published))

    def objective(self, params: LossParams) -> Objective:
        """Terms of the mask, of the auxiliary masks and of the image head, weighted and summed."""
        from pneumoseg.networks.families.segmentation.mask_loss import objective

        return objective(params)

    def predict(self, output: Any) -> Prediction:
        """Sigmoids of the mask and, where there is one, of the image head."""
        image = None if output.image is None else output.image.float().sigmoid()
        return Prediction(output.mask.float().sigmoid()[:, 0], image)


for _name in ARCHITECTURES:
    FAMILIES.register(_name, Segmentation())
