"""timm and segmentation-models-pytorch; whoever needs one of them, or torchvision, takes it through here.

Their imports bring in the compiler of torch, for a function of torchvision and for a decorator of some models of timm:
two fifths of the time until a network is there (1.7 of 4.4 s of a core). Here both ask for it when they are called.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch.compiler

#: Modules that torchvision asks for one function while it is imported.
_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def _is_compile_supported(device: Any) -> Any:
    return importlib.import_module("torch._dynamo.utils").is_compile_supported(device)


def _disable(function: Callable[..., Any]) -> Callable[..., Any]:
    """As torch.compiler.disable, applied at the first call."""
    disabled = functools.cache(lambda: torch.compiler.disable(function))  # type: ignore[no-untyped-call]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return disabled()(*args, **kwargs)

    return call


@contextmanager
def _compiler_later() -> Iterator[None]:
    if _COMPILER[0] in sys.modules:
        yield
        return
    stand_ins: dict[str, Any] = {name: ModuleType(name) for name in _COMPILER}
    stand_ins["torch._dynamo.utils"].is_compile_supported = _is_compile_supported
    sys.modules.update(stand_ins)
    try:
        import torchvision  # noqa: F401
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)
    disable = torch.compiler.disable
    torch.compiler.disable = _disable  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = disable


with _compiler_later():
    import segmentation_models_pytorch as smp
    import timm

__all__ = ["smp", "timm"]
