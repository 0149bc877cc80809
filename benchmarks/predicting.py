"""Stage predict against its floor: PNG files read and coded, and the network with the enlargement of its maps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.loading import SIDE_PX, smooth_image
from pneumoseg.config import load_params
from pneumoseg.networks.building import build_network
from pneumoseg.networks.family import Prediction
from pneumoseg.networks.storage import save_model
from pneumoseg.predict.ensemble import load_ensemble
from pneumoseg.predict.planning import plan
from pneumoseg.predict.predicting import Radiographs, predict
from pneumoseg.predict.runner import Runner, TrainedNetwork
from pneumoseg.rule.maps import grey_levels
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import available_cores
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, write_table

ENCODER, INPUT_PX, FILES = "resnet34", 512, 16
ON_GPU, ON_CPU = 640, 24
GOAL = 150
PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"


def main() -> str:
    """Images a second: the whole stage, its two parts alone, and the floor that they make."""
    params = load_params(PARAMS)
    model = params.model.model_copy(update={"encoder": ENCODER, "weights": None})
    on_gpu, cores = torch.cuda.is_available(), available_cores()
    count = ON_GPU if on_gpu else ON_CPU
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(Path(name))
        names = _write(layout, count)
        torch.manual_seed(0)
        save_model(layout.models / "fold0", build_network(model), model, INPUT_PX)
        ensemble = load_ensemble({0: layout.models / "fold0"}, (), params.predict, params.runtime)
        predictor = ensemble.predictor(plan(layout, [0])[0])
        part = names[: FILES if on_gpu else 8]
        images, sides = Radiographs.of(layout).read(part), [(SIDE_PX, SIDE_PX)] * len(part)
        said = predictor(images, sides, params.predict.batch_size)  # the first call searches kernels and warms caches
        network = _best(lambda: predictor(images, sides, params.predict.batch_size)) / len(part)
        levels = grey_levels(said[0].map) if said[0].map is not None else np.zeros((1, 1), np.uint8)
        reading = _best(lambda: [read_png(layout.images / f"{one}.png") for one in part]) / len(part)
        coding = _best(lambda: [write_png(layout.root / f"{index}.png", levels) for index in range(8)]) / 8
        with mock.patch.object(ensemble.runner, "_forward", _before(ensemble.runner, params.predict.batch_size)):
            rest = _best(lambda: predictor(images, sides, params.predict.batch_size)) / len(part)
        began = time.perf_counter()
        predict(layout, [0], params.predict, params.runtime)
        whole = (time.perf_counter() - began) / count
    files = (reading + coding) / cores
    floor = max(network, files) if on_gpu else network + files  # on a CPU both are done by the same cores
    device = torch.cuda.get_device_name() if on_gpu else f"{cores} cores"
    rows = [
        ("reading a radiograph, coding a map, one core", f"{reading * 1e3:.1f}, {coding * 1e3:.1f} ms"),
        (f"files alone, {cores} cores", _rate(files)),
        ("network and enlargement alone", _rate(network)),
        ("the same with a network that takes no time", _rate(rest)),
        ("the floor: " + ("the slower of the two" if on_gpu else "both, on the same cores"), _rate(floor)),
        ("the stage, its start included", f"{_rate(whole)}{f', goal {GOAL}' if on_gpu else ''}"),
        ("the stage against the floor", f"{whole / floor:.2f} x"),
    ]
    title = f"Predict, U-Net {ENCODER} at {INPUT_PX}², maps of {SIDE_PX}², {count} images, {device}"
    return "\n".join([title, *(f"  {label:<52}{value}" for label, value in rows)])


def _before(runner: Runner, batch_size: int) -> Callable[[TrainedNetwork, Tensor], Prediction]:
    """What a network would say of a batch, without asking it."""
    chooser = np.random.default_rng(0)
    maps = [cv2.resize(chooser.random((16, 16), np.float32), (INPUT_PX, INPUT_PX)) for _ in range(batch_size)]
    said = torch.from_numpy(np.stack(maps)).to(runner.device)
    return lambda _network, batch: Prediction(map=said[: len(batch)], image=None)


def _rate(seconds: float) -> str:
    return f"{1 / seconds:.1f} images/s"


def _best(work: Callable[[], object], rounds: int = 3) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _write(layout: Layout, count: int) -> Sequence[str]:
    """Radiographs of a test set; some files stand for all of them."""
    names = [f"image{number:04d}" for number in range(count)]
    layout.images.mkdir(parents=True)
    for number, name in enumerate(names):
        path = layout.images / f"{name}.png"
        if number < FILES:
            write_png(path, smooth_image(number)[0])
        else:
            path.symlink_to(layout.images / f"{names[number % FILES]}.png")
    sides = pd.DataFrame({"image_id": names, "rows": SIDE_PX, "columns": SIDE_PX})
    write_table(layout.metadata, sides, METADATA)
    write_table(layout.annotations, pd.DataFrame({"image_id": names, "annotated": 1}), ANNOTATIONS)
    write_table(layout.folds, pd.DataFrame({"image_id": names, "patient": names, "fold": "test"}), FOLDS)
    return names
