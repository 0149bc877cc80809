"""Names of encoders, what is known of them, and the weights published for them."""

from __future__ import annotations

import difflib
import logging

from pneumoseg.config.model import ModelParams
from pneumoseg.shared.errors import ParameterError

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Native encoders whose weights were trained on images scaled to [-1, 1].
_HALF_SCALED = ("inceptionresnetv2", "inceptionv4", "xception")
HOW_TO_LIST = (
    'python -c "import segmentation_models_pytorch as s, timm; '
    "print(*s.encoders.encoders, *('tu-' + n for n in timm.list_models()), sep='\\n')\""
)


def check_encoder(name: str) -> None:
    """Refuse a name that neither library knows.

    Raises:
        ParameterError: with the closest names and how to list all.
    """
    import timm
    from segmentation_models_pytorch.encoders import encoders

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
    import timm
    from segmentation_models_pytorch.encoders import encoders

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
        import timm

        config = timm.models.get_pretrained_cfg(params.encoder.removeprefix("tu-"))
        if config is not None and config.mean and config.std:
            mean, std = tuple(config.mean), tuple(config.std)
    elif params.encoder in _HALF_SCALED:
        mean = std = (0.5, 0.5, 0.5)
    if params.in_channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return tuple(round(value, 6) for value in mean), tuple(round(value, 6) for value in std)
