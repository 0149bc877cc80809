"""Which device, how many threads and which floating-point precision a run uses."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import cv2
import torch

from pneumoseg.shared.errors import ParameterError

Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["cpu", "cuda"]


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """The device for ``runtime.device``; auto takes a GPU where there is one.

    Raises:
        ParameterError: cuda is asked for and there is none.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ParameterError("runtime.device = cuda: torch finds no usable NVIDIA GPU here; set it to auto or cpu")
    return wanted


def choose_precision(wanted: Literal["auto", "fp32", "bf16", "fp16"], device: Device) -> Precision:
    """The precision for ``train.precision``; auto is bf16 where the hardware computes in it, else fp32.

    Emulated bf16 is slower than fp32 (on a CPU without AVX512-BF16 or AMX, on a GPU before Ampere), so auto avoids it.

    Raises:
        ParameterError: fp16 is asked for on a CPU.
    """
    if wanted == "fp16" and device == "cpu":
        raise ParameterError("precision = fp16: only GPUs train in it; set train.precision to auto, fp32 or bf16")
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp32"
    return "bf16" if _cpu_computes_bf16() else "fp32"


def use_threads(threads: int | None) -> None:
    """Compute with so many threads from now on (``runtime.threads``); None leaves it as it is, one for each core."""
    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)


def machine(device: Device) -> dict[str, Any]:
    """On what a training ran, as far as its figures hang on it: device, its name, threads."""
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    return {"device": device, "name": name, "threads": torch.get_num_threads()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # platform.processor() says little more than x86_64 on Linux
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def autocast(device: Device, precision: Precision) -> AbstractContextManager[None]:
    """The autocast context of a precision, for code that runs outside Fabric."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device, dtype=dtype, enabled=precision != "fp32")


def _cpu_computes_bf16() -> bool:
    # Not in torch's public interface: an absent check means no.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in checks)
