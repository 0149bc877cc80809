"""The loss of section train: a weighted sum of terms on the mask, on auxiliary masks and on the image head."""

from __future__ import annotations

import json
from typing import Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from pneumoseg.config.model import ModelParams
from pneumoseg.config.section import Section
from pneumoseg.shared.registry import FAMILIES, Registry


class TermParams(Section):
    """A term on the mask; 0 leaves it out."""

    weight: float = Field(0.0, ge=0)


#: Terms from outside this package: name below train.loss → its parameters. Its own are fields of LossParams.
TERMS: Registry[type[TermParams]] = Registry("train.loss")


class OverlapParams(TermParams):
    """A term that compares areas, of the batch as one image or of each image."""

    pooled: bool = False
    images: Literal["all", "positives"] = "all"
    smooth: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _pooled_has_no_choice_of_images(self) -> Self:
        if self.pooled and self.images == "positives":
            raise ValueError("pooled = true takes the batch as one image, so images must be all; got positives")
        return self


class DiceParams(OverlapParams):
    """Soft Dice loss."""

    weight: float = Field(1.0, ge=0)
    images: Literal["all", "positives"] = "positives"
    squared: bool = False


class BceParams(TermParams):
    """Binary cross-entropy over pixels."""

    weight: float = Field(0.5, ge=0)
    positive_weight: float = Field(1.0, gt=0)


class FocalParams(TermParams):
    """Focal loss over pixels."""

    gamma: float = Field(2.0, ge=1)


class LovaszParams(TermParams):
    """Lovász hinge, image by image."""

    images: Literal["all", "positives"] = "all"


class TverskyParams(OverlapParams):
    """Tversky loss: alpha weighs false positives, beta false negatives."""

    alpha: float = Field(0.3, ge=0)
    beta: float = Field(0.7, ge=0)

    @model_validator(mode="after")
    def _something_is_penalised(self) -> Self:
        if self.alpha + self.beta == 0:
            raise ValueError("alpha = beta = 0 penalises nothing; give one of them a value above 0")
        return self


class AuxiliaryParams(Section):
    """The same mask terms on the auxiliary heads: weight, times decay for each level further down."""

    weight: float = Field(0.4, ge=0)
    decay: float = Field(0.5, gt=0, le=1)


class ImageLossParams(Section):
    """Terms on the image head."""

    bce: float = Field(0.1, ge=0)
    focal: float = Field(0.0, ge=0)
    gamma: float = Field(2.0, ge=1)


class ViewLossParams(Section):
    """Weights of the outputs of two views, each with the terms of train.loss.image."""

    fused: float = Field(1.0, gt=0)
    frontal: float = Field(0.3, gt=0)
    lateral: float = Field(0.3, ge=0)


class LossParams(Section):
    """Weights and forms of the terms; a weight of 0 leaves a term out. Further ones by the names in TERMS."""

    model_config = ConfigDict(extra="allow")

    dice: DiceParams = DiceParams()
    bce: BceParams = BceParams()
    focal: FocalParams = FocalParams()
    lovasz: LovaszParams = LovaszParams()
    tversky: TverskyParams = TverskyParams()
    auxiliary: AuxiliaryParams = AuxiliaryParams()
    image: ImageLossParams = ImageLossParams()
    views: ViewLossParams = ViewLossParams()

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The fields and the registered terms."""
        return (*super().keys(), *TERMS.names())

    @property
    def terms(self) -> dict[str, TermParams]:
        """Every term on the mask by name, also those of weight 0."""
        found = {name: getattr(self, name) for name in (*type(self).model_fields, *(self.model_extra or {}))}
        return {name: term for name, term in found.items() if isinstance(term, TermParams)}

    @model_validator(mode="after")
    def _further_terms_are_registered(self) -> Self:
        """Each gets its type; what is none is refused like any unknown key."""
        extra = self.model_extra or {}
        wrong: list[InitErrorDetails] = []
        for name, value in extra.items():
            if name not in TERMS.names():
                wrong.append(InitErrorDetails(type="extra_forbidden", loc=(name,), input=value))
                continue
            if isinstance(value, TermParams):
                continue
            try:
                extra[name] = TERMS[name].model_validate_json(json.dumps(value))
            except ValidationError as error:
                wrong += [
                    InitErrorDetails(
                        type=PydanticCustomError("term", item["msg"]),
                        loc=(name, *item["loc"]),
                        input=item["input"],
                    )
                    for item in error.errors()
                ]
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    def check_model(self, model: ModelParams, key: str = "train.loss") -> None:
        """Refuse what nothing would train: a map, a head, or the whole network; ``key`` holds this section.

        Raises:
            ValueError: no term here trains it.
        """
        if FAMILIES[model.architecture].gives_map:
            if not any(term.weight for term in self.terms.values()):
                raise ValueError(f"{key}: every mask term has weight 0; give {', '.join(self.terms)} a weight above 0")
        elif not (self.image.bce or self.image.focal):
            raise ValueError(
                f"{key}.image.bce = {key}.image.focal = 0, from which alone a {model.architecture} learns; give one a "
                f"value above 0"
            )
        if model.deep_supervision_levels and not self.auxiliary.weight:
            raise ValueError(
                f"{key}.auxiliary.weight = 0 would leave the {model.deep_supervision_levels} heads of "
                f"model.deep_supervision_levels untrained; give it a value above 0, or set the levels to 0"
            )
        if model.image_head.enabled and not (self.image.bce or self.image.focal):
            raise ValueError(
                f"{key}.image.bce = {key}.image.focal = 0 would leave the head of model.image_head untrained; "
                "give one a value above 0, or set model.image_head.enabled to false"
            )
