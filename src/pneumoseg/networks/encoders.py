"""Encoders: their names, what is known of them, the weights published for them, and one by itself."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from pneumoseg.config.model import ModelParams
from pneumoseg.shared.errors import ParameterError

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Native encoders whose weights were trained on images scaled to [-1, 1].
_HALF_SCALED = ("inceptionresnetv2", "inceptionv4", "xception")
HOW_TO_LIST = (
    'python -c "import segmentation_models_pytorch as s, timm; '
    "print(*s.encoders.encoders, *('tu-' + n for n in timm.list_models()), sep='\\n')\""
)
#: One line that writes the published weights of an encoder into a file for model.weights; the README has it too.
WRITE_ENCODER = (
    'python -c "import segmentation_models_pytorch as smp, safetensors.torch as st; '
    "st.save_file(smp.encoders.get_encoder('{encoder}', weights='imagenet').state_dict(), '{encoder}.safetensors')\""
)
#: What the constructors of both libraries raise when architecture and encoder do not go together.
_MISFITS = (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError)


def check_encoder(name: str) -> None:
    """Refuse a name that neither library knows.

    Raises:
        ParameterError: with the closest names and how to list all.
    """
    from pneumoseg.networks.libraries import smp, timm

    encoders = smp.encoders.encoders
    if name in encoders:
        return
    bare, _, tag = name.removeprefix("tu-").partition(".")
    if name.startswith("tu-") and timm.is_model(bare):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{bare}.*")]
        if tag and tag not in tags:
            raise ParameterError(f"model.encoder = {name}: timm has no weights {tag} for it; it has {', '.join(tags)}")
        return
    timms = [f"tu-{model}" for model in timm.list_models()]
    close = [
        *difflib.get_close_matches(name, [*encoders, *timms], n=3, cutoff=0.6),
        *(known for known in timms if known == f"tu-{name}"),
    ]
    advice = f"closest: {', '.join(dict.fromkeys(close))}; " if close else ""
    raise ParameterError(f"model.encoder = {name}: no such encoder; {advice}list all: {HOW_TO_LIST}")


def published_weights(encoder: str) -> tuple[str, ...]:
    """Names under which the weights of an encoder are published; a timm encoder's are those of its tag, as imagenet."""
    from pneumoseg.networks.libraries import smp, timm

    encoders = smp.encoders.encoders
    if encoder in encoders:
        return tuple(encoders[encoder]["pretrained_settings"])
    return ("imagenet",) if timm.models.is_model_pretrained(encoder.removeprefix("tu-")) else ()


def check_published(params: ModelParams) -> bool:
    """Whether model.weights names published weights, to be taken from the hub or its cache; logs a restrictive licence.

    Raises:
        ParameterError: imagenet is asked for and the encoder has no such weights.
    """
    known = published_weights(params.encoder)
    if params.weights in known:
        if params.encoder.startswith("mit_b"):
            logger.warning("weights of %s: NVIDIA Source Code License, not for commercial use", params.encoder)
        return True
    if params.weights == "imagenet":
        offer = f"it has {', '.join(known)}; " if known else "it has none; "
        raise ParameterError(
            f"model.weights = imagenet: none are published for model.encoder = {params.encoder}; {offer}"
            f"name one of them, give a path, or set it to null"
        )
    return False


def normalisation(params: ModelParams) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the encoder's training images in [0, 1], one value for each input channel.

    A grey image in one channel gets the mean of the three.
    """
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    if params.encoder.startswith("tu-"):
        from pneumoseg.networks.libraries import timm

        config = timm.models.get_pretrained_cfg(params.encoder.removeprefix("tu-"))
        if config is not None and config.mean and config.std:
            mean, std = tuple(config.mean), tuple(config.std)
    elif params.encoder in _HALF_SCALED:
        mean = std = (0.5, 0.5, 0.5)
    if params.in_channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return tuple(round(value, 6) for value in mean), tuple(round(value, 6) for value in std)


def build_encoder(params: ModelParams, published: str | None) -> nn.Module:
    """An encoder by itself: (N, C, H, W) to its levels, the input first and the deepest last.

    Args:
        params: section model.
        published: name of the published weights that it starts from; None: every parameter is random.

    Raises:
        ParameterError: it cannot be built so, or the weights cannot be had.
    """
    from pneumoseg.networks.libraries import smp

    with building_told(params, published):
        encoder = smp.encoders.get_encoder(
            params.encoder,
            in_channels=params.in_channels,
            depth=params.encoder_depth,
            weights=weights_argument(params, published),
            **encoder_options(params),
        )
    return cast("nn.Module", encoder)


def weights_argument(params: ModelParams, published: str | None) -> Any:
    """Published weights as segmentation-models-pytorch wants them: timm's have no name there."""
    return True if published and params.encoder.startswith("tu-") else published


def encoder_options(params: ModelParams) -> dict[str, Any]:
    """Arguments of an encoder's own constructor."""
    if params.encoder_image_px is None:
        return {}
    # A later phase may train at another size.
    flexible = {"strict_img_size": False} if "swin" in params.encoder else {}
    return {"img_size": params.encoder_image_px} | flexible


@contextmanager
def building_told(params: ModelParams, published: str | None) -> Iterator[None]:
    """Say in words of section model what the libraries' constructors raise.

    Raises:
        ParameterError: architecture and encoder do not go together, or the weights cannot be had.
    """
    from safetensors import SafetensorError

    try:
        with warnings.catch_warnings():
            # DPT with an encoder that has no class token: nothing is lost, its tokens are left out.
            warnings.filterwarnings("ignore", message="Encoder does not have prefix tokens")
            warnings.filterwarnings("ignore", message="`timm-` encoders are deprecated", category=DeprecationWarning)
            yield
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
