"""From section model to a network, whatever its family: encoder checked, weights in place, norms as wished."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from pneumoseg.config.model import ModelParams
from pneumoseg.networks import encoders
from pneumoseg.networks.family import Family
from pneumoseg.networks.network import Network
from pneumoseg.networks.norms import batch_norms, replace_batch_norms
from pneumoseg.networks.weights import load_weights_into, read_weights, weights_path
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.registry import FAMILIES

logger = logging.getLogger(__name__)


def build_network(params: ModelParams, load_weights: bool = True) -> Network:
    """Make the network of section model, in training mode, on the CPU.

    What is random depends on torch's seed alone.

    Args:
        params: section model.
        load_weights: false leaves model.weights aside: every parameter is random, nothing is read or downloaded.

    Raises:
        ParameterError: an unknown encoder, one that the architecture cannot take, weights that cannot be had.
        DataError: a missing or damaged file of weights.
    """
    family: Family = FAMILIES[params.architecture]
    encoders.check_encoder(params.encoder)
    wanted = params.weights if load_weights else None
    whole = getattr(family, "published", lambda _: ())(params)
    published = wanted is not None and (wanted in whole or encoders.check_published(params))
    path = None if published else weights_path(wanted)
    found = {} if path is None else _read(path, params)
    model = family.build(params, wanted if published else None)
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


def _set_norm(model: Network, params: ModelParams, load_weights: bool) -> None:
    """Replace or freeze batch norms as model.norm says.

    Raises:
        ParameterError: there is none to replace or freeze.
    """
    if params.norm == "group" and not replace_batch_norms(model):
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
