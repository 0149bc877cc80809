"""Section model: architecture, encoder, weights and the options between them.

What an architecture cannot take is refused here, so that it is told within a second and before anything is loaded;
encoder names are checked by networks.encoders, which has to import the libraries that know them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pneumoseg.config.detector import DetectorParams, check_model
from pneumoseg.config.section import Section
from pneumoseg.shared.registry import FAMILIES

#: Auxiliary mask heads that a decoder of full depth 5 can bear; the others have no levels below their output.
MOST_LEVELS = {"unet": 4, "unetplusplus": 4, "manet": 4, "linknet": 4, "fpn": 4, "upernet": 4, "pan": 3}
WITH_ATTENTION = ("unet", "unetplusplus")
WITHOUT_ASPP = {
    "deeplabv3": "it has one of its own",
    "deeplabv3plus": "it has one of its own",
    "dpt": "its encoder is a vision transformer, which sees the whole image at every level",
    "classifier": "it has no decoder",
    "two_view": "it has no decoder",
}
#: Widths that decoder_channels lists; None: one for each level of the encoder, deepest first.
DECODER_WIDTHS: dict[str, int | None] = {
    "unet": None,
    "unetplusplus": None,
    "manet": None,
    "fpn": 2,
    "pspnet": 1,
    "deeplabv3": 1,
    "deeplabv3plus": 1,
    "pan": 1,
    "upernet": 1,
    "segformer": 1,
}


class AsppParams(Section):
    """Atrous spatial pyramid pooling between encoder and decoder."""

    enabled: bool = False
    channels: int = Field(256, ge=1)
    rates: tuple[Annotated[int, Field(ge=1)], ...] = Field((6, 12, 18), min_length=1, max_length=8)
    dropout: float = Field(0.5, ge=0, lt=1)


class ImageHeadParams(Section):
    """The head that says whether an image shows a pneumothorax at all."""

    enabled: bool = False
    pooling: Literal["average", "maximum"] = "average"
    dropout: float = Field(0.2, ge=0, lt=1)


#: Value of model.lungs.source: the lung masks of the data set.
FROM_MASKS = "masks"


class LungParams(Section):
    """Whether a network sees the lungs alone, and who finds them: lung masks, or the model folder of a network."""

    source: str | None = Field(None, min_length=1)
    margin: float = Field(0.08, ge=0, lt=0.5)
    least_area_share: float = Field(0.2, ge=0, lt=1)


class TwoViewParams(Section):
    """Frontal and lateral view, fused."""

    share_encoder: bool = False


class ModelParams(Section):
    """One network: an architecture of segmentation-models-pytorch, an encoder, and what is added to them."""

    architecture: str = "unet"
    encoder: str = Field("resnet18", min_length=1)
    encoder_depth: int = Field(5, ge=3, le=5)
    encoder_image_px: int | None = Field(None, ge=32)
    weights: str | None = Field(None, min_length=1)
    in_channels: Literal[1, 3] = 3
    decoder_channels: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    attention: Literal["scse", "cbam"] | None = None
    norm: Literal["batch", "frozen_batch", "group"] = "batch"
    hypercolumn: bool = False
    deep_supervision_levels: int = Field(0, ge=0, le=4)
    aspp: AsppParams = AsppParams()
    image_head: ImageHeadParams = ImageHeadParams()
    detector: DetectorParams = DetectorParams()
    lungs: LungParams = LungParams()
    two_view: TwoViewParams = TwoViewParams()

    @field_validator("architecture")
    @classmethod
    def _architecture_exists(cls, value: str) -> str:
        FAMILIES.check(value)
        return value

    @property
    def most_levels(self) -> int:
        """Decoder levels below the output, which an auxiliary head or the hypercolumn can use; 0: none."""
        missing = 0 if self.architecture == "fpn" else 5 - self.encoder_depth
        return max(0, MOST_LEVELS.get(self.architecture, 0) - missing)

    @model_validator(mode="after")
    def _options_fit_architecture(self) -> Self:
        name = self.architecture
        if self.attention is not None and name not in WITH_ATTENTION:
            raise ValueError(
                f"attention = {self.attention} cannot be built into architecture = {name}; set attention: null, "
                f"or take {' or '.join(WITH_ATTENTION)}"
            )
        if self.aspp.enabled and name in WITHOUT_ASPP:
            raise ValueError(
                f"aspp.enabled = true does not go with architecture = {name}: {WITHOUT_ASPP[name]}; set it to false"
            )
        if self.deep_supervision_levels > self.most_levels:
            raise ValueError(
                f"deep_supervision_levels = {self.deep_supervision_levels}: architecture = {name} with "
                f"encoder_depth = {self.encoder_depth} has {self.most_levels} decoder levels below its output; "
                f"give at most that"
            )
        if self.hypercolumn and not self.most_levels:
            raise ValueError(
                f"hypercolumn = true does not go with architecture = {name}, whose decoder has no levels to join; "
                f"set it to false, or take one of {', '.join(MOST_LEVELS)}"
            )
        check_model(self)
        return self

    @model_validator(mode="after")
    def _lungs_are_of_one_view(self) -> Self:
        if self.architecture == "two_view" and self.lungs.source is not None:
            raise ValueError(
                f"lungs.source = {self.lungs.source} does not go with architecture = two_view: nobody finds the lungs "
                "of the view from the side; set it to null"
            )
        return self

    @model_validator(mode="after")
    def _encoder_fits(self) -> Self:
        timm_encoder = self.encoder.startswith("tu-")
        if self.architecture == "dpt" and (self.encoder_depth != 4 or not timm_encoder):
            raise ValueError(
                f"encoder = {self.encoder}, encoder_depth = {self.encoder_depth}: architecture = dpt takes a vision "
                f"transformer of timm (tu-vit_…) and encoder_depth: 4"
            )
        if self.encoder_image_px is not None and not timm_encoder:
            raise ValueError(
                f"encoder_image_px = {self.encoder_image_px} is for transformer encoders of timm (tu-swin_…); set it "
                f"to null for encoder = {self.encoder}"
            )
        return self

    @model_validator(mode="after")
    def _decoder_channels_fit(self) -> Self:
        widths = self.decoder_channels
        if widths is None:
            return self
        if self.architecture not in DECODER_WIDTHS:
            raise ValueError(
                f"decoder_channels = {list(widths)}: architecture = {self.architecture} takes its widths from the "
                f"encoder, or has no decoder; set it to null"
            )
        expected = DECODER_WIDTHS[self.architecture] or self.encoder_depth
        if len(widths) != expected:
            raise ValueError(
                f"decoder_channels = {list(widths)}: architecture = {self.architecture} with encoder_depth = "
                f"{self.encoder_depth} takes {expected}, or null for the usual ones"
            )
        if self.architecture == "fpn" and any(width % 32 for width in widths):
            raise ValueError(f"decoder_channels = {list(widths)}: architecture = fpn takes multiples of 32")
        if self.attention == "scse" and min(widths) < 16:
            raise ValueError(f"decoder_channels = {list(widths)}: attention = scse needs at least 16 everywhere")
        return self
