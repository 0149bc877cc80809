"""Encoder, decoder and heads: an architecture of segmentation-models-pytorch, and what section model adds to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.encoders import building_told, encoder_options, weights_argument
from pneumoseg.networks.families.segmentation import blocks
from pneumoseg.networks.families.segmentation.decoder_levels import DECODINGS, output_only
from pneumoseg.networks.heads import image_head
from pneumoseg.networks.network import Network

#: Names that segmentation-models-pytorch has for the widths of decoder_channels.
_WIDTH_NAMES = {
    "fpn": ("decoder_pyramid_channels", "decoder_segmentation_channels"),
    "pspnet": ("psp_out_channels",),
    "deeplabv3": ("decoder_channels",),
    "deeplabv3plus": ("decoder_channels",),
    "pan": ("decoder_channels",),
    "upernet": ("decoder_channels",),
    "segformer": ("decoder_segmentation_channels",),
}


class Output(NamedTuple):
    """What a network says of a batch, as logits.

    Attributes:
        mask: (N, 1, H, W), at the size of the input.
        auxiliary: (N, 1, h, w) for each auxiliary head, finest first; empty in evaluation mode.
        image: (N,), of pneumothorax anywhere in the image; None without an image head.
    """

    mask: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    image: Tensor | None = None


class SegmentationNetwork(Network):
    """Encoder, decoder and heads.

    The names of encoder, decoder and segmentation_head are those of segmentation-models-pytorch, so that its weight
    files fit.
    """

    def __init__(self, params: ModelParams, base: Any) -> None:
        """Put the options of section model around the encoder, decoder and mask head of ``base``."""
        super().__init__(params, base.encoder)
        if params.attention == "cbam":
            blocks.put_cbam(base.decoder)
        decoding = DECODINGS.get(params.architecture)
        channels = decoding.channels(base.decoder) if decoding else []
        deepest, aspp = base.encoder.out_channels[-1], params.aspp
        # First of what is random: the weights of a seed stay what they are.
        heads = [blocks.auxiliary_head(channels[-2 - index]) for index in range(params.deep_supervision_levels)]
        self.aspp = blocks.ASPP(deepest, aspp.channels, aspp.rates, aspp.dropout) if aspp.enabled else None
        self.decoder: nn.Module = base.decoder
        self.hypercolumn = blocks.Hypercolumn(channels) if params.hypercolumn else None
        self.segmentation_head: nn.Module = base.segmentation_head
        self.auxiliary_heads = nn.ModuleList(heads) if heads else None
        self.image_head = image_head(deepest, params.image_head) if params.image_head.enabled else None
        self._levels = decoding.run if decoding and (heads or params.hypercolumn) else output_only

    def forward(self, x: Tensor) -> Output:
        """Logits of a batch.

        Args:
            x: (N, C, H, W) float, normalised as preparation.normalise does.
        """
        features, deepest = self._encode(x)
        levels = self._levels(self.decoder, features)
        top = levels[-1] if self.hypercolumn is None else self.hypercolumn(levels)
        mask = self.segmentation_head(top)
        auxiliary: tuple[Tensor, ...] = ()
        if self.auxiliary_heads is not None and self.training:
            auxiliary = tuple(head(levels[-2 - index]) for index, head in enumerate(self.auxiliary_heads))
        image = None if self.image_head is None else self.image_head(deepest).flatten()
        return Output(mask, auxiliary, image)

    def misfit(self, output: Output, size_px: int) -> str:
        """What is wrong with a mask that does not have the size of the input."""
        sides = tuple(output.mask.shape[2:])
        if sides == (size_px, size_px):
            return ""
        return f"the mask has {sides}; this encoder does not go with model.encoder_depth, take another of the two"

    def _encode(self, x: Tensor) -> tuple[list[Tensor] | tuple[list[Tensor], list[Tensor]], Tensor]:
        """Features as the decoder wants them, and the deepest of them before the ASPP, (N, C, h, w)."""
        features = self.encoder(x)
        if isinstance(features, tuple):  # vision transformers for DPT: feature maps and class tokens
            return features, features[0][-1]
        deepest = features[-1]
        if self.aspp is not None:
            features = [*features[:-1], self.aspp(deepest)]
        return features, deepest


def build_base(params: ModelParams, published: str | None) -> Any:
    """The architecture and encoder themselves, with published weights or random.

    Raises:
        ParameterError: they do not go together, or the weights cannot be had.
    """
    from pneumoseg.networks.libraries import smp

    with building_told(params, published):
        return smp.create_model(
            params.architecture,
            encoder_name=params.encoder,
            encoder_weights=weights_argument(params, published),
            in_channels=params.in_channels,
            classes=1,
            **_architecture_options(params),
        )


def _architecture_options(params: ModelParams) -> dict[str, Any]:
    """Arguments of the architecture's and the encoder's own constructors."""
    name, depth, widths = params.architecture, params.encoder_depth, params.decoder_channels
    options: dict[str, Any] = {"encoder_depth": depth}
    if name in ("unet", "unetplusplus", "manet"):
        options["decoder_channels"] = widths or (256, 128, 64, 32, 16)[-depth:]
    elif widths:
        options |= dict(zip(_WIDTH_NAMES[name], widths, strict=True))
    if params.attention == "scse":
        options["decoder_attention_type"] = "scse"
    # Where the library's constant factor of the last enlargement holds for one depth only.
    if name == "pspnet":
        options["upsampling"] = 2**depth
    if name == "fpn":
        options["upsampling"] = 2 ** (depth - 3)
    return options | encoder_options(params)
