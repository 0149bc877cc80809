"""The whole stage on a small folder, its pictures, and the real tables with the NIH patients."""

import json
import logging
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, MANIFEST, METADATA, read_table, write_table
from pneumoseg.split import splitting
from pneumoseg.split.contact_sheet import choose_example, outlined, write_contact_sheet
from pneumoseg.split.materialized import row_seed
from pneumoseg.split.split_figures import leak
from pneumoseg.split.splitting import split
from tests.split.split_cases import augment_params, split_params, write_dataset

pytestmark = pytest.mark.slow


def run(layout: Layout, **changes) -> dict:
    workers = changes.pop("workers", 1)
    augment = changes.pop("augment", augment_params())
    split(layout, split_params(**changes), augment, workers)
    return json.loads(layout.split_counts.read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_outputs_and_figures(tmp_path):
    layout = write_dataset(tmp_path)
    layout.splits.mkdir()
    (layout.splits / "train_fold9.csv").write_text("stale")
    for fold in (0, 9):
        (layout.models / f"fold{fold}").mkdir(parents=True)
    metrics = run(layout)
    assert [path.name for path in layout.models.iterdir()] == ["fold0"]
    names = {
        "folds.csv",
        "excluded.csv",
        "augmentations.png",
        *(f"{kind}_fold{fold}.csv" for fold in range(3) for kind in ("train", "unlabelled")),
    }
    assert set(contents(layout.splits)) == names
    folds = read_table(tmp_path / "data/splits/folds.csv", FOLDS)
    assert folds["image_id"].tolist() == [f"img.{index:02}" for index in range(30)]
    assert (folds.groupby("patient")["fold"].nunique() == 1).all()
    assert (tmp_path / "data/splits/excluded.csv").read_text() == "image_id,patient,reason\n"
    for fold in range(3):
        manifest = read_table(tmp_path / f"data/splits/train_fold{fold}.csv", MANIFEST)
        outside = set(folds["image_id"][~folds["fold"].isin(["test", str(fold)])])
        assert set(manifest["image_id"]) == outside
    assert metrics["images"] == 30
    assert metrics["positives"] == 10
    assert metrics["unannotated"] == 2
    assert metrics["phantoms"] == 30
    assert metrics["patients"] == 24
    assert metrics["most_images_of_a_patient"] == 2
    assert metrics["images_of_shared_patients"] == 12
    assert list(metrics["parts"]) == ["test", "fold0", "fold1", "fold2"]
    assert sum(part["images"] for part in metrics["parts"].values()) == 30
    assert sum(part["positives"] for part in metrics["parts"].values()) == 10
    for name, part in metrics["parts"].items():
        inside = folds["image_id"][folds["fold"] == name.removeprefix("fold")]
        areas = [100 + int(image[-2:]) for image in inside if int(image[-2:]) < 10]
        assert part["mask_area_median_px"] == np.median(areas)
        assert part["prevalence"] == pytest.approx(part["positives"] / part["images"], abs=1e-6)
    assert metrics["leak"]["this_split"] == {"images": 0.0, "positives": 0.0}
    assert metrics["leak"]["plain_image_split"]["images"] > 0.1
    manifest = metrics["manifests"]["fold0"]
    assert manifest["positive_share"] == 0.5
    assert manifest["label_information_of_augmentation_bits"] == pytest.approx(0, abs=1e-6)
    assert manifest["label_auc_of_augmentation"] == 0.5
    for row in manifest["augmentations"]:
        assert row["positives"] == row["negatives"]
    assert metrics["warnings"] == []


@pytest.mark.parametrize("shuffle", [1, 2])
def test_same_bytes_for_any_order_of_rows(tmp_path, shuffle):
    first, second = write_dataset(tmp_path / "a"), write_dataset(tmp_path / "b", shuffle=shuffle)
    run(first)
    run(second)
    assert contents(first.splits) == contents(second.splits)
    assert first.split_counts.read_bytes() == second.split_counts.read_bytes()


def test_fresh_patient_ids_are_warned_of(tmp_path, caplog):
    layout = write_dataset(tmp_path)
    metadata = read_table(layout.metadata, METADATA)
    write_table(layout.metadata, metadata.assign(patient_id=metadata["image_id"]), METADATA)
    with caplog.at_level(logging.WARNING):
        metrics = run(layout)
    assert "grouping by patient protects nothing" in metrics["warnings"][0]
    assert "give split.patient_map" in caplog.text
    assert metrics["leak"]["plain_image_split"] == {"images": 0.0, "positives": 0.0}


def test_patient_map(tmp_path):
    layout = write_dataset(tmp_path)
    # img.29 is not in the map, img.30 is not annotated.
    rows = [f"img.{index:02},{index // 2:08}_000.png" for index in range(31) if index != 29]
    (tmp_path / "map.csv").write_text("\n".join(["Kaggle_ID,NIH_ID", *rows, "other,00000001_000.png"]))
    metrics = run(layout, folds=2, patient_map=str(tmp_path / "map.csv"))
    folds = read_table(tmp_path / "data/splits/folds.csv", FOLDS).set_index("image_id")
    assert (folds["fold"].to_numpy()[:28:2] == folds["fold"].to_numpy()[1:28:2]).all()
    assert folds.loc["img.07", "patient"] == "image:img.06"
    assert metrics["patients"] == 16
    assert metrics["patient_source"] == "split.patient_map"
    assert len(metrics["patient_map_sha256"]) == 32
    assert metrics["patient_map_rows_unused"] == 3  # header, img.30, other
    assert metrics["images_without_patient"] == 1
    (warning,) = metrics["warnings"]
    assert warning.startswith("annotated images without a known patient: 1 of 30;")
    assert warning.endswith("complete split.patient_map")
    assert str(tmp_path) not in json.dumps(metrics)


def patients(layout: Layout, chosen: slice, **columns) -> None:
    """Give the images of a slice other columns of metadata.csv."""
    metadata = read_table(layout.metadata, METADATA).sort_values("image_id", ignore_index=True)
    for name, value in columns.items():
        metadata.loc[metadata.index[chosen], name] = value
    write_table(layout.metadata, metadata, METADATA)


def test_a_placeholder_on_a_third_of_the_images_is_told_and_divided(tmp_path):
    layout = write_dataset(tmp_path)
    patients(layout, slice(10, 20), patient_id="nobody", sex=list("MFMFMFMFMF"))
    metrics = run(layout)
    several, unknown = metrics["warnings"]
    assert "PatientID stands for several people" in several
    assert ": 10;" in several
    assert unknown.startswith("annotated images without a known patient: 10 of 30;")
    assert unknown.endswith("give split.patient_map")
    assert metrics["images_without_patient"] == 10
    folds = read_table(layout.folds, FOLDS)
    assert folds["fold"][10:20].nunique() > 2


def test_a_patient_in_doubt_stays_one_and_is_told(tmp_path):
    layout = write_dataset(tmp_path)
    patients(layout, slice(1, 4), patient_id="twice", sex=["M", "F", "M"])
    metrics = run(layout)
    assert (
        "patients with both sexes, ages far apart or very many images: 1, one with 3 images (such as img.01)"
        in (metrics["warnings"][0])
    )
    folds = read_table(layout.folds, FOLDS)
    assert folds["fold"][1:4].nunique() == 1


def test_without_any_patient_no_leak_is_claimed(tmp_path):
    layout = write_dataset(tmp_path)
    patients(layout, slice(None), patient_id="")
    metrics = run(layout)
    assert metrics["leak"]["this_split"] == {"images": None, "positives": None}
    (warning,) = metrics["warnings"]
    assert "cannot be ruled out" in warning


def test_too_few_patients_name_the_one_who_has_all(tmp_path):
    layout = write_dataset(tmp_path)
    patients(layout, slice(None), patient_id="xyz")
    with pytest.raises(
        DataError, match=r"30 of 30 images are of one patient \(such as img\.00\).*give split\.patient_map"
    ):
        run(layout)


def test_test_list_keeps_its_patients_out_of_training(tmp_path):
    layout = write_dataset(tmp_path)
    # Patients p0 to p5 have two images: img.00 and img.24, ... Listed: one of p0's, both of p1's, p20's only one.
    (tmp_path / "test.txt").write_text("img.00\nimg.01\nimg.25\nimg.20\n")
    metrics = run(layout, test_list=str(tmp_path / "test.txt"))
    folds = read_table(tmp_path / "data/splits/folds.csv", FOLDS)
    assert set(folds["image_id"][folds["fold"] == "test"]) == {"img.00", "img.01", "img.25", "img.20"}
    excluded = (tmp_path / "data/splits/excluded.csv").read_text()
    assert excluded == "image_id,patient,reason\nimg.24,p0,patient is in split.test_list\n"
    assert "img.24" not in set(folds["image_id"])
    assert metrics["excluded"] == 1
    assert "images that share a patient with split.test_list: 1; they belong to no set" in metrics["warnings"][0]


def test_more_positives_than_wanted_are_stated(tmp_path):
    metrics = run(write_dataset(tmp_path), positive_share=0.1)
    assert "positives are more than split.positive_share = 0.1" in metrics["warnings"][0]
    assert metrics["manifests"]["fold0"]["copies"] == 0


def test_bad_tables_lose_nothing(tmp_path):
    layout = write_dataset(tmp_path)
    run(layout)
    before = contents(layout.splits)
    annotations = read_table(layout.annotations, ANNOTATIONS)
    twice = pd.concat([annotations, annotations.iloc[:1]])
    foreign = annotations.assign(image_id=annotations["image_id"].replace("img.03", "elsewhere"))
    for frame, message in (
        (twice, "has two rows"),
        (foreign, "image elsewhere is not in"),
        (annotations.assign(annotated=0), "no annotated image"),
        (annotations.assign(pneumothorax=pd.NA), "one without a label"),
    ):
        write_table(layout.annotations, frame, ANNOTATIONS)
        with pytest.raises(DataError, match=message):
            run(layout)
    assert contents(layout.splits) == before


def test_materialized_pairs(tmp_path):
    layout = write_dataset(tmp_path)
    augment = augment_params(online="horizontal_flip")  # differs by epoch, so it must not be in the files
    run(
        layout,
        materialize=True,
        augmentations=["horizontal_flip", "elastic"],
        train_folds=[1],
        augment=augment,
    )
    folder = tmp_path / "data/splits/materialized"
    assert [path.name for path in folder.iterdir()] == ["fold1"]
    manifest = read_table(tmp_path / "data/splits/train_fold1.csv", MANIFEST)
    names = {f"{row.image_id}__{row.copy}.png" for row in manifest.itertuples()}
    assert {path.name for path in (folder / "fold1/images").iterdir()} == names
    assert {path.name for path in (folder / "fold1/masks").iterdir()} == names
    seen = Counter()
    for row in manifest.itertuples():
        image = read_png(folder / f"fold1/images/{row.image_id}__{row.copy}.png")
        mask = read_png(folder / f"fold1/masks/{row.image_id}__{row.copy}.png")
        original = read_png(layout.images / f"{row.image_id}.png")
        assert set(np.unique(mask)) == ({0, 255} if row.pneumothorax else {0})
        if row.augmentation != "elastic":
            step = -1 if row.augmentation == "horizontal_flip" else 1
            np.testing.assert_array_equal(image, original[:, ::step])
            if row.pneumothorax:
                np.testing.assert_array_equal(mask, read_png(layout.masks / f"{row.image_id}.png")[:, ::step])
        seen[row.augmentation, row.pneumothorax] += 1
    assert len(seen) == 6


@pytest.mark.slow
def test_materialized_by_any_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoseg.split.materialized._FEW", 4)
    folders = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        run(write_dataset(folder), materialize=True, workers=workers)
        folders.append(contents(folder / "data/splits"))
    assert folders[0] == folders[1]


def test_contact_sheet(tmp_path):
    layout = write_dataset(tmp_path)
    run(layout)
    sheet = cv2.imdecode(
        np.frombuffer((tmp_path / "data/splits/augmentations.png").read_bytes(), np.uint8), cv2.IMREAD_COLOR
    )
    assert sheet.shape == (1474, 1648, 3)  # 19 tiles in four rows
    amber = (sheet == (0, 176, 255)).all(axis=2)
    tiles = [amber[58 + row * 354 :][:354, 8 + column * 328 :][:, :328] for row in range(3) for column in range(5)]
    assert all(tile.sum() > 300 for tile in tiles)  # an outline in each
    run(write_dataset(tmp_path / "real", phantom=0))
    plain = cv2.imdecode(
        np.frombuffer((tmp_path / "real/data/splits/augmentations.png").read_bytes(), np.uint8), cv2.IMREAD_COLOR
    )
    differing = np.argwhere((sheet != plain).any(axis=2))
    assert differing[:, 0].max() < 36  # the heading alone: "(phantom data)"
    assert differing[:, 1].min() > 400


def test_contact_sheet_shows_each_recipe_by_itself(tmp_path):
    layout = write_dataset(tmp_path)
    sheets = []
    for online in (None, "horizontal_flip"):
        write_contact_sheet(layout, "img.03", augment_params(online=online), seed=1, phantom=True)
        sheets.append(cv2.imread(str(layout.splits / "augmentations.png")))
    differing = np.argwhere((sheets[0] != sheets[1]).any(axis=2))
    assert differing[:, 0].min() >= 36  # the second line of the heading names the other
    assert differing[:, 0].max() < 58


def test_outline_runs_along_the_mask():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 255
    drawn = (outlined(np.zeros_like(mask), mask) != 0).any(axis=2)
    inner = np.zeros_like(drawn)
    inner[6:14, 6:14] = True
    np.testing.assert_array_equal(drawn, (mask > 0) & ~inner)


def test_example_is_at_the_upper_quartile():
    images = pd.DataFrame(
        {"image_id": list("abcdef"), "pneumothorax": [1, 1, 1, 1, 1, 0], "area_fraction": [5, 1, 3, 2, 4, 0]}
    )
    assert choose_example(images) == "e"
    assert choose_example(images.iloc[:1]) == "a"


def test_16_bit_images_and_other_sizes(tmp_path):
    layout = write_dataset(tmp_path, side_px=40)
    for path in layout.images.iterdir():
        image = read_png(path).astype(np.uint16) * 257
        cv2.imwrite(str(path), cv2.resize(image, (30, 20), interpolation=cv2.INTER_NEAREST))
    run(layout, materialize=True, augmentations=["gamma"])
    one = next((tmp_path / "data/splits/materialized/fold0/masks").iterdir())
    assert read_png(one).shape == (20, 30)
    assert read_png(tmp_path / "data/splits/materialized/fold0/images" / one.name).dtype == np.uint8


def test_seed_of_a_row_depends_on_each_part():
    seeds = {row_seed(1, "a", "b", 1), row_seed(2, "a", "b", 1), row_seed(1, "ab", "", 1), row_seed(1, "a", "b", 2)}
    assert len(seeds) == 4


def test_stage_script(tmp_path, monkeypatch):
    from stages import split as stage

    write_dataset(tmp_path)
    monkeypatch.chdir(tmp_path)
    runtime = SimpleNamespace(workers=1)
    stage.work(
        SimpleNamespace(split=split_params(), augment=augment_params(), data=SimpleNamespace(more={}), runtime=runtime)
    )
    assert Path("data/splits/folds.csv").is_file()
    assert Path("metrics/split.json").is_file()


@pytest.mark.real
def test_real_tables_with_nih_patients(real, tmp_path, monkeypatch):
    """12,047 images of 6,171 patients: nothing leaks, while a plain image split shares most positives."""
    rows = pd.read_csv(real / "siim-tables/stage_2_train.csv", dtype=str, skipinitialspace=True)
    runs = rows["EncodedPixels"].str.strip().replace("-1", "").str.split()
    rows["area_px"] = [sum(map(int, run[1::2])) for run in runs]
    areas = rows.groupby("ImageId")["area_px"].sum()
    labels = pd.DataFrame({"image_id": areas.index, "annotated": 1, "area_px": areas.to_numpy()})
    labels = labels.assign(pneumothorax=(labels["area_px"] > 0).astype(int), area_fraction=labels["area_px"] / 2**20)
    layout = Layout(tmp_path)
    write_table(layout.annotations, labels, ANNOTATIONS)
    view = np.where(np.arange(len(labels)) % 5 < 2, "AP", "PA")
    described = pd.DataFrame({"image_id": areas.index, "patient_id": areas.index, "view_position": view, "phantom": 0})
    write_table(layout.metadata, described, METADATA)
    monkeypatch.setattr(splitting, "_write_pictures", lambda *_: None)
    params = {"folds": 4, "test_fraction": 0.2, "patient_map": str(real / "siim-tables/nih_id.csv")}
    metrics = run(layout, **params)
    assert (metrics["images"], metrics["positives"], metrics["patients"]) == (12047, 2669, 6171)
    assert metrics["most_images_of_a_patient"] == 61
    assert metrics["images_of_shared_patients"] == 7828
    assert metrics["images_without_patient"] == 0
    assert metrics["leak"]["this_split"] == {"images": 0.0, "positives": 0.0}
    for part in metrics["parts"].values():
        assert part["images"] == pytest.approx(12047 / 5, abs=2)
        assert part["positives"] == pytest.approx(2669 / 5, abs=3)
        assert part["mask_area_median_px"] == pytest.approx(8700, rel=0.06)
    # The plain split's leak against scikit-learn's own.
    folds = read_table(layout.folds, FOLDS)
    table = folds.merge(labels, on="image_id")
    plain = np.zeros(len(table), int)
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    for number, (_, chosen) in enumerate(splitter.split(table, table["pneumothorax"])):
        plain[chosen] = number
    expected = leak(table, pd.Series(plain.astype(str)))
    assert metrics["leak"]["plain_image_split"]["images"] == pytest.approx(expected["images"], abs=0.02)
    assert metrics["leak"]["plain_image_split"]["positives"] == pytest.approx(expected["positives"], abs=0.02)
    assert expected["positives"] > 0.9
