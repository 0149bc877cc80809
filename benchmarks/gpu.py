"""The GPU's part in eight minutes, for whoever has one for a short time: python -m benchmarks gpu.

Each figure is printed as soon as it is there, the most wanted first; what no time is left for is named at the end.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

from benchmarks import predicting, validation
from benchmarks.training import GPU, PLAIN, Variant, _measure, train_synthetic
from pneumoseg.config import load_params
from pneumoseg.shared.layout import Layout
from pneumoseg.train.fold_data import load_fold
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.training import train_fold

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 480.0
#: Goals at 512 x 512 for an H100 or H200, best batch, whole loop: images a second; and GFLOP a training image takes.
GOALS = {"efficientnet-b4": (450, 110.4), "se_resnext101_32x4d": (380, 375.6), "resnet34": (1200, 186.3)}
#: Loader processes with which a loop should reach LOADED of the step alone.
WORKERS, LOADED = {"efficientnet-b4": 8, "se_resnext101_32x4d": 8, "resnet34": 15}, 0.92
NEEDS = (
    "GPU figures: not measured here, this machine has none. They need one NVIDIA GPU (24 GiB for all rows), this "
    "environment, a C compiler for the compiled rows, data/ of dvc repro split for the training, and eight minutes; "
    "nothing is downloaded."
)

#: Name, seconds it may take, and what measures it.
Part = tuple[str, float, Callable[[], str]]

logger = logging.getLogger("benchmarks")


def main() -> str:
    """Measure what the time allows; returns what was left out, or what a machine without a GPU would need."""
    if not torch.cuda.is_available():
        return NEEDS
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    began, left_out = time.perf_counter(), []
    for name, seconds, work in _parts():
        if time.perf_counter() - began + seconds > LIMIT_S:
            left_out.append(name)
            continue
        started = time.perf_counter()
        try:
            said = work()
        except (RuntimeError, subprocess.SubprocessError) as error:  # out of memory, no compiler: the rest goes on
            said = f"failed: {type(error).__name__}: {str(error).splitlines()[0]}"
        logger.info("%-58s %s  (%.0f s)", name, said, time.perf_counter() - started)
    return f"Left out for want of time: {', '.join(left_out)}" if left_out else "All of it was measured."


def _parts() -> Iterator[Part]:
    for encoder in GOALS:
        yield f"{encoder}, step, batch 32", 60, partial(_step, encoder, 32)
    yield "resnet34, step, batch 64, compiled", 100, partial(_step, "resnet34", 64, compiled=True)
    yield "validation, ms an image", 20, lambda: "\n" + validation.main()
    yield "predict", 40, lambda: "\n" + predicting.main()
    yield _with_loader("efficientnet-b4")
    yield "efficientnet-b4, plain script, batch 8", 40, partial(_loop, "efficientnet-b4", PLAIN, 8, 8)
    yield "tests marked gpu", 90, _tests
    yield "one epoch at 512 x 512 of the images in data/", 60, _training
    yield _with_loader("resnet34")
    yield _with_loader("se_resnext101_32x4d")
    yield "efficientnet-b4, step, batch 8, checkpointed", 40, partial(_checkpointed, "efficientnet-b4")
    yield "resnet34, step, ten slowest kernels", 40, _kernels
    yield "efficientnet-b4, step, batch 32, compiled", 150, partial(_step, "efficientnet-b4", 32, compiled=True)


def _step(encoder: str, batch: int, *, compiled: bool = False) -> str:
    goal, gflop = GOALS[encoder]
    rate, peak = train_synthetic(encoder, 512, batch, compiled=compiled)
    return f"{rate:.0f} images/s, goal {goal} ({rate / goal:.0%}); {rate * gflop / 1e3:.0f} TFLOP/s; {peak:.1f} GiB"


def _with_loader(encoder: str) -> Part:
    workers = WORKERS[encoder]
    name = f"{encoder}, loop with {workers} loader processes, batch 32"
    return name, 60, partial(_loop, encoder, GPU[1], 32, workers)


def _checkpointed(encoder: str) -> str:
    rate, peak = train_synthetic(encoder, 512, 8, checkpointed=True)
    return f"{rate:.0f} images/s; {peak:.1f} GiB, goal 4"


def _loop(encoder: str, variant: Variant, batch: int, workers: int) -> str:
    rate, peak, waited = _measure(encoder, variant, batch, on_gpu=True, workers=workers)
    return f"{rate:.0f} images/s; {peak:.1f} GiB; {waited:.0%} waiting for data, goal {1 - LOADED:.0%}"


def _tests() -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-o", "filterwarnings=", "tests/gpu"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout.strip().splitlines()[-1]


def _training() -> str:
    """The whole of training, from files to validation; nothing is written to data/ or metrics/."""
    if not (ROOT / "data/splits/train_fold0.csv").is_file():
        return "not measured: data/splits is not here (dvc repro split)"
    params = load_params(ROOT / "params.yaml")
    phase = params.train.phases[0].model_copy(update={"size_px": 512, "crop_px": None, "epochs": 2})
    params = params.model_copy(update={"train": params.train.model_copy(update={"phases": (phase,)})})
    with tempfile.TemporaryDirectory() as name:
        data, folder = load_fold(Layout(ROOT), 0, params), Path(name)
        timings: list[Mapping[str, float]] = []
        checkpoint = Checkpoint(folder / "resume", 1e9)
        train_fold(data, params, folder / "arrays", checkpoint, lambda number, row, timing: timings.append(timing))
    first, second = ({name: round(value, 1) for name, value in timing.items()} for timing in timings)
    return f"first epoch {first}, second {second}"


def _kernels() -> str:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        train_synthetic("resnet34", 512, 64, steps=5)
    return "\n" + seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=10, max_name_column_width=60)
