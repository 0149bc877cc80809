"""The loop on images that a child could segment: it learns, resumes, and stops where it must."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from pneumoseg.predict.predictor import Predictor
from pneumoseg.shared.errors import DataError, ParameterError, TrainingError
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.train.arrays import build_arrays
from pneumoseg.train.compiling import planned_images, why_not
from pneumoseg.train.stepping import smaller_batch
from pneumoseg.train.training import TrainedFold, make_fabric, write_fold
from tests.train.disks import StopError, assert_same, initial_weights, load, make_params, train, weights

# The loop's third parties: Lightning asks for a number of workers, torch for deterministic kernels.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")]

#: With group norm nothing depends on the other images of a batch.
GROUP = {"norm": "group"}


@pytest.fixture(scope="module")
def learnt(disks: Layout, tmp_path_factory: pytest.TempPathFactory) -> TrainedFold:
    model = {"encoder": "mobilenet_v2", "decoder_channels": None}
    return train(disks, tmp_path_factory.mktemp("learnt"), make_params(phase={"epochs": 8}, model=model))


def test_it_learns_and_keeps_the_best_epoch(learnt: TrainedFold):
    scores = [row["val_auc_and_dice_pos"] for row in learnt.history]
    assert learnt.summary["best_epoch"] == scores.index(max(scores)) + 1
    assert learnt.summary["val_dice_pos"] > 0.6
    assert learnt.history[-1]["train_loss"] < learnt.history[0]["train_loss"]
    assert learnt.summary["val_all_empty"] == pytest.approx(0.5)


def test_kept_weights_give_the_kept_figures(learnt: TrainedFold, disks: Layout, tmp_path: Path):
    """Predicting with the saved model and scoring by hand gives the summary's Dice."""
    out = Layout(tmp_path)
    write_fold(learnt, out, {"fold": 1})
    ids = [f"image{number}" for number in range(14, 20)]
    predictor = Predictor.load([out.models / "fold1"])
    scores = []
    for image_id, answer in zip(
        ids, predictor([read_png(disks.images / f"{image_id}.png") for image_id in ids]), strict=True
    ):
        path = disks.masks / f"{image_id}.png"
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 if path.is_file() else np.zeros((96, 96), bool)
        marked = answer.map > 0.5
        total = int(marked.sum() + truth.sum())
        scores.append(2 * int((marked & truth).sum()) / total if total else 1.0)
        assert answer.probability == pytest.approx(float(answer.map.max()))
    assert np.mean(scores) == pytest.approx(learnt.summary["val_dice_all"], abs=1e-6)
    curves = pd.read_csv(out.training / "fold1.csv")
    assert list(curves["epoch"]) == list(range(1, 9))


def test_workers_change_nothing(unbroken: TrainedFold, disks: Layout, tmp_path: Path):
    assert_same(train(disks, tmp_path, make_params(workers=2)), unbroken)


def averaged(name: str, **changes) -> dict:
    return {"averaging": {"name": name, **changes}, "keep": "averaged"}


#: What must come to the same weights, whether it was stopped or not.
RESUMED = {
    "plain": {},
    "plateau": {"scheduler": {"name": "plateau", "plateau": {"patience_epochs": 0, "factor": 0.5}}},
    "ema": averaged("ema", ema={"decay": 0.9}),
    "swa": averaged("swa", swa={"epochs": [2, 3]}),
    "top_k": averaged("top_k", top_k={"count": 2}),
    "checkpoints": {"checkpoints": 2},
    "mean teacher": {"mean_teacher": {"images_per_step": 2, "start_epoch": 1}},
}


@pytest.fixture(scope="module")
def plain(disks: Layout, tmp_path_factory: pytest.TempPathFactory) -> TrainedFold:
    return train(disks, tmp_path_factory.mktemp("plain"), make_params(phase={"epochs": 3}))


@pytest.mark.parametrize("name", RESUMED)
def test_a_stopped_run_ends_the_same(name: str, plain: TrainedFold, disks: Layout, tmp_path: Path):
    """Stopped while the last epoch is told, it goes on after the second; the average and the teacher with it."""
    params = make_params(phase={"epochs": 3}, **RESUMED[name])
    whole = train(disks, tmp_path / "whole", params)
    with pytest.raises(StopError):
        train(disks, tmp_path / "broken", params, on_epoch=StopError.after(3))
    assert (tmp_path / "broken/resume/state.pt").is_file()
    resumed = train(disks, tmp_path / "broken", params)
    assert_same(resumed, whole)
    for one, other in zip(resumed.others, whole.others, strict=True):
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    if name == "mean teacher":
        assert whole.summary["n_mean_teacher"] == 3
        assert all(0 <= row["train_consistency"] <= 1 for row in whole.history)
        assert not torch.equal(*(next(iter(weights(one).values())) for one in (whole, plain)))
    elif name != "plateau":
        assert whole.history == plain.history  # averaging watches, and changes nothing
    if "keep" in RESUMED[name]:
        assert whole.summary["kept"] == "averaged"
        assert whole.summary["val_loss"] not in [row["val_loss"] for row in whole.history]


