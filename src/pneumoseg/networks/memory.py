"""Less memory in training: the activations inside a block are computed again in the backward pass instead of kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pneumoseg.networks.norms import batch_norms

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


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
