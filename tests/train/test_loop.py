"""The loop on images that a child could segment: it learns, resumes, and stops where it must."""

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from pneumoseg.config import load_params
from pneumoseg.predict.predictor import Predictor
from pneumoseg.shared.errors import DataError, ParameterError, TrainingError
from pneumoseg.shared.files import read_png
from pneumoseg.train.arrays import build_arrays
from pneumoseg.train.fold_data import load_fold
from pneumoseg.train.progress import log_epoch
from pneumoseg.train.training import TrainedFold, make_fabric, write_fold
from pneumoseg.train.validation import (
    BOTTOM_THRESHOLDS,
    MIN_AREAS_PX_AT_1024,
    TOP_THRESHOLDS,
    Counts,
    summarise,
)
from tests.rule.disks import ROOT, initial_weights, make_params, train, weights, write_disks

# The loop's third parties: Lightning asks for a number of workers, torch for deterministic kernels.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")]


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_disks(tmp_path_factory.mktemp("disks"))


def assert_same(first: TrainedFold, second: TrainedFold) -> None:
    assert first.history == second.history
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]), name


@pytest.fixture(scope="module")
def unbroken(disks: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedFold:
    return train(disks, tmp_path_factory.mktemp("unbroken"), make_params())


def test_it_learns_and_keeps_the_best_epoch(unbroken: TrainedFold):
    scores = [row["val_dice_tuned"] for row in unbroken.history]
    assert unbroken.summary["best_epoch"] == scores.index(max(scores)) + 1
    assert unbroken.summary["val_dice_pos"] > 0.6
    assert unbroken.history[-1]["train_loss"] < unbroken.history[0]["train_loss"]
    assert unbroken.summary["val_all_empty"] == pytest.approx(0.5)


def test_kept_weights_give_the_kept_figures(unbroken: TrainedFold, disks: Path, tmp_path: Path):
    """Predicting with the saved model and scoring by hand gives the summary's Dice."""
    write_fold(unbroken, tmp_path / "fold1", tmp_path / "fold1.csv", tmp_path / "fold1.json", {"fold": 1})
    ids = [f"image{number}" for number in range(14, 20)]
    predictor = Predictor.load([tmp_path / "fold1"])
    scores = []
    for image_id, (probability, score) in zip(
        ids, predictor([read_png(disks / "images" / f"{image_id}.png") for image_id in ids]), strict=True
    ):
        path = disks / "masks" / f"{image_id}.png"
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 if path.is_file() else np.zeros((96, 96), bool)
        marked = probability > 0.5
        total = int(marked.sum() + truth.sum())
        scores.append(2 * int((marked & truth).sum()) / total if total else 1.0)
        assert score == pytest.approx(float(probability.max()))
    assert np.mean(scores) == pytest.approx(unbroken.summary["val_dice_all"], abs=1e-6)
    curves = pd.read_csv(tmp_path / "fold1.csv")
    assert list(curves["epoch"]) == [1, 2, 3, 4, 5, 6]


def test_workers_change_nothing(unbroken: TrainedFold, disks: Path, tmp_path: Path):
    assert_same(train(disks, tmp_path, make_params(), workers=2), unbroken)


def test_a_run_stopped_after_any_epoch_ends_the_same(unbroken: TrainedFold, disks: Path, tmp_path: Path):
    class StopError(Exception):
        pass

    def stop_after(epoch: int):
        def on_epoch(number: int, *_) -> None:
            if number == epoch:
                raise StopError

        return on_epoch

    for epoch in (2, 4):
        with pytest.raises(StopError):
            train(disks, tmp_path, make_params(), on_epoch=stop_after(epoch))
    assert (tmp_path / "resume/state.pt").is_file()
    assert_same(train(disks, tmp_path, make_params()), unbroken)


def test_phases_start_from_the_best_or_the_last_weights(disks: Path, tmp_path: Path):
    base = make_params().phases[0].model_dump(mode="json") | {"epochs": 2}
    phases = [
        base | {"name": "small"},
        base
        | {
            "name": "large",
            "size_px": 96,
            "crop_px": 64,
            "positive_share": {"start": 0.8, "end": 0.5},
            "start": "last",
        },
    ]
    trained = train(disks, tmp_path, make_params(phases=phases))
    assert [row["phase"] for row in trained.history] == ["small", "small", "large", "large"]
    assert [row["size_px"] for row in trained.history] == [64, 64, 96, 96]
    assert trained.history[2]["positive_share"] == pytest.approx(0.8)
    assert trained.summary["best_epoch"] > 2
    write_fold(trained, tmp_path / "fold", tmp_path / "c.csv", tmp_path / "m.json", {})
    assert '"size_px": 96' in (tmp_path / "fold/model.json").read_text()


def test_a_frozen_encoder_stays_as_it_was(disks: Path, tmp_path: Path):
    base = make_params().phases[0].model_dump(mode="json") | {"epochs": 1}
    frozen = train(disks, tmp_path / "a", make_params(phases=[base | {"freeze_encoder_epochs": 1}]))
    learning = train(disks, tmp_path / "b", make_params(phases=[base]))
    name = next(name for name in weights(frozen) if name.startswith("encoder.") and name.endswith("weight"))
    start = initial_weights()[name]
    assert torch.equal(weights(frozen)[name], start)
    assert not torch.equal(weights(learning)[name], start)


def test_accumulated_batches_equal_one_large_batch(disks: Path, tmp_path: Path):
    """With group norm, whose statistics are of one image, two batches of 2 make the step of one batch of 4."""
    sgd = {"optimiser": {"name": "sgd", "weight_decay": 0.0, "decay_norm_and_bias": True, "momentum": 0.0}}
    one = make_params(phase={"epochs": 1, "lr": 0.1}, batch_size=4, accumulate_batches=1, **sgd)
    two = make_params(phase={"epochs": 1, "lr": 0.1}, batch_size=2, accumulate_batches=2, **sgd)
    first, second = train(disks, tmp_path / "a", one, norm="group"), train(disks, tmp_path / "b", two, norm="group")
    start = initial_weights(norm="group")
    name = "segmentation_head.0.weight"
    moved = (weights(first)[name] - start[name]).abs().max()
    assert moved > 1e-4
    assert (weights(first)[name] - weights(second)[name]).abs().max() < 0.02 * moved


def test_early_stopping_ends_a_phase(disks: Path, tmp_path: Path):
    """Nothing moves at such a learning rate (and group norm keeps no statistics): the first epoch stays the best."""
    params = make_params(phase={"epochs": 9, "lr": 1e-12}, early_stopping={"patience_epochs": 2})
    trained = train(disks, tmp_path, params, norm="group")
    assert trained.summary["best_epoch"] == 1
    assert len(trained.history) == 3


def test_a_loss_that_is_not_finite_names_the_images(disks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pneumoseg.train import stepping

    def poisoned(batch, model):
        return torch.full((len(batch), 3, 64, 64), math.nan)

    monkeypatch.setattr(stepping, "normalise", poisoned)
    with pytest.raises(TrainingError, match=r"image\d\d.*train\.lr"):
        train(disks, tmp_path, make_params())


def at_one_level(intersection: list[float], predicted: list[float], truth: list[float]) -> Counts:
    """Maps of 1024 x 1024 whose marked pixels all have level 255."""
    counts = [np.repeat(np.array(values)[:, None], 256, axis=1) for values in (predicted, intersection)]
    count = len(truth)
    return Counts(*counts, np.array(truth), np.full(count, 1024.0**2), np.ones(count))


def test_the_best_rule_by_brute_force_on_maps():
    """dice_tuned, from counts, is the best mean Dice of the rules applied to the maps pixel by pixel."""
    chooser = np.random.default_rng(5)
    maps = [cv2.GaussianBlur(chooser.random((64, 64)).astype(np.float32), (0, 0), 3) for _ in range(6)]
    levels = [np.rint((one - one.min()) / (one.max() - one.min()) * 255 * scale).astype(np.uint8)
              for one, scale in zip(maps, (1.0, 0.9, 0.6, 0.4, 0.2, 0.1), strict=True)]  # fmt: skip
    truths = [level > 140 for level in levels[:3]] + [np.zeros((64, 64), bool)] * 3
    rows = [[[(level >= at).sum(), (level >= at)[truth].sum()] for at in range(256)]
            for level, truth in zip(levels, truths, strict=True)]  # fmt: skip
    table = np.array(rows, float)
    counts = Counts(
        table[:, :, 0], table[:, :, 1], np.array([t.sum() for t in truths], float), np.full(6, 4096.0), np.ones(6)
    )
    best = 0.0
    for bottom, top, area in itertools.product(BOTTOM_THRESHOLDS, TOP_THRESHOLDS, MIN_AREAS_PX_AT_1024):
        if top < bottom:
            continue
        scores = []
        for level, truth in zip(levels, truths, strict=True):
            mask = level > 255 * bottom
            if (level > 255 * top).sum() < max(1, area * 4096 / 1024**2):
                mask = np.zeros_like(mask)
            total = mask.sum() + truth.sum()
            scores.append(2 * (mask & truth).sum() / total if total else 1.0)
        best = max(best, float(np.mean(scores)))
    assert summarise(counts)["dice_tuned"] == pytest.approx(best)


@pytest.mark.parametrize(("predicted", "state"), [([0.0, 0.0, 0.0, 0.0], "empty"), ([5.0, 9.0, 1.0, 2.0], "marked")])
def test_collapse_is_named(predicted: list[float], state: str, caplog: pytest.LogCaptureFixture):
    """One positive among four: all-empty scores 0.75, and says that it is a collapse."""
    measured = summarise(at_one_level([0.0] * 4, predicted, [7.0, 0.0, 0.0, 0.0]))
    assert measured["dice_all"] == (0.75 if state == "empty" else 0.0)
    assert measured["specificity"] == (1.0 if state == "empty" else 0.0)
    row = {"epoch": 1, "phase": "main", "train_loss": 1.0, "lr": 1e-3} | {f"val_{k}": v for k, v in measured.items()}
    log_epoch(row, {"images_per_second": 1.0}, best=False, left=0.0)
    assert f"collapse, every validation image is {state}" in caplog.text


def test_validation_figures_by_hand():
    """Two positives (Dice 0.5 and 0, IoU 1/3 and 0) and two negatives, one of them marked."""
    measured = summarise(at_one_level([5.0, 0.0, 0.0, 0.0], [10.0, 0.0, 3.0, 0.0], [10.0, 4.0, 0.0, 0.0]))
    assert measured["dice_pos"] == pytest.approx(0.25)
    assert measured["iou"] == pytest.approx((1 / 3) / 2)
    assert measured["dice_all"] == pytest.approx((0.5 + 0 + 0 + 1) / 4)
    assert (measured["sensitivity"], measured["specificity"], measured["collapsed"]) == (0.5, 0.5, 0.0)
    assert measured["dice_balanced"] == pytest.approx(0.375)


def test_missing_parts_are_named(disks: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"train_fold0\.csv"):
        load_fold(disks / "splits", disks / "images", disks / "masks", 0, None, make_params())
    with pytest.raises(DataError, match=r"image00\.png"):
        load_fold(disks / "splits", tmp_path, disks / "masks", 1, None, make_params())


def test_a_batch_that_processes_cannot_share_is_refused(disks: Path, tmp_path: Path):
    runtime = load_params(ROOT / "params.yaml").runtime.model_copy(update={"devices": 3, "device": "cpu"})
    with pytest.raises(ParameterError, match=r"runtime\.devices"):
        make_fabric(make_params(), runtime)


def test_arrays_are_built_once_and_hold_soft_masks(disks: Path, tmp_path: Path):
    ids = ["image00", "image01"]
    arrays = build_arrays(disks / "images", disks / "masks", ids, 48, tmp_path, "digest")
    mask = cv2.imread(str(disks / "masks/image00.png"), cv2.IMREAD_GRAYSCALE)
    quarters = mask.reshape(48, 2, 48, 2).mean(axis=(1, 3))  # the exact share of each 2 x 2 block
    assert np.abs(arrays.mask("image00").astype(float) - quarters).max() <= 1
    assert not arrays.mask("image01").any()
    stamp = (tmp_path / "digest-48/images.npy").stat().st_mtime_ns
    build_arrays(disks / "images", disks / "masks", ids, 48, tmp_path, "digest")
    assert (tmp_path / "digest-48/images.npy").stat().st_mtime_ns == stamp
    assert not list(tmp_path.glob(".building*"))