def test_phases_start_from_the_best_or_the_last_weights(disks: Layout, tmp_path: Path):
    share = {"start": 0.8, "end": 0.5}
    large = {"name": "large", "size_px": 96, "crop_px": 64, "epochs": 2, "positive_share": share, "start": "last"}
    trained = train(disks, tmp_path, make_params(phases=[{"name": "small", "size_px": 64, "epochs": 1}, large]))
    assert [row["phase"] for row in trained.history] == ["small", "large", "large"]
    assert [row["size_px"] for row in trained.history] == [64, 96, 96]
    assert trained.history[1]["positive_share"] == pytest.approx(0.8)
    assert trained.summary["best_epoch"] > 1
    write_fold(trained, Layout(tmp_path), {})
    assert '"size_px": 96' in (tmp_path / "data/models/fold1/model.json").read_text()


def test_a_phase_starts_from_averaged_weights_and_checkpoints_are_written(disks: Layout, tmp_path: Path):
    one = {"name": "one", "size_px": 64, "epochs": 2}
    two = {"name": "two", "size_px": 64, "epochs": 3, "lr": 1e-5, "start": "averaged"}
    params = make_params(
        phases=[one, two], model=GROUP, averaging={"name": "top_k", "top_k": {"count": 2}}, checkpoints=3
    )
    trained = train(disks, tmp_path, params)
    out = Layout(tmp_path)
    write_fold(trained, out, {"fold": 1})
    folder = out.models / "fold1"
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert folders == ["checkpoint2", "checkpoint3"]
    assert len({(folder / name / "weights.safetensors").read_bytes() for name in (".", *folders)}) == 3
    scores = [row["val_auc_and_dice_pos"] for row in trained.history[2:]]
    assert trained.summary["best_epoch"] == 3 + int(np.argmax(scores))


def test_a_frozen_encoder_stays_as_it_was(disks: Layout, tmp_path: Path):
    frozen = make_params(phase={"epochs": 1, "freeze_encoder_epochs": 1})
    learnt, start = weights(train(disks, tmp_path, frozen)), initial_weights(frozen)
    assert all(torch.equal(learnt[name], value) for name, value in start.items() if name.startswith("encoder."))
    assert not torch.equal(learnt["segmentation_head.0.weight"], start["segmentation_head.0.weight"])


def test_accumulated_batches_equal_one_large_batch(disks: Layout, tmp_path: Path):
    """Where norm and loss are of single images, two batches of 2 make the step of one batch of 4."""
    sgd = {"optimiser": {"name": "sgd", "momentum": 0.0}, "loss": {"dice": {"images": "all"}}}
    one = make_params(phase={"epochs": 1, "lr": 0.1}, model=GROUP, batch_size=4, accumulate_batches=1, **sgd)
    two = make_params(phase={"epochs": 1, "lr": 0.1}, model=GROUP, batch_size=2, accumulate_batches=2, **sgd)
    name = "segmentation_head.0.weight"
    first, second = (weights(train(disks, tmp_path / str(at), params))[name] for at, params in enumerate((one, two)))
    moved = (first - initial_weights(one)[name]).abs().max()
    assert moved > 1e-4
    assert (first - second).abs().max() < 1e-3 * moved


def test_early_stopping_ends_a_phase(disks: Layout, tmp_path: Path):
    """Nothing moves at such a learning rate (and group norm keeps no statistics): the first epoch stays the best."""
    params = make_params(phase={"epochs": 9, "lr": 1e-12}, model=GROUP, early_stopping={"patience_epochs": 1})
    trained = train(disks, tmp_path, params)
    assert trained.summary["best_epoch"] == 1
    assert len(trained.history) == 2


