"""Who predicts what, and what a map on disk is."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pneumoseg.networks.building import build_network
from pneumoseg.networks.storage import save_model
from pneumoseg.predict.planning import plan
from pneumoseg.predict.predicting import predict
from pneumoseg.predict.predictor import Predictor
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, PREDICTED, read_table, write_table
from tests.predict.network_stubs import PARAMS, PREDICT, RUNTIME

MODEL = PARAMS.model.model_copy(update={"encoder": "mobilenet_v2", "weights": None})


def folds(**members: list[str]) -> pd.DataFrame:
    rows = [(name, name, fold.removeprefix("f")) for fold, names in members.items() for name in names]
    return pd.DataFrame(rows, columns=list(FOLDS))


def test_no_network_sees_what_it_was_trained_on(tmp_path: Path):
    networks = {0: "A", 2: "CD"}
    for layout, expected in (
        (Layout(tmp_path), [("unlabelled", "", ("u",), ("A", "C", "D"))]),
        (Layout(tmp_path, "site"), []),  # nothing can be measured on images without annotation
    ):
        write_table(layout.folds, folds(f0=["b", "a"], f1=["c"], f2=["d"], test=["t"]), FOLDS)
        write_table(layout.annotations, pd.DataFrame({"image_id": ["a", "u"], "annotated": [1, 0]}), ANNOTATIONS)
        tasks = [(task.name, task.fold, task.image_ids, task.choose(networks)) for task in plan(layout, [0, 2])]
        assert tasks == [
            ("validation", "0", ("a", "b"), ("A",)),
            ("validation", "2", ("d",), ("C", "D")),
            ("test", "test", ("t",), ("A", "C", "D")),
            *expected,
        ]


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    folders = []
    for fold in (0, 1):
        torch.manual_seed(fold)
        save_model(root / f"fold{fold}", build_network(MODEL), MODEL, 64)
        folders.append(root / f"fold{fold}")
    return folders


@pytest.fixture(scope="module")
def radiographs() -> list[np.ndarray]:
    chooser = np.random.default_rng(3)
    return [chooser.integers(0, 255, (50, 80)).astype(np.uint8), chooser.integers(0, 255, (96, 96)).astype(np.uint8)]


@pytest.mark.slow
def test_members_are_averaged_at_the_original_size(two_models: list[Path], radiographs: list[np.ndarray]):
    both = Predictor.load(two_models)(radiographs)
    single = [Predictor.load([folder])(radiographs) for folder in two_models]
    for index, image in enumerate(radiographs):
        probability, score = both[index].map, both[index].probability
        assert probability.shape == image.shape
        assert probability.dtype == np.float32
        mean = (single[0][index].map + single[1][index].map) / 2
        np.testing.assert_allclose(probability, mean, atol=1e-5)
        assert score == pytest.approx(float(mean.max()), abs=1e-5)


@pytest.mark.slow
def test_flip_makes_the_prediction_mirror_symmetric(two_models: list[Path], radiographs: list[np.ndarray]):
    predictor = Predictor.load(two_models[:1], horizontal_flip=True)
    square = radiographs[1]
    (straight,) = predictor([square])
    (mirrored,) = predictor([np.ascontiguousarray(square[:, ::-1])])
    np.testing.assert_allclose(straight.map, mirrored.map[:, ::-1], atol=1e-5)


@pytest.mark.slow
def test_files_are_the_rounded_maps_whatever_the_batch(
    two_models: list[Path], radiographs: list[np.ndarray], tmp_path: Path
):
    layout = Layout(tmp_path)
    names = ["a", "b", "u"]
    images = [radiographs[0], radiographs[1], radiographs[1]]
    for name, image in zip(names, images, strict=True):
        write_png(layout.images / f"{name}.png", image)
    # b was 192 px in its DICOM file: the map is brought to that size, not to the PNG's.
    sides = [(50, 80), (192, 192), (96, 96)]
    metadata = pd.DataFrame({"image_id": names, "rows": [s[0] for s in sides], "columns": [s[1] for s in sides]})
    write_table(layout.metadata, metadata, METADATA)
    write_table(layout.annotations, pd.DataFrame({"image_id": names, "annotated": [1, 1, 0]}), ANNOTATIONS)
    write_table(layout.folds, folds(f0=["a"], test=["b"]), FOLDS)
    layout.models.symlink_to(two_models[0].parent)
    for batch_size in (1, 2):
        params = PREDICT.model_copy(update={"batch_size": batch_size, "members": ()})
        predict(layout, [0, 1], params, RUNTIME)
        shutil.copytree(layout.predictions, tmp_path / f"out{batch_size}")
    out = layout.predictions
    table = read_table(out / "images.csv", PREDICTED)
    assert table[["image_id", "set", "fold"]].to_numpy().tolist() == [
        ["b", "test", "test"], ["u", "unlabelled", ""], ["a", "validation", "0"],
    ]  # fmt: skip
    (expected,) = Predictor.load(two_models[:1])([images[0]])
    np.testing.assert_array_equal(read_png(out / "validation/a.png"), np.floor(expected.map * 255 + 0.5))
    assert table.set_index("image_id").at["a", "probability"] == pytest.approx(expected.probability, abs=1e-5)
    assert read_png(out / "test/b.png").shape == (192, 192)
    for path in out.rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "out1" / path.relative_to(out)).read_bytes()


def test_no_model_is_an_error():
    with pytest.raises(DataError, match="dvc repro train"):
        Predictor.load([])
