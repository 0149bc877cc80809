"""Weights from a file: read without pickle, matched by name and shape, never partly by accident."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pneumoseg.shared.errors import DataError, ParameterError

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"
#: Classification layers of published encoders, for which a segmentation network has no place.
_CLASSIFIERS = ("fc", "head", "classifier", "last_linear", "_fc", "conv_head", "bn2", "norm", "final_conv", "head_norm")


def weights_path(weights: str | None) -> Path | None:
    """The .safetensors file that model.weights means, where it means one: itself, or that of a model folder."""
    if weights is None:
        return None
    path = Path(weights)
    return path / WEIGHTS_FILE if path.is_dir() else path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file.

    Raises:
        DataError: it is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: not there; run the stage that writes it (dvc repro), or dvc pull")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file ({error}); get or make it again") from None


def load_weights_into(model: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Put weights of a whole network, or of an encoder alone, into a network.

    The encoder must be complete. Each other part (decoder, heads) is taken where it is complete too; where it is not,
    as for another architecture, it stays random and a warning says so.

    Args:
        model: a network, with the child ``encoder``.
        found: names start with those of the parts (``encoder.``, ``decoder.`` …, as segmentation-models-pytorch has
            them), or are those of a bare encoder.
        path: where they come from, for messages.

    Raises:
        ParameterError: the encoder in it is another one, or incomplete.
    """
    encoder_only = not any(name.startswith("encoder.") for name in found)
    if encoder_only:
        bare = _encoder_names(found, model.get_submodule("encoder"))
        found = {f"encoder.{name}": value for name, value in bare.items()}
    # The encoder of a further view starts as the first one, unless the file has its own.
    for part in (name for name, _ in model.named_children() if name.endswith("_encoder")):
        if not any(name.startswith(f"{part}.") for name in found):
            found = found | {
                f"{part}{name.removeprefix('encoder')}": value
                for name, value in found.items()
                if name.startswith("encoder.")
            }
    taken: dict[str, Tensor] = {}
    for part, child in model.named_children():
        wanted = {f"{part}.{name}": value for name, value in child.state_dict().items()}
        offered = {name: value for name, value in found.items() if name.startswith(f"{part}.")}
        difference = describe_difference(offered, wanted)
        if not difference:
            taken |= offered
        elif part == "encoder":
            raise ParameterError(
                f"model.weights = {path}: does not fit model.encoder and model.in_channels: {difference}; take weights "
                f"of that encoder, or set model.weights to null"
            )
        elif not encoder_only:
            logger.warning("model.weights = %s: %s starts random: %s", path, part, difference)
    strangers = sorted({name.split(".")[0] for name in found} - {name for name, _ in model.named_children()})
    if strangers:
        logger.warning("model.weights = %s: not used, the network has no such part: %s", path, ", ".join(strangers))
    model.load_state_dict(taken, strict=False)


def _encoder_names(found: dict[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """The names of a bare encoder file as the encoder has them, its classifier left out.

    timm's own files lack the prefix that segmentation-models-pytorch gives its wrapper, and write stages.0 where the
    feature extractor has stages_0.
    """
    wanted = encoder.state_dict()
    renamed = {}
    for name, value in found.items():
        forms = (name, f"model.{name}", "model." + re.sub(r"^([a-z_]+)[.](\w+)[.]", r"\1_\2.", name))
        known = next((form for form in forms if form in wanted), None)
        if known is not None or name.split(".")[0] not in _CLASSIFIERS:
            renamed[known or name] = value
    return renamed


def describe_difference(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """Missing and unexpected names and differing shapes, in words; empty where there are none."""
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
    return "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in parts if names)


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
