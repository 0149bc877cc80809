"""The parts of torchvision's detector on an encoder of ours.

Its own transformation of images is left out: ours come squared, resized and normalised, and it would do all of that a
second time. What is left of it, region proposals and heads, computes in float32 whatever the precision around it.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.network import Network
from pneumoseg.shared.errors import ParameterError

#: Sides at which the box and the mask head see a region, in cells of the pyramid; the mask comes out twice as large.
BOX_CELLS, MASK_CELLS = 7, 14
_LEVELS = 4
Targets = list[dict[str, Tensor]]


class Detected(NamedTuple):
    """What a network says of a batch.

    Attributes:
        images: of each image in evaluation mode its detections, best first: ``boxes`` (K, 4) float32 as x1, y1, x2, y2
            in pixels of the input, ``scores`` (K,) and ``masks`` (K, 1, 28, 28) float32 in [0, 1].
        size_px: side of the input.
        losses: the five losses, in training mode with targets.
        shapes: tensors with every parameter in them, in training mode without targets.
    """

    images: list[dict[str, Tensor]]
    size_px: int
    losses: dict[str, Tensor]
    shapes: tuple[Tensor, ...] = ()


class _Anchors(AnchorGenerator):  # type: ignore[misc]  # torchvision is not typed
    """Anchors that grow with the image, so that one description fits every size."""

    def __init__(self, sizes_px_at_1024: tuple[int, ...], ratios: tuple[float, ...]) -> None:
        super().__init__(tuple((size,) for size in sizes_px_at_1024), (ratios,) * len(sizes_px_at_1024))

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        scale = image_list.tensors.shape[-1] / 1024
        self.cell_anchors = [
            self.generate_anchors([size * scale for size in sizes], ratios)
            for sizes, ratios in zip(self.sizes, self.aspect_ratios, strict=True)
        ]
        return cast(list[Tensor], super().forward(image_list, feature_maps))


class _Described(nn.Module):
    """In the place of a backbone, of which torchvision's constructor asks the width alone."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels


class DetectorNetwork(Network):
    """Encoder, feature pyramid (Lin et al. 2017), region proposals, and heads for boxes and masks.

    Attributes:
        detector: section model.detector.
    """

    compiles = False  # the number of regions changes from image to image

    def __init__(self, params: ModelParams, encoder: nn.Module) -> None:
        """Put the detector on the four deepest levels of the encoder.

        Raises:
            ParameterError: it has no such levels.
        """
        super().__init__(params, encoder)
        self.detector = wanted = params.detector
        widths = list(cast(Any, encoder).out_channels)[-_LEVELS:]
        if len(widths) < _LEVELS or not all(widths):
            raise ParameterError(
                f"model.encoder = {params.encoder} has no levels of strides 4, 8, 16 and 32, which the pyramid of "
                f"model.architecture = {params.architecture} stands on; take another encoder"
            )
        width = wanted.pyramid_channels
        self.pyramid: nn.Module = FeaturePyramidNetwork(widths, width, LastLevelMaxPool())
        parts = MaskRCNN(
            _Described(width),
            rpn_anchor_generator=_Anchors(wanted.anchor_px_at_1024, wanted.anchor_ratios),
            rpn_pre_nms_top_n_train=2 * wanted.proposals,
            rpn_post_nms_top_n_train=2 * wanted.proposals,
            rpn_pre_nms_top_n_test=wanted.proposals,
            rpn_post_nms_top_n_test=wanted.proposals,
            box_head=TwoMLPHead(width * BOX_CELLS**2, 4 * width),
            box_predictor=FastRCNNPredictor(4 * width, 2),
            box_score_thresh=wanted.least_score,
            box_nms_thresh=wanted.box_nms,
            box_detections_per_img=wanted.detections,
            box_batch_size_per_image=wanted.rois_per_image,
            mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(width, width, 2),
        )
        self.rpn: nn.Module = parts.rpn
        self.roi_heads: nn.Module = parts.roi_heads

    def forward(self, x: Tensor, targets: Targets | None = None) -> Detected:
        """Detections of a batch, or in training mode its losses.

        Args:
            x: (N, C, S, S) float, normalised as preparation.normalise does.
            targets: of each image ``boxes`` (T, 4) int64 as in Detected, ``labels`` (T,) int64, all 1, and ``masks``
                (T, S, S) uint8; in training mode without them nothing is detected: see Detected.shapes. Whole
                numbers, for what wraps a network under bf16 makes every float a bf16.
        """
        levels = self.encoder(x)[-_LEVELS:]
        size_px = x.shape[-1]
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            features = self.pyramid({str(number): level.float() for number, level in enumerate(levels)})
            if self.training and targets is None:
                return Detected([], size_px, {}, self._shapes(features))
            wanted = targets and [one | {"boxes": one["boxes"].float()} for one in targets]
            images = ImageList(x, [(size_px, size_px)] * len(x))
            proposals, losses = self.rpn(images, features, wanted)
            found, more = self.roi_heads(features, proposals, images.image_sizes, wanted)
        return Detected(found, size_px, losses | more)

    def _shapes(self, features: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What a step computes, without the choice of regions, which depends on data that a meta tensor lacks."""
        heads, finest = cast(Any, self.roi_heads), features["0"]
        objectness, deltas = cast(Any, self.rpn).head(list(features.values()))
        count = self.detector.rois_per_image if finest.is_meta else 1
        regions = [
            nn.functional.adaptive_avg_pool2d(finest, cells).repeat_interleave(count, 0)
            for cells in (BOX_CELLS, MASK_CELLS)
        ]
        boxes = heads.box_predictor(heads.box_head(regions[0]))
        masks = heads.mask_predictor(heads.mask_head(regions[1]))
        return (*objectness, *deltas, *boxes, masks)
