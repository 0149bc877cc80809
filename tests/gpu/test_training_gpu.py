"""What only a GPU can show: the same learning there as on the CPU, less memory where that is promised."""

from pathlib import Path

import pytest
import torch

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.memory import checkpoint_activations
from pneumoseg.shared.errors import TrainingError
from pneumoseg.shared.layout import Layout
from pneumoseg.train.training import TrainedFold
from tests.train.disks import make_params, train, write_disks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_disks(tmp_path_factory.mktemp("disks"))


def train_on(device: str, disks: Layout, tmp_path: Path, **changes) -> TrainedFold:
    params = make_params(**({"phase": {"epochs": 6}} | changes), model={"encoder": "mobilenet_v2"}, workers=2)
    runtime = params.runtime.model_copy(update={"device": device})
    return train(disks, tmp_path, params.model_copy(update={"runtime": runtime}))


def test_first_epoch_is_that_of_the_cpu(disks: Layout, tmp_path: Path):
    changes = {"phase": {"epochs": 1, "lr": 1e-4}}
    there, here = (train_on(device, disks, tmp_path / device, **changes) for device in ("cuda", "cpu"))
    assert there.history[0]["train_loss"] == pytest.approx(here.history[0]["train_loss"], rel=1e-2)


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"precision": "fp16"}, {"checkpoint_activations": True}])
def test_it_learns(changes, disks: Layout, tmp_path: Path):
    trained = train_on("cuda", disks, tmp_path, **changes)
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]
    assert trained.timing["memory_gib"] > 0


def test_a_compiled_network_learns(disks: Layout, tmp_path: Path):
    trained = train_on("cuda", disks, tmp_path, compile=True, precision="bf16", phase={"epochs": 2})
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]


def test_checkpointing_halves_the_peak():
    peaks = []
    for lean in (False, True):
        model = build_network(ModelParams(encoder="efficientnet-b4")).cuda()
        if lean:
            checkpoint_activations(model)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            model(torch.randn(4, 3, 512, 512, device="cuda")).mask.float().mean().backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        del model
    assert peaks[1] < 0.5 * peaks[0]


def test_out_of_memory_says_what_to_lower(disks: Layout, tmp_path: Path):
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(TrainingError, match=r"train\.batch_size=2 and train\.accumulate_batches=2"):
            train_on("cuda", disks, tmp_path, phase={"size_px": 1024})
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