def test_a_loss_that_is_not_finite_names_the_images(disks: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pneumoseg.train import stepping

    def poisoned(batch, model):
        return torch.full((len(batch), 3, 64, 64), math.nan)

    monkeypatch.setattr(stepping, "normalise", poisoned)
    with pytest.raises(TrainingError, match=r"image\d\d.*train\.lr"):
        train(disks, tmp_path, make_params())


def test_activation_checkpointing_learns_the_same(unbroken: TrainedFold, disks: Layout, tmp_path: Path):
    lean = train(disks, tmp_path, make_params(checkpoint_activations=True))
    assert lean.history[-1]["val_loss"] == pytest.approx(unbroken.history[-1]["val_loss"], rel=1e-3)


@pytest.mark.long
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_a_compiled_network_learns_the_same(
    unbroken: TrainedFold, disks: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With the tracer and its graphs but without the code generator, which takes minutes."""
    compile_whole, calls = torch.compile, []

    def compile_graphs(model, **options):
        calls.append(options)
        return compile_whole(model, **{"backend": "aot_eager"} | options)

    monkeypatch.setattr(torch, "compile", compile_graphs)
    compiled = train(disks, tmp_path, make_params(compile=True))
    assert calls[0] == {"dynamic": False}
    assert compiled.history[-1]["val_loss"] == pytest.approx(unbroken.history[-1]["val_loss"], rel=1e-2)
    assert list(weights(compiled)) == list(weights(unbroken))


def test_missing_parts_are_named(disks: Layout, tmp_path: Path):
    from pneumoseg.train.fold_data import load_fold

    with pytest.raises(DataError, match=r"train_fold0\.csv"):
        load_fold(disks, 0, make_params())
    (tmp_path / "data").mkdir()
    for name in ("splits", "annotations.csv"):
        (tmp_path / "data" / name).symlink_to(disks.data / name)
    with pytest.raises(DataError, match=r"image00\.png"):
        load_fold(Layout(tmp_path), 1, make_params())


def test_a_batch_that_processes_cannot_share_is_refused():
    params = make_params()
    with pytest.raises(ParameterError, match=r"runtime\.devices"):
        make_fabric(params.train, params.runtime.model_copy(update={"devices": 3}))


@pytest.mark.parametrize(
    ("local", "world", "devices", "nodes"), [(2, 2, 1, 1), (1, 1, 2, 1), (2, 4, 2, 1), (4, 4, 2, 2)]
)
def test_torchrun_with_another_number_of_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch, local: int, world: int, devices: int, nodes: int
):
    params = make_params()
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": local, "WORLD_SIZE": world}.items():
        monkeypatch.setenv(name, str(value))
    runtime = params.runtime.model_copy(update={"devices": devices, "nodes": nodes})
    with pytest.raises(ParameterError, match=f"--nproc-per-node {devices} --nnodes {nodes}, or change"):
        make_fabric(params.train, runtime)


def test_arrays_are_built_once_and_hold_soft_masks(disks: Layout, tmp_path: Path):
    data = load(disks, make_params())
    arrays = build_arrays(data, 48, tmp_path)
    mask = cv2.imread(str(disks.masks / "image00.png"), cv2.IMREAD_GRAYSCALE)
    quarters = mask.reshape(48, 2, 48, 2).mean(axis=(1, 3))  # the exact share of each 2 x 2 block
    assert np.abs(arrays.mask("image00").astype(float) - quarters).max() <= 1
    assert not arrays.mask("image01").any()
    (folder,) = tmp_path.iterdir()
    stamp = (folder / "images.npy").stat().st_mtime_ns
    build_arrays(data, 48, tmp_path)
    assert (folder / "images.npy").stat().st_mtime_ns == stamp
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_a_phase_compiles_once_and_once_more_when_its_encoder_thaws(
    disks: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither the last batch (14 images, batches of 4) nor validation (6 images) makes a graph of its own."""
    compile_whole, shapes = torch.compile, []

    def traced(graph, inputs):
        shapes.extend({tuple(value.shape) for value in inputs if value.shape[1:] in {(3, 32, 32), (3, 64, 64)}})
        return graph.forward

    # Lightning unwraps the network and compiles it again, with the options that it was given first.
    monkeypatch.setattr(
        torch, "compile", lambda model, **options: compile_whole(model, **{"backend": traced} | options)
    )
    phases = [
        {"name": "small", "size_px": 32, "epochs": 2, "freeze_encoder_epochs": 1},
        {"name": "large", "size_px": 64, "epochs": 1},
    ]
    train(disks, tmp_path, make_params(compile=True, phases=phases))
    assert shapes == [(4, 3, 32, 32)] * 2 + [(4, 3, 64, 64)]


@pytest.mark.parametrize(
    ("changes", "device", "said"),
    [({}, "cpu", "CPU"), ({}, "cuda", "150,000 would"), ({"checkpoint_activations": True}, "cuda", "checkpoint_act")],
)
def test_where_auto_does_not_compile(changes: dict[str, Any], device: str, said: str):
    params = make_params(**changes, phases=[{"name": "a", "size_px": 1024, "epochs": 10}]).train
    assert params.compile == "auto"
    assert planned_images(params, 3000) == 3000 * 10 * 4
    assert said in why_not(params, 10_000 if changes else 3000, device)  # type: ignore[arg-type]


def test_a_smaller_batch_that_fits_makes_the_same_step():
    assert smaller_batch(16, 16, 1, 9) == 8
    assert smaller_batch(12, 24, 1, 7) == 6
    assert smaller_batch(12, 12, 4, 11) == 4
    assert smaller_batch(16, 16, 1, 40) == 8  # something else takes the memory: half
    assert smaller_batch(8, 8, 1, 0) == 1  # nothing fits by the count: still the smallest
    assert smaller_batch(1, 1, 1, 0) == 1  # nothing smaller
