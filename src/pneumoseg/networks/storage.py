"""A trained network in a folder: weights.safetensors and model.json, read without pickle and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.network import Network, unwrap
from pneumoseg.networks.spec import ModelSpec
from pneumoseg.networks.weights import WEIGHTS_FILE, describe_difference, read_weights
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import atomic_path, read_json, write_json

__all__ = ["ModelSpec", "load_model", "load_spec", "save_model"]

#: Raised when a reader of the older form would misunderstand the newer one.
FORMAT = 1
SPEC_FILE = "model.json"


def save_model(folder: Path, model: nn.Module, params: ModelParams, size_px: int) -> None:
    """Write weights.safetensors and model.json; the same weights give the same bytes.

    Args:
        folder: made if need be.
        model: of build_network(params), bare or inside torch.compile, Fabric or AveragedModel.
        params: section model.
        size_px: side of the square input.
    """
    network = unwrap(model)
    if not isinstance(network, Network):
        raise TypeError(f"save_model takes a network of build_network, not {type(network).__name__}")
    folder.mkdir(parents=True, exist_ok=True)
    # Copies: a contiguous one of each, since weights may be channels last or share memory.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary)
    write_json(
        folder / SPEC_FILE,
        {
            "format": FORMAT,
            "size_px": size_px,
            "mean": network.mean,
            "std": network.std,
            "params": params.model_dump(mode="json"),
        },
    )


def load_model(folder: Path) -> tuple[Network, ModelSpec]:
    """Read a network back, on the CPU, in evaluation mode.

    Raises:
        DataError: a file is missing or damaged, or the two do not belong together.
    """
    spec = load_spec(folder)
    try:
        model = build_network(spec.params, load_weights=False)
    except ParameterError as error:
        raise DataError(f"{folder / SPEC_FILE}: its network cannot be built here: {error}") from None
    weights = read_weights(folder / WEIGHTS_FILE)
    check_keys(weights, model.state_dict(), str(folder / WEIGHTS_FILE))
    model.load_state_dict(weights)
    model.mean, model.std = spec.mean, spec.std
    return model.eval(), spec


def load_spec(folder: Path) -> ModelSpec:
    """Read model.json alone.

    Raises:
        DataError: it is missing, damaged or of another format.
    """
    path = folder / SPEC_FILE
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise DataError(f"{path}: format {found}, this version reads {FORMAT}; train again (dvc repro)")
    try:
        params = ModelParams.read(content["params"], "params")
        size_px, mean, std = int(content["size_px"]), _floats(content["mean"]), _floats(content["std"])
    except (KeyError, TypeError, ValueError, ParameterError) as error:
        raise DataError(f"{path}: not a model description of this version ({error}); train again (dvc repro)") from None
    if len(mean) != params.in_channels or len(std) != params.in_channels or size_px < 1:
        raise DataError(f"{path}: mean, std or size_px do not fit its params; train again (dvc repro)")
    return ModelSpec(params, size_px, mean, std)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def check_keys(weights: dict[str, Tensor], wanted: dict[str, Tensor], source: str) -> None:
    """Refuse weights whose names or shapes are not those of the network.

    Raises:
        DataError: names the first of each kind that differ.
    """
    problems = describe_difference(weights, wanted)
    if problems:
        raise DataError(f"{source}: does not fit the network of model.json: {problems}; train again (dvc repro)")
