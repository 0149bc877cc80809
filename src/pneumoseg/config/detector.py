"""Section model.detector: the parts of a detector, and what of the other sections it cannot take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pneumoseg.config.section import Section

if TYPE_CHECKING:
    from pneumoseg.config import Params
    from pneumoseg.config.model import ModelParams

#: Architectures that draw a box and a mask for each finding.
DETECTORS = ("mask_rcnn",)

Size = Annotated[int, Field(ge=8)]
Ratio = Annotated[float, Field(gt=0)]


class DetectorParams(Section):
    """Pyramid, anchors, and how many regions are looked at; sizes in pixels of an image of 1024 x 1024."""

    pyramid_channels: int = Field(64, ge=8)
    #: One for each level of the pyramid: strides 4, 8, 16, 32 and 64.
    anchor_px_at_1024: tuple[Size, ...] = Field((64, 128, 256, 512, 1024), min_length=5, max_length=5)
    #: Height over width.
    anchor_ratios: tuple[Ratio, ...] = Field((0.25, 0.5, 1.0, 2.0, 4.0), min_length=1)
    proposals: int = Field(100, ge=1)
    rois_per_image: int = Field(64, ge=1)
    detections: int = Field(10, ge=1, le=100)
    least_score: float = Field(0.05, ge=0, lt=1)
    box_nms: float = Field(0.5, gt=0, lt=1)
    least_instance_px_at_1024: int = Field(50, ge=1)


def check_model(model: ModelParams) -> None:
    """Refuse options of section model that a detector has no place for.

    Raises:
        ValueError: names the key and why.
    """
    if model.architecture not in DETECTORS:
        return
    refused = {
        "encoder_depth": (model.encoder_depth, 5, "its pyramid takes the levels of strides 4, 8, 16 and 32"),
        "aspp.enabled": (model.aspp.enabled, False, "it has no decoder to put it before"),
        "image_head.enabled": (model.image_head.enabled, False, "its best detection says how probable one is"),
    }
    for key, (value, wanted, reason) in refused.items():
        if value != wanted:
            shown, needed = str(value).lower(), str(wanted).lower()
            raise ValueError(
                f"{key} = {shown} does not go with architecture = {model.architecture}: {reason}; set it to {needed}"
            )


def check_others(params: Params) -> None:
    """Refuse what sections train, predict and runtime ask of a detector and it cannot do.

    Raises:
        ValueError: names the key and why.
    """
    name, train = params.model.architecture, params.train
    if name not in DETECTORS:
        return
    asked = {
        "train.mean_teacher.images_per_step": (
            train.mean_teacher.images_per_step, 0, "findings of two views cannot be subtracted from each other"
        ),
        "train.pseudo_labels.folder": (train.pseudo_labels.folder, None, "a map does not tell findings apart"),
        "train.label_only_share": (train.label_only_share, None, "a label without a mask teaches it nothing"),
        "train.compile": (train.compile is True, False, "the number of its regions changes from image to image"),
        "train.selection_metric": (
            train.selection_metric if train.selection_metric == "loss" else None, None,
            "its losses exist in training only; take auto",
        ),
    }  # fmt: skip
    for key in ("train.precision", "predict.precision", "runtime.precision"):
        section, _, field = key.partition(".")
        value = getattr(getattr(params, section), field)
        asked[key] = (value if value == "fp16" else None, None, "its losses overflow there; take auto, bf16 or fp32")
    for key, (value, harmless, reason) in asked.items():
        if value != harmless:
            shown = "true" if value is True else value
            raise ValueError(f"{key} = {shown} does not go with model.architecture = {name}: {reason}")
