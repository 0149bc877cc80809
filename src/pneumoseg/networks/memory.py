"""Memory in training: how much a network needs, and less of it where activations are computed again instead of kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pneumoseg.networks.network import Network, input_shape
from pneumoseg.networks.norms import batch_norms

#: Bytes a parameter takes in fp32 training with Adam: itself, its gradient, two running means.
_A_PARAMETER = 16
#: What is taken beside weights and kept activations: a share of these for a moment, and the CUDA libraries.
_MOMENTARY, _LIBRARIES = 1.1, 1.5 * 2**30
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def kept_bytes(model: Network, size_px: int, bytes_a_value: int) -> int:
    """Activations that a training step keeps for the backward pass, of one image; no arithmetic is done.

    Args:
        model: of build_network; every floating-point activation counts with the same bytes.
        size_px: side of the square input.
        bytes_a_value: 2 under bf16 and fp16, 4 under fp32.
    """
    kept: dict[int, int] = {}
    alive = []

    def keep(value: Tensor) -> Tensor:
        floating = value.is_floating_point()
        if not (floating and value.is_leaf):  # neither weights nor images; indices of pooling count as they are
            storage = value.untyped_storage()
            alive.append(storage)  # else another one could get its address
            kept[storage._cdata] = storage.nbytes() * (bytes_a_value if floating else 4) // 4
        return value

    parameters = {name: value.detach().to("meta").requires_grad_() for name, value in model.named_parameters()}
    buffers = {name: value.to("meta") for name, value in model.named_buffers()}
    images = torch.empty(input_shape(model, 2, size_px), device="meta")
    training = model.training
    model.train()
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            output = torch.func.functional_call(model, {**parameters, **buffers}, (images,))
    finally:
        model.train(training)
    del output
    return sum(kept.values()) // 2


def training_bytes(model: Network, size_px: int, bytes_a_value: int, batch: int) -> float:
    """About what a training with Adam takes on a GPU; measured peaks of U-Nets lie within a fifth of it."""
    weights = _A_PARAMETER * sum(value.numel() for value in model.parameters())
    return _MOMENTARY * batch * kept_bytes(model, size_px, bytes_a_value) + weights + _LIBRARIES


def largest_batch(model: Network, size_px: int, bytes_a_value: int, memory: float) -> int:
    """The largest batch for which training_bytes stays within a memory; 0: not even one image."""
    none, one = (training_bytes(model, size_px, bytes_a_value, batch) for batch in (0, 1))
    return max(0, int((memory - none) // (one - none)))


def checkpoint_activations(model: nn.Module) -> int:
    """Checkpoint every repeated block (Chen et al. 2016, arXiv:1604.06174); returns how many.

    Losses, gradients and batch statistics stay the same; a step costs up to one forward pass more. Parameter names do
    not change. Not together with torch.compile(fullgraph=True), whose own planner does the like.
    """
    blocks = list(_blocks(model))
    for block in blocks:
        block.forward = functools.partial(_run, block, block.forward)
    return len(blocks)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Outermost members of lists that hold two convolutions or linear layers or more."""
    for child in module.children():
        listed = isinstance(module, _CONTAINERS) and not isinstance(child, _CONTAINERS)
        layers = sum(isinstance(part, nn.Conv2d | nn.Linear) for part in child.modules())
        if listed and layers >= 2:
            yield child
        else:
            yield from _blocks(child)


def _run(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    # A dense block goes on filling the list that it gave to its layers: each keeps the list it saw.
    seen = [list(value) if isinstance(value, list) else value for value in args]
    contexts = functools.partial(_contexts, block)
    return checkpoint(forward, *seen, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _held_statistics(block)


@contextmanager
def _held_statistics(block: nn.Module) -> Iterator[None]:
    """Let batch norms work without counting the batch a second time."""
    held = [
        (norm, norm.momentum, norm.num_batches_tracked, norm.num_batches_tracked.clone())
        for norm in batch_norms(block)
        if norm.training and norm.num_batches_tracked is not None
    ]
    for norm, *_ in held:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, counter, count in held:
            norm.momentum = momentum
            counter.copy_(count)
