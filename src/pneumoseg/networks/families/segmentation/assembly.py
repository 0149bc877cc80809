"""Encoder, decoder and heads: an architecture of segmentation-models-pytorch, and what section model adds to it."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from torch import Tensor, nn

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.families.segmentation import blocks
from pneumoseg.networks.families.segmentation.decoder_levels import DECODINGS, output_only
from pneumoseg.networks.heads import image_head
from pneumoseg.networks.network import Network
from pneumoseg.shared.errors import ParameterError

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
#: What the constructors of both libraries raise when architecture and encoder do not go together.
_MISFITS = (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError)


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


#: One line that writes the published weights of an encoder into a file for model.weights; the README has it too.
WRITE_ENCODER = (
    'python -c "import segmentation_models_pytorch as smp, safetensors.torch as st; '
    "st.save_file(smp.encoders.get_encoder('{encoder}', weights='imagenet').state_dict(), '{encoder}.safetensors')\""
)


def build_base(params: ModelParams, published: str | None) -> Any:
    """The architecture and encoder themselves, with published weights or random.

    Raises:
        ParameterError: they do not go together, or the weights cannot be had.
    """
    import segmentation_models_pytorch as smp
    from safetensors import SafetensorError

    timm_encoder = params.encoder.startswith("tu-")
    try:
        with warnings.catch_warnings():
            # DPT with an encoder that has no class token: nothing is lost, its tokens are left out.
            warnings.filterwarnings("ignore", message="Encoder does not have prefix tokens")
            warnings.filterwarnings("ignore", message="`timm-` encoders are deprecated", category=DeprecationWarning)
            return smp.create_model(
                params.architecture,
                encoder_name=params.encoder,
                encoder_weights=True if published and timm_encoder else published,
                in_channels=params.in_channels,
                classes=1,
                **_architecture_options(params),
            )
    except (OSError, SafetensorError) as error:
        if published is None:
            raise
        raise ParameterError(
            f"model.weights = {published}: the weights of {params.encoder} could not be had ({_first_line(error)}). "
            f"With a network, run again. Without one, give a file of the encoder alone, "
            f"-S model.weights=/path/{params.encoder}.safetensors, which a machine with a network writes by\n"
            f"  {WRITE_ENCODER.format(encoder=params.encoder)}\n"
            f"or copy its cache of the hub (HF_HOME, by default ~/.cache/huggingface) and set HF_HUB_OFFLINE=1, or set "
            f"model.weights to null for random weights"
        ) from None
    except _MISFITS as error:
        image_px = f" and encoder_image_px = {params.encoder_image_px}" if params.encoder_image_px else ""
        raise ParameterError(
            f"model.architecture = {params.architecture} cannot take model.encoder = {params.encoder} with "
            f"encoder_depth = {params.encoder_depth}{image_px}: {_first_line(error)}; change one of them"
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


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
    if params.encoder_image_px is not None:
        options["img_size"] = params.encoder_image_px
        if "swin" in params.encoder:
            options["strict_img_size"] = False  # a later phase may train at another size
    return options
