"""What every network has in common, whatever its family: an encoder, its normalisation, what of it is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.encoders import normalisation
from pneumoseg.networks.norms import batch_norms
from pneumoseg.shared.errors import ParameterError


class Network(nn.Module):
    """A network with an encoder; made by building.build_network.

    Attributes:
        mean: of the encoder's training images in [0, 1], one for each input channel.
        std: likewise.
        size_multiple: sides of the input must be multiples of it.
        views: images of a sample.
        compiles: whether its training steps always do the same, so that torch.compile helps.
    """

    compiles = True

    def __init__(self, params: ModelParams, encoder: nn.Module) -> None:
        """Take the encoder; a family adds its own parts."""
        super().__init__()
        self.encoder = encoder
        self.mean, self.std = normalisation(params)
        self.size_multiple = 2**params.encoder_depth
        self.views = 1
        self._frozen_batch_norm = params.norm == "frozen_batch"
        self._encoder_frozen = False
        self._unused: frozenset[str] = frozenset()
        self.freeze_norms()
        self.train(self.training)

    @property
    def encoders(self) -> dict[str, nn.Module]:
        """``encoder``, and those of further views by name, which ends in _encoder."""
        return {name: part for name, part in self.named_children() if name.endswith("encoder")}

    def freeze_norms(self) -> None:
        """Keep the scales of the encoders' batch norms where model.norm says so; a family with more calls it again."""
        for encoder in self.encoders.values() if self._frozen_batch_norm else ():
            for norm in batch_norms(encoder):
                norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for encoder in self.encoders.values():
            if self._encoder_frozen:
                encoder.eval()
            for norm in batch_norms(encoder) if self._frozen_batch_norm else ():
                norm.eval()
        return self

    def misfit(self, output: Any, size_px: int) -> str:
        """What is wrong with the output for an input of this size; empty: nothing."""
        return ""


def set_encoder_frozen(model: Network, frozen: bool) -> None:
    """Keep the encoder as it is, its dropout and batch statistics too, or let it learn again.

    A frozen batch norm (``norm: frozen_batch``) stays frozen either way. Call it before the optimiser and DDP look at
    ``requires_grad``, or give them all parameters: those that are frozen get no gradient.
    """
    model._encoder_frozen = frozen
    for part, encoder in model.encoders.items():
        for name, parameter in encoder.named_parameters(prefix=part):
            parameter.requires_grad_(not frozen and name not in model._unused)
    model.freeze_norms()
    model.train(model.training)


def tensors(output: Any) -> list[Tensor]:
    """Every tensor in the output of a network: a tensor, or a tuple, list or mapping of such and of others."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, Fabric, DistributedDataParallel or AveragedModel."""
    while not isinstance(model, Network):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner
    return model


def freeze_unused(model: Network, size_px: int) -> tuple[str, ...]:
    """Take ``requires_grad`` from parameters that have no part in the output; returns their names.

    Some encoders keep stages below encoder_depth, and the last block of an scse decoder an attention without a skip.
    DistributedDataParallel waits for every parameter that requires a gradient. No arithmetic is done.

    Args:
        model: of build_network, with no encoder frozen.
        size_px: side of the square input.
    """
    leaves = {name: value.detach().to("meta").requires_grad_() for name, value in model.named_parameters()}
    output = _run_on_meta(model, leaves, size_px, 2)
    torch.autograd.backward(torch.stack([part.sum() for part in tensors(output)]).sum())
    model._unused = frozenset(name for name, value in leaves.items() if value.grad is None)
    for name in model._unused:
        model.get_parameter(name).requires_grad_(False)
    return tuple(sorted(model._unused))


def _run_on_meta(model: Network, parameters: dict[str, Tensor], size_px: int, batch_size: int) -> Any:
    """Output of a training step in shapes alone."""
    buffers = {name: value.to("meta") for name, value in model.named_buffers()}
    image = torch.empty(input_shape(model, batch_size, size_px), device="meta")
    training = model.training
    model.train()
    try:
        return torch.func.functional_call(model, {**parameters, **buffers}, (image,))
    finally:
        model.train(training)


def input_shape(model: Network, count: int, size_px: int) -> tuple[int, ...]:
    """(N, C, H, W) of N square samples, or (N, V, C, H, W) where a sample has V images."""
    views = () if model.views == 1 else (model.views,)
    return (count, *views, len(model.mean), size_px, size_px)


def check_size(model: Network, size_px: int, batch_size: int, key: str) -> None:
    """Refuse an input that the network cannot train on, before any data is read; no arithmetic is done.

    Args:
        model: of build_network.
        size_px: side of the square input.
        batch_size: images of the smallest batch of one process.
        key: the parameter that gives the size, for the message.

    Raises:
        ParameterError: names the key, the value and the way out.
    """
    if size_px % model.size_multiple:
        lower, upper = (size_px // model.size_multiple + step for step in (0, 1))
        near = " or ".join(str(model.size_multiple * count) for count in (lower, upper) if count)
        raise ParameterError(f"{key} = {size_px}: must be a multiple of {model.size_multiple}; take {near}")
    parameters = {name: value.to("meta") for name, value in model.named_parameters()}
    try:
        with torch.no_grad():
            output = _run_on_meta(model, parameters, size_px, batch_size)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ParameterError(
            f"{key} = {size_px} with batches of {batch_size}: the network cannot run ({reason}); try another size, "
            f"for a transformer encoder model.encoder_image_px = {size_px}, for batches of 1 model.norm = group"
        ) from None
    if misfit := model.misfit(output, size_px):
        raise ParameterError(f"{key} = {size_px}: {misfit}")
