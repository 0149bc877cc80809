"""Exports hold every annotated image once, at its place in the split, with the mask that the pipeline knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumoseg.commands import cli
from pneumoseg.export.coco import instances
from pneumoseg.export.exporting import export
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, read_table
from tests.evaluate.evaluation_data import make_project
from tests.sources.sets import read_set


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Some positives are known by their label alone; pictures have half of the size of the originals."""
    layout = make_project(tmp_path_factory.mktemp("project"), images=48, masks_known=False)
    for image_id in read_table(layout.folds, FOLDS)["image_id"]:
        rng = np.random.default_rng(int(image_id[3:]))
        write_png(layout.images / f"{image_id}.png", rng.integers(0, 255, (48, 40)).astype(np.uint8))
    return layout


def folds(project: Layout, known: bool = True) -> dict[str, str]:
    """Fold of each image whose mask is known."""
    truth = read_table(project.annotations, ANNOTATIONS).set_index("image_id")["mask_known"]
    table = read_table(project.folds, FOLDS).set_index("image_id")["fold"].to_dict()
    return {image_id: fold for image_id, fold in table.items() if truth[image_id] == 1 or not known}


def half(project: Layout, image_id: str) -> np.ndarray:
    """The mask at the size of the picture, by means of 2 x 2 pixels; where none reaches half, the highest."""
    path = project.masks / f"{image_id}.png"
    full = read_png(path) > 0 if path.is_file() else np.zeros((96, 80), bool)
    means = full.reshape(48, 2, 40, 2).mean(axis=(1, 3))
    return means >= (min(0.5, means.max()) if full.any() else 0.5)


def test_nnunet(project: Layout, tmp_path: Path) -> None:
    export(project, "nnunet", tmp_path / "out")
    raw, expected = tmp_path / "out/Dataset500_Pneumothorax", folds(project)
    for part, inside in (("Tr", False), ("Ts", True)):
        ids = {image_id for image_id, fold in expected.items() if (fold == "test") == inside}
        assert {path.name for path in (raw / f"images{part}").iterdir()} == {f"{name}_0000.png" for name in ids}
        assert {path.stem for path in (raw / f"labels{part}").iterdir()} == ids
        for name in ids:
            assert np.array_equal(read_png(raw / f"labels{part}/{name}.png"), half(project, name).astype(np.uint8))
    described = json.loads((raw / "dataset.json").read_text())
    assert described["numTraining"] == sum(fold != "test" for fold in expected.values())
    assert described["labels"] == {"background": 0, "pneumothorax": 1}
    splits = json.loads((tmp_path / "out/splits_final.json").read_text())
    assert [set(split["val"]) for split in splits] == [
        {image_id for image_id, fold in expected.items() if fold == number} for number in ("0", "1")
    ]
    assert set(splits[0]["train"]) == set(splits[1]["val"])


def coco_mask(segmentation: dict[str, Any]) -> np.ndarray:
    """Uncompressed RLE as pycocotools reads it: background first, down the columns."""
    rows, columns = segmentation["size"]
    values = np.repeat(np.arange(len(segmentation["counts"])) % 2, segmentation["counts"])
    assert len(values) == rows * columns
    return values.reshape(columns, rows).T > 0


def test_coco(project: Layout, tmp_path: Path) -> None:
    export(project, "coco", tmp_path / "out")
    expected, seen = folds(project), {}
    for name in ("test", "fold0_val", "fold1_val"):
        content = json.loads((tmp_path / f"out/annotations/{name}.json").read_text())
        names = {image["id"]: image["file_name"].removesuffix(".png") for image in content["images"]}
        for image_id in names.values():
            seen[image_id] = name
        masks = {image_id: np.zeros((48, 40), bool) for image_id in names.values()}
        for item in content["annotations"]:
            mask = coco_mask(item["segmentation"])
            rows, columns = np.nonzero(mask)
            assert item["area"] == mask.sum()
            assert item["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            masks[names[item["image_id"]]] |= mask
        assert all(np.array_equal(mask, half(project, image_id)) for image_id, mask in masks.items())
    assert seen == {name: "test" if fold == "test" else f"fold{fold}_val" for name, fold in expected.items()}


def test_components_at_the_edges_are_instances_of_their_own() -> None:
    mask = np.zeros((4, 5), bool)
    mask[0, 0] = mask[3, 4] = mask[2, 3] = True  # the last two touch by a corner
    found = instances(mask, 7)
    assert [item["area"] for item in found] == [1, 2]
    assert found[0]["segmentation"]["counts"] == [0, 1, 19]
    assert found[1]["segmentation"]["counts"] == [14, 1, 4, 1]


def test_png_folders_are_read_again_as_they_were(project: Layout, tmp_path: Path) -> None:
    """Also the positives that have no mask."""
    export(project, "png", tmp_path / "out")
    read = read_set(tmp_path / "again", "folder", tmp_path / "out", tmp_path / "out/table.csv")
    truth = read_table(project.annotations, ANNOTATIONS).set_index("image_id")
    expected = folds(project, known=False)
    assert {name.removeprefix("images_") for name in read.annotations.index} == set(expected)
    for name, row in read.annotations.iterrows():
        image_id = str(name).removeprefix("images_")
        assert row["mask_known"] == truth.loc[image_id, "mask_known"], image_id
        assert row["pneumothorax"] == truth.loc[image_id, "pneumothorax"], image_id
        assert (row["area_px"] if row["mask_known"] else 0) == half(project, image_id).sum()


def test_no_positive_becomes_a_negative(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mask of one pixel, in pictures of half the size; one that is lost or empty is refused."""
    layout = make_project(tmp_path / "project", images=8, prevalence=1.0)
    for image_id in read_table(layout.folds, FOLDS)["image_id"]:
        write_png(layout.images / f"{image_id}.png", np.zeros((48, 40), np.uint8))
    image_id = read_table(layout.folds, FOLDS)["image_id"].iloc[0]
    mask = np.zeros((96, 80), np.uint8)
    mask[31, 20] = 255
    write_png(layout.masks / f"{image_id}.png", mask)
    export(layout, "png", tmp_path / "out")
    assert np.argwhere(read_png(tmp_path / f"out/masks/{image_id}.png")).tolist() == [[15, 10]]
    assert f"{image_id}: its mask would vanish at 48 x 40 pixels" in caplog.text
    write_png(layout.masks / f"{image_id}.png", mask * 0)
    with pytest.raises(DataError, match="no pixel is marked"):
        export(layout, "png", tmp_path / "empty")
    (layout.masks / f"{image_id}.png").unlink()
    with pytest.raises(DataError, match=f"{image_id}.png: not there"):
        export(layout, "nnunet", tmp_path / "lost")


def test_the_command_writes_once(project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    assert cli.main(["export", "png"]) == 0
    assert (project.root / "data/export/png/truth.csv").is_file()
    with pytest.raises(DataError, match="there already"):
        export(Layout(), "coco", Path("data/export/png"))
    truth = (project.root / "data/export/png/truth.csv").read_text().splitlines()
    assert len(truth) == 1 + sum(fold == "test" for fold in folds(project).values())
    assert cli.main(["score", "data/export/png/truth.csv", "data/export/png/truth.csv", "--size-px", "80x96"]) == 0
