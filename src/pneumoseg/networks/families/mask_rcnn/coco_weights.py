"""The weights of a whole detector that torchvision publishes: Mask R-CNN with ResNet-50, trained on COCO."""

from __future__ import annotations

import logging

from torch import nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn

from pneumoseg.config.model import ModelParams
from pneumoseg.shared.errors import ParameterError

logger = logging.getLogger(__name__)

#: Its width; and the parts of theirs that are ours under another name.
WIDTH = 256
_PARTS = {"backbone.body.": "encoder.", "backbone.fpn.": "pyramid."}


def load_coco(network: nn.Module, params: ModelParams) -> None:
    """Put what was learnt on COCO into a detector; heads of other classes or anchors stay random, and a line says so.

    Raises:
        ParameterError: the pyramid has another width, the images another number of channels, or there is no network.
    """
    for key, value, wanted in (
        ("detector.pyramid_channels", params.detector.pyramid_channels, WIDTH),
        ("in_channels", params.in_channels, 3),
    ):
        if value != wanted:
            raise ParameterError(f"model.weights = coco: made for model.{key} = {wanted}, not {value}; set it to that")
    try:
        state = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.get_state_dict(check_hash=True, progress=False, weights_only=True)
    except OSError as error:
        raise ParameterError(
            f"model.weights = coco: could not be had ({error}); with a network run again, without one give a file or "
            "folder of weights, or null"
        ) from None
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    theirs.load_state_dict(state)  # which also brings old names up to date
    offered = {}
    for name, value in theirs.state_dict().items():
        part = next((part for part in _PARTS if name.startswith(part)), "")
        offered[_PARTS.get(part, "") + name.removeprefix(part)] = value
    own = network.state_dict()
    taken = {name: value for name, value in offered.items() if name in own and own[name].shape == value.shape}
    # Theirs is frozen and counts no batches.
    left = [name for name in own if name not in taken and not name.endswith("num_batches_tracked")]
    network.load_state_dict(taken, strict=False)
    logger.info("model.weights = coco: %d tensors taken; these stay random: %s", len(taken), ", ".join(left))
