"""Mask R-CNN (He et al. 2017): a box, a score and a mask for each finding, by the detector of torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoseg.networks.family import Objective, Prediction
from pneumoseg.shared.registry import FAMILIES

if TYPE_CHECKING:
    from pneumoseg.config.loss import LossParams
    from pneumoseg.config.model import ModelParams
    from pneumoseg.networks.families.mask_rcnn.detector import Detected
    from pneumoseg.networks.network import Network

#: Name of the weights of the whole detector, trained on COCO; torchvision publishes them for this encoder alone.
COCO, COCO_ENCODER = "coco", "resnet50"


class MaskRCNN:
    """The family; see networks.family.Family."""

    gives_map = True
    chooses = "auc_and_dice_pos"
    needs_masks = True
    tells_apart = True

    def gives_image(self, params: ModelParams) -> bool:
        """The score of its best detection."""
        return True

    def published(self, params: ModelParams) -> tuple[str, ...]:
        """Weights of the whole detector, beside those of its encoder."""
        return (COCO,) if params.encoder == COCO_ENCODER else ()

    def build(self, params: ModelParams, published: str | None) -> Network:
        """Encoder, feature pyramid, region proposals, and the heads of boxes and masks."""
        from pneumoseg.networks.encoders import build_encoder
        from pneumoseg.networks.families.mask_rcnn.coco_weights import load_coco
        from pneumoseg.networks.families.mask_rcnn.detector import DetectorNetwork

        network = DetectorNetwork(params, build_encoder(params, None if published == COCO else published))
        if published == COCO:
            load_coco(network, params)
        return network

    def objective(self, params: LossParams) -> Objective:
        """The sum of its five losses; the terms of section train.loss do not count."""
        from pneumoseg.networks.families.mask_rcnn.targets import minimise

        return minimise

    def predict(self, output: Detected) -> Prediction:
        """The map is the highest of score x mask of all detections at a pixel; the image's probability the best score.

        A detector in training mode detects nothing.
        """
        from pneumoseg.networks.families.mask_rcnn.pasting import prediction

        return prediction(output)


FAMILIES.register("mask_rcnn", MaskRCNN())
