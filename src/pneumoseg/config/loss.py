"""The loss of section train: a weighted sum of terms on the mask, on auxiliary masks and on the image head."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pneumoseg.config.model import ModelParams
from pneumoseg.config.section import Section


class DiceParams(Section):
    """Soft Dice loss."""

    weight: float = Field(ge=0)
    pooled: bool
    images: Literal["all", "positives"]
    smooth: float = Field(gt=0)
    squared: bool

    @model_validator(mode="after")
    def _pooled_has_no_choice_of_images(self) -> Self:
        if self.pooled and self.images == "positives":
            raise ValueError("pooled = true takes the batch as one image, so images must be all; got positives")
        return self


class BceParams(Section):
    """Binary cross-entropy over pixels."""

    weight: float = Field(ge=0)
    positive_weight: float = Field(gt=0)


class FocalParams(Section):
    """Focal loss over pixels."""

    weight: float = Field(ge=0)
    gamma: float = Field(ge=1)


class LovaszParams(Section):
    """Lovász hinge, image by image."""

    weight: float = Field(ge=0)
    images: Literal["all", "positives"]


class TverskyParams(Section):
    """Tversky loss: alpha weighs false positives, beta false negatives."""

    weight: float = Field(ge=0)
    pooled: bool
    images: Literal["all", "positives"]
    smooth: float = Field(gt=0)
    alpha: float = Field(ge=0)
    beta: float = Field(ge=0)

    @model_validator(mode="after")
    def _something_is_penalised(self) -> Self:
        if self.alpha + self.beta == 0:
            raise ValueError("alpha = beta = 0 penalises nothing; give one of them a value above 0")
        if self.pooled and self.images == "positives":
            raise ValueError("pooled = true takes the batch as one image, so images must be all; got positives")
        return self


class AuxiliaryParams(Section):
    """The same mask terms on the auxiliary heads: weight, times decay for each level further down."""

    weight: float = Field(ge=0)
    decay: float = Field(gt=0, le=1)


class ImageLossParams(Section):
    """Terms on the image head."""

    bce: float = Field(ge=0)
    focal: float = Field(ge=0)
    gamma: float = Field(ge=1)


class LossParams(Section):
    """Weights and forms of the terms; a weight of 0 leaves a term out."""

    dice: DiceParams
    bce: BceParams
    focal: FocalParams
    lovasz: LovaszParams
    tversky: TverskyParams
    auxiliary: AuxiliaryParams
    image: ImageLossParams

    @model_validator(mode="after")
    def _mask_is_trained(self) -> Self:
        terms = (self.dice, self.bce, self.focal, self.lovasz, self.tversky)
        if not any(term.weight for term in terms):
            raise ValueError("every mask term has weight 0; give dice, bce, focal, lovasz or tversky a weight above 0")
        return self

    def check_model(self, model: ModelParams) -> None:
        """Refuse heads that nothing would train.

        Raises:
            ValueError: a head of section model has no term here.
        """
        if model.deep_supervision_levels and not self.auxiliary.weight:
            raise ValueError(
                f"loss.auxiliary.weight = 0 would leave the {model.deep_supervision_levels} heads of "
                f"model.deep_supervision_levels untrained; give it a value above 0, or set the levels to 0"
            )
        if model.image_head.enabled and not (self.image.bce or self.image.focal):
            raise ValueError(
                "loss.image.bce = loss.image.focal = 0 would leave the head of model.image_head untrained; "
                "give one a value above 0, or set model.image_head.enabled to false"
            )
