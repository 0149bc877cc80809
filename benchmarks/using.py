"""The model in use: one file from a cold start, each further one, memory over many, and a step of the page's slider."""

from __future__ import annotations

import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from benchmarks.browser import find_browser, visit
from pneumoseg.config import load_params
from pneumoseg.config.extract import ExtractParams
from pneumoseg.config.phantom import PhantomParams
from pneumoseg.config.predict import PredictParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.storage import save_model
from pneumoseg.phantom.writer import phantom_file
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.use.acceptance import accept
from pneumoseg.use.bundle import write_description
from pneumoseg.use.intake import Input
from pneumoseg.use.reader import Reader, load
from pneumoseg.use.reading_files import Job, read_files
from pneumoseg.use.results import write_results

SIDE_PX = 1024
INPUT_PX = 512
REPEATS = 7
MANY = 500
#: Of these, memory is what everything takes that is loaded once.
FIRST = 50
STEPS = 60
RESULTS = ("mask", "overlay", "json")
_ROOT = Path(__file__).resolve().parent.parent
#: Between two requests for a frame stands what the page does for one step of its slider.
_SLIDE = f"""
give("choose", await given());
await until(() => !at("view").hidden && !at("threshold").disabled && at("canvas").width > 300);
await tick(); await tick();
const times = [];
for (let step = 0; step < {STEPS}; step += 1) {{
  at("threshold").value = String(20 + 3 * step);
  let before = 0;
  requestAnimationFrame(() => {{ before = performance.now(); }});
  at("threshold").dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => {{ times.push(performance.now() - before); done(); }}));
}}
await tell({{times, width: at("canvas").width}});
"""


def write_model(folder: Path, size_px: int, encoder: str | None = None) -> Path:
    """A bundle of one network of params.yaml, or of another encoder, with random weights."""
    params = load_params(_ROOT / "params.yaml").model
    params = params.model_copy(update={"weights": None, **({"encoder": encoder} if encoder else {})})
    torch.manual_seed(0)
    network = folder / "networks/0/fold0"
    network.mkdir(parents=True)
    save_model(network, build_network(params), params, size_px)
    content = {
        "phantom": True,
        "architecture": params.architecture,
        "encoder": params.encoder,
        "groups": [{"folders": ["0/fold0"]}],
        "extract": ExtractParams().model_dump(mode="json"),
        "predict": PredictParams().model_dump(mode="json"),
        "rule": DecisionRule("single", 0.75).to_json(),  # random weights say near one half of most pixels
        "view_positions": ["PA", "AP"],
        "intended_use": "benchmark",
        "data": "0",
        "code": "0",
    }
    write_description(folder, content)
    return folder


def cold(bundle: Path, file: Path, out: Path) -> tuple[float, float]:
    """Seconds from the command to its end, and of the processor, its processes together."""
    command = [sys.executable, "-m", "pneumoseg.commands.cli", "predict", str(file), "-o", str(out)]
    before, start = os.times(), time.perf_counter()
    subprocess.run([*command, "--model", str(bundle), "--device", "cpu"], check=True, capture_output=True)
    took, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return took, used


def further(reader: Reader, file: Path, out: Path) -> tuple[float, float]:
    """Milliseconds of the networks, and of all else that a further image takes, its decoding included."""
    radiograph = accept(file, reader.bundle)
    shape = (int(radiograph.row["rows"] or 0), int(radiograph.row["columns"] or 0))
    said, rest = reader.predictor([radiograph.pixels], [shape]), copy.copy(reader)
    rest.predictor = lambda *_: said

    def network() -> None:
        reader.predictor([radiograph.pixels], [shape])

    def all_else() -> None:
        answer = rest.answer(accept(file, reader.bundle))
        write_results(out / answer.image_id, answer, b"", RESULTS)

    own, beyond = (1000 * min(_seconds(work) for _ in range(REPEATS)) for work in (network, all_else))
    return own, beyond


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def growth(bundle: Path, folder: Path) -> float:
    """MiB by which memory grows between the first images and the last."""
    inputs = []
    for index in range(MANY):
        path = folder / f"{index}.dcm"
        path.write_bytes(phantom_file(PhantomParams(size_px=256, images=MANY, seed=1), index))
        inputs.append(Input(path.name, path))
    process, sizes = psutil.Process(), []
    bundle_read = load(bundle, "cpu").bundle
    for part in (inputs[:FIRST], inputs):
        read_files(part, bundle_read, "cpu", Job(folder / "out", RESULTS, workers=0))
        sizes.append(process.memory_info().rss / 2**20)
    return sizes[1] - sizes[0]


def slide(reader: Reader, file: Path) -> tuple[float, float] | None:
    """Median and 19th of 20 milliseconds of a step of the threshold; None without a browser."""
    browser = find_browser()
    if browser is None:
        return None
    told, _ = visit(browser, reader, _SLIDE, {file.name: file.read_bytes()})
    return statistics.median(told["times"]), statistics.quantiles(told["times"], n=20)[-1]


def main() -> str:
    """Measure and give a table; of several turns the best, as others may be at work on the machine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = write_model(folder / "bundle", INPUT_PX)
        file = folder / "one.dcm"
        file.write_bytes(phantom_file(PhantomParams(size_px=SIDE_PX, images=8, seed=1), 0))
        took, used = min(cold(bundle, file, folder / f"cold{turn}") for turn in range(3))
        reader = load(bundle, "cpu")
        own, beyond = further(reader, file, folder / "further")
        slid = slide(reader, file)
        (folder / "many").mkdir()
        grown = growth(write_model(folder / "small", 64, "tu-test_efficientnet"), folder / "many")
    step = "no Chromium here" if slid is None else f"{slid[0]:.0f} ms (19 of 20 within {slid[1]:.0f} ms)"
    rows = [
        (f"predict: one file of {SIDE_PX} px from a cold start", f"{took:.1f} s ({used:.1f} s of processor)"),
        (f"predict: network, an image ({reader.bundle.about.encoder} at {INPUT_PX} px)", f"{own:.0f} ms"),
        ("predict: all else of a further image", f"{beyond:.0f} ms"),
        (f"predict: growth from image {FIRST} to {MANY}", f"{grown:.1f} MiB"),
        (f"page: step of the threshold at {SIDE_PX} px", step),
    ]
    return "\n".join(f"{label:<56}{value}" for label, value in rows)
