"""One factory for every network: an architecture, an encoder, and what section model adds to them."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pneumoseg.config.model import ModelParams
from pneumoseg.networks import blocks, encoders
from pneumoseg.networks.decoder_levels import DECODINGS, output_only
from pneumoseg.networks.network import (
    Output,
    SegmentationModel,
    batch_norms,
    check_size,
    freeze_unused,
    set_encoder_frozen,
)
from pneumoseg.networks.weights import load_weights_into, read_weights, weights_path
from pneumoseg.shared.errors import ParameterError

__all__ = ["Output", "SegmentationModel", "build_model", "check_size", "freeze_unused", "set_encoder_frozen"]

logger = logging.getLogger(__name__)

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


def build_model(params: ModelParams, load_weights: bool = True) -> SegmentationModel:
    """Make the network of section model, in training mode, on the CPU.

    What is random depends on torch's seed alone.

    Args:
        params: section model.
        load_weights: false leaves model.weights aside: every parameter is random, nothing is read or downloaded.

    Raises:
        ParameterError: an unknown encoder, one that the architecture cannot take, weights that cannot be had.
        DataError: a missing or damaged file of weights.
    """
    encoders.check_encoder(params.encoder)
    wanted = params.weights if load_weights else None
    published = wanted is not None and encoders.check_published(params)
    path = None if published else weights_path(wanted)
    found = {} if path is None else _read(path, params)
    model = _assemble(params, _base(params, wanted if published else None))
    # Group norm takes over the scales of the batch norm that it replaces, so weights with batch statistics come first.
    before = any(name.endswith("running_mean") for name in found)
    if path is not None and before:
        load_weights_into(model, found, path)
    _set_norm(model, params, load_weights)
    if path is not None and not before:
        load_weights_into(model, found, path)
    return model


def _read(path: Path, params: ModelParams) -> dict[str, Tensor]:
    if not path.is_file():
        names = ", ".join(encoders.published_weights(params.encoder)) or "none"
        raise ParameterError(
            f"model.weights = {params.weights}: no such file, and not the name of weights published for "
            f"{params.encoder} ({names}); give one of these, a .safetensors file, a model folder, or null"
        )
    return read_weights(path)


def _base(params: ModelParams, published: str | None) -> Any:
    """The architecture and encoder themselves, with published weights or random."""
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
            f"With a network, run again; without one, copy the hub's cache of a machine that has them "
            f"(HF_HOME, by default ~/.cache/huggingface) and set HF_HUB_OFFLINE=1, or give the path of a .safetensors "
            f"file, or set it to null for random weights"
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


def _assemble(params: ModelParams, base: Any) -> SegmentationModel:
    """Put the options around encoder, decoder and mask head."""
    if params.attention == "cbam":
        blocks.put_cbam(base.decoder)
    decoding = DECODINGS.get(params.architecture)
    channels = decoding.channels(base.decoder) if decoding else []
    deepest = base.encoder.out_channels[-1]
    aspp, head = params.aspp, params.image_head
    heads = [blocks.auxiliary_head(channels[-2 - index]) for index in range(params.deep_supervision_levels)]
    model = SegmentationModel(
        base.encoder,
        base.decoder,
        base.segmentation_head,
        levels=decoding.run if decoding and (heads or params.hypercolumn) else output_only,
        aspp=blocks.ASPP(deepest, aspp.channels, aspp.rates, aspp.dropout) if aspp.enabled else None,
        hypercolumn=blocks.Hypercolumn(channels) if params.hypercolumn else None,
        auxiliary_heads=nn.ModuleList(heads) if heads else None,
        image_head=blocks.image_head(deepest, head.pooling, head.dropout) if head.enabled else None,
        frozen_batch_norm=params.norm == "frozen_batch",
    )
    model.mean, model.std = encoders.normalisation(params)
    model.size_multiple = 2**params.encoder_depth
    return model


def _set_norm(model: SegmentationModel, params: ModelParams, load_weights: bool) -> None:
    """Replace or freeze batch norms as model.norm says.

    Raises:
        ParameterError: there is none to replace or freeze.
    """
    if params.norm == "group" and not blocks.replace_batch_norms(model):
        raise ParameterError(
            f"model.norm = group: model.architecture = {params.architecture} with model.encoder = {params.encoder} has "
            f"no batch norm to replace; set it to batch"
        )
    if params.norm != "frozen_batch":
        return
    if not batch_norms(model.encoder):
        raise ParameterError(
            f"model.norm = frozen_batch: model.encoder = {params.encoder} has no batch norm to freeze; set it to batch"
        )
    if load_weights and params.weights is None:
        logger.warning(
            "model.norm = frozen_batch with model.weights = null: the frozen statistics are those of no data"
        )
