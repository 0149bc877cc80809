"""Each benchmark runs, in its smallest form: what it measures must be what the rooms offer today."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import (
    augmentation,
    changed,
    evaluation,
    extraction,
    gpu,
    loading,
    memory,
    phantoms,
    predicting,
    training,
    using,
    validation,
)

from pneumoseg.config import load_params

pytestmark = [pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning"), pytest.mark.slow]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"IMAGES": 4, "SIDE_PX": 96, "SIZE_PX": 64, "BATCH": 2, "ROUNDS": 1}
    for name, value in values.items():
        monkeypatch.setattr(loading, name, value)


def test_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "SIDES_PX", (64,))
    monkeypatch.setattr(augmentation, "REPEATS", 1)
    rows = augmentation.main().splitlines()
    assert len(rows) == 3 + len(load_params().augment.recipes)
    assert all(float(row.split()[-1]) >= 0 for row in rows[2:])


def test_extraction(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extraction, "SIZE_PX", 128)
    monkeypatch.setattr(extraction, "ROUNDS", 1)
    frames = [extraction.jpeg_frame(seed) for seed in range(2)]
    for folder in ("dicom", "png"):
        (tmp_path / folder).mkdir()
    for index, frame in enumerate(frames):
        extraction.write_dicom(tmp_path / f"dicom/{index}.dcm", frame, f"1.2.{index}")
    assert min(extraction.one_image(tmp_path / "dicom", tmp_path / "png", frames)) > 0
    assert len(list((tmp_path / "png").rglob("*.png"))) == 2
    assert extraction.whole(tmp_path / "dicom", tmp_path / "out", 0) > 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


@pytest.mark.usefixtures("small")
def test_loading() -> None:
    assert "images/s" in loading.main()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("variant", training.CPU, ids=lambda variant: variant.label)
def test_training(variant: training.Variant, tmp_path: Path) -> None:
    make = training._ours if variant.fast else training._plain
    batches = make(tmp_path, loading._write(tmp_path), 64, 2, 2, workers=0)
    rate, memory, _ = training._train("resnet18", "cpu", batches, 0, variant)
    assert rate > 0
    assert memory == 0


@pytest.mark.usefixtures("small")
def test_predicting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIDE_PX": 96, "INPUT_PX": 64, "ENCODER": "resnet18", "FILES": 2, "ON_CPU": 5}.items():
        monkeypatch.setattr(predicting, name, value)
    rows = predicting.main().splitlines()
    assert "5 images" in rows[0]
    rate, against = (float(row.split()[-2]) for row in rows[-2:])
    assert rate > 0
    assert against > 0


def test_evaluation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"_READ": 5, "_IMAGES": 40, "_ANNOTATED": 30}.items():
        monkeypatch.setattr(evaluation, name, value)
    cases = evaluation._write_cases(tmp_path, np.random.default_rng(0))
    assert [case.label for case in cases] == [True, False, False, False, True]
    rows = evaluation.main().splitlines()
    assert len(rows) == 5
    assert all(row.endswith((" s", " ms an image")) for row in rows)


def test_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "SIZES_PX", ((32, 64),))
    row = validation.main().splitlines()[2].split()
    assert row[:2] == ["32", "64"]
    assert all(float(value) > 0 for value in row[2:])


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ENCODERS", ("resnet18",))
    rows = memory.main().splitlines()[2:-1]
    assert len(rows) == 2 * len(memory.SIZES_PX) * len(memory.BATCHES)
    counted = [float(row[48:57]) for row in rows]
    assert counted[:4] == sorted(counted[:4])


@pytest.mark.slow
def test_using(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"MANY": 8, "FIRST": 4, "REPEATS": 1}.items():
        monkeypatch.setattr(using, name, value)
    bundle = using.write_model(tmp_path / "bundle", 64, "tu-test_efficientnet")
    (tmp_path / "many").mkdir()
    assert using.growth(bundle, tmp_path / "many") < 100
    assert len(list((tmp_path / "many/out").iterdir())) == 9
    assert min(using.further(using.load(bundle, "cpu"), tmp_path / "many/0.dcm", tmp_path / "one")) > 0


def test_every_part_of_the_gpu_can_be_called() -> None:
    parts = list(gpu._parts())
    assert sum(seconds for _, seconds, _ in parts[:8]) <= gpu.LIMIT_S  # what is most wanted has its time
    for _, _, work in parts:
        if isinstance(work, functools.partial):
            inspect.signature(work.func).bind(*work.args, **work.keywords)


@pytest.mark.skipif(torch.cuda.is_available(), reason="takes minutes on a GPU")
def test_the_gpu_part_says_what_it_needs() -> None:
    assert "NVIDIA GPU" in gpu.main()


@pytest.mark.long
def test_phantoms_through_the_pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both tables, of networks that have learnt next to nothing."""
    monkeypatch.setattr(phantoms, "CACHE", tmp_path)
    monkeypatch.setattr(phantoms, "phase", lambda size_px, epochs=1: {"name": "main", "size_px": 64, "epochs": 1})
    small = [
        "phantom.images=32", "phantom.size_px=96", "phantom.prevalence=0.5", "split.folds=3",
        "model.encoder=tu-test_resnet", "train.phases=[{name: main, size_px: 64, epochs: 1}]", "runtime.workers=0",
        "evaluate.bootstrap_replicates=100", "evaluate.permutations=100",
    ]  # fmt: skip
    monkeypatch.setattr(phantoms, "DRAWN", phantoms.merge(phantoms.DRAWN, changed(small)))
    table = phantoms.main(["detector"])
    assert [line.split()[0] for line in table.splitlines()[1:]][-1] == "box_ap75"
    table = phantoms.main(["lungs", "runtime.device=cpu"])
    assert "masks - whole, 128 px" in table
    assert "no pixel of a lesion lies outside of what was seen" in table
    with pytest.raises(SystemExit, match=r"detector \| lungs"):
        phantoms.main(["nothing"])
