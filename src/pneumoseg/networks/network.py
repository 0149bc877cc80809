"""The network as training and inference see it: one input, one output of mask, auxiliary masks and image logit."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from pneumoseg.networks.decoder_levels import Levels
from pneumoseg.shared.errors import ParameterError


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


class SegmentationModel(nn.Module):
    """Encoder, decoder and heads. Made by models.factory.build_model.

    The names of encoder, decoder and segmentation_head are those of segmentation-models-pytorch, so that its weight
    files fit.

    Attributes:
        mean: of the encoder's training images in [0, 1], one for each input channel.
        std: likewise.
        size_multiple: sides of the input must be multiples of it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size_multiple: int

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        segmentation_head: nn.Module,
        *,
        levels: Levels,
        aspp: nn.Module | None = None,
        hypercolumn: nn.Module | None = None,
        auxiliary_heads: nn.ModuleList | None = None,
        image_head: nn.Module | None = None,
        frozen_batch_norm: bool = False,
    ) -> None:
        """Put the parts together; `levels` runs the decoder."""
        super().__init__()
        self.encoder = encoder
        self.aspp = aspp
        self.decoder = decoder
        self.hypercolumn = hypercolumn
        self.segmentation_head = segmentation_head
        self.auxiliary_heads = auxiliary_heads
        self.image_head = image_head
        self._levels = levels
        self._frozen_batch_norm = frozen_batch_norm
        self._encoder_frozen = False
        self._unused: frozenset[str] = frozenset()
        if frozen_batch_norm:
            for norm in batch_norms(encoder):
                norm.requires_grad_(False)
        self.train(self.training)

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

    def _encode(self, x: Tensor) -> tuple[list[Tensor] | tuple[list[Tensor], list[Tensor]], Tensor]:
        """Features as the decoder wants them, and the deepest of them before the ASPP, (N, C, h, w)."""
        features = self.encoder(x)
        if isinstance(features, tuple):  # vision transformers for DPT: feature maps and class tokens
            return features, features[0][-1]
        deepest = features[-1]
        if self.aspp is not None:
            features = [*features[:-1], self.aspp(deepest)]
        return features, deepest

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self._encoder_frozen:
            self.encoder.eval()
        if self._frozen_batch_norm:
            for norm in batch_norms(self.encoder):
                norm.eval()
        return self


def set_encoder_frozen(model: SegmentationModel, frozen: bool) -> None:
    """Keep the encoder as it is, its dropout and batch statistics too, or let it learn again.

    A frozen batch norm (``norm: frozen_batch``) stays frozen either way. Call it before the optimiser and DDP look at
    ``requires_grad``, or give them all parameters: those that are frozen get no gradient.
    """
    model._encoder_frozen = frozen
    for name, parameter in model.encoder.named_parameters(prefix="encoder"):
        parameter.requires_grad_(not frozen and name not in model._unused)
    if model._frozen_batch_norm:
        for norm in batch_norms(model.encoder):
            norm.requires_grad_(False)
    model.train(model.training)


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Every batch norm in a module."""
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, Fabric, DistributedDataParallel or AveragedModel."""
    while not isinstance(model, SegmentationModel):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner
    return model


def freeze_unused(model: SegmentationModel, size_px: int) -> tuple[str, ...]:
    """Take ``requires_grad`` from parameters that have no part in the output; returns their names.

    Some encoders keep stages below encoder_depth, and the last block of an scse decoder an attention without a skip.
    DistributedDataParallel waits for every parameter that requires a gradient. No arithmetic is done.

    Args:
        model: of build_model, with no encoder frozen.
        size_px: side of the square input.
    """
    leaves = {name: value.detach().to("meta").requires_grad_() for name, value in model.named_parameters()}
    output = _run_on_meta(model, leaves, size_px, 2)
    logits = [output.mask, *output.auxiliary, *([] if output.image is None else [output.image])]
    torch.autograd.backward(torch.stack([part.sum() for part in logits]).sum())
    model._unused = frozenset(name for name, value in leaves.items() if value.grad is None)
    for name in model._unused:
        model.get_parameter(name).requires_grad_(False)
    return tuple(sorted(model._unused))


def _run_on_meta(model: SegmentationModel, parameters: dict[str, Tensor], size_px: int, batch_size: int) -> Output:
    """Output of a training step in shapes alone."""
    buffers = {name: value.to("meta") for name, value in model.named_buffers()}
    image = torch.empty(batch_size, len(model.mean), size_px, size_px, device="meta")
    training = model.training
    model.train()
    try:
        output: Output = torch.func.functional_call(model, {**parameters, **buffers}, (image,))
        return output
    finally:
        model.train(training)


def check_size(model: SegmentationModel, size_px: int, batch_size: int, key: str) -> None:
    """Refuse an input that the network cannot train on, before any data is read; no arithmetic is done.

    Args:
        model: of build_model.
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
    if output.mask.shape != (batch_size, 1, size_px, size_px):
        raise ParameterError(
            f"{key} = {size_px}: the mask has {tuple(output.mask.shape[2:])}; this encoder does not go with "
            f"model.encoder_depth, take another of the two"
        )
