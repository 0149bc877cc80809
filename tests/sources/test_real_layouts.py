"""Samples of published sets in their own layouts, read as their description and their table of truth say."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumoseg.config.data import DataParams
from pneumoseg.config.masks import MasksParams
from pneumoseg.radiographs.identity import PUBLIC_HASH_KEY, keyed_hash
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.sources.source import DataSet, source_of
from tests.sources.sets import Read, read_set

pytestmark = [pytest.mark.real, pytest.mark.long]

STATUS = {"1": "positive", "0": "negative", "-1": "uncertain", "blank": "blank", "no row": "unannotated"}


@pytest.fixture(scope="module")
def formats(real: Path) -> Path:
    if not (real / "formats").is_dir():
        pytest.skip("samples in published layouts are not beside the repository")
    return real / "formats"


def truth(formats: Path, folder: str) -> dict[str, dict[str, str]]:
    """Rows of truth.csv by path below the folder."""
    with (formats / "truth.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith(f"{folder}/")]
    return {row["file"].removeprefix(f"{folder}/"): row for row in rows}


def hashed(number: str) -> str:
    return keyed_hash(number, PUBLIC_HASH_KEY.encode())


def check(read: Read, expected: dict[str, dict[str, str]]) -> None:
    """Every file of the truth with its label, patient and view, and no other."""
    found = read.metadata.join(read.annotations["status"]).set_index("source")
    assert set(found.index) == set(expected)
    for path, row in expected.items():
        said, view = found.loc[path], row["view"].upper().replace("BLANK", "").replace("LL", "LATERAL")
        status = STATUS[re.sub(r"\.0$", "", row["pneumothorax"])]
        assert said["status"] == ("lateral" if view == "LATERAL" else status), path
        assert said["view_position"] == view, path
        number = re.search(r"file name (\d+)", row["patient"])
        assert said["patient_id"] == hashed(number[1] if number else row["patient"]), path


@pytest.mark.parametrize(
    ("name", "folder"), [("nih", "nih"), ("mimic", "mimic-invented"), ("indiana", "indiana-kaggle")]
)
def test_sets_with_a_truth_of_every_file(formats: Path, tmp_path: Path, name: str, folder: str) -> None:
    read = read_set(tmp_path, name, formats / folder)
    check(read, truth(formats, folder))
    assert read.rejected.empty
    assert read.rejected_rows.empty
    assert read.extract["flags"]["on_its_side"] == (name == "nih")  # 00012935_022


def test_siim_as_png(formats: Path, tmp_path: Path) -> None:
    read, expected = read_set(tmp_path, "siim_png", formats / "siim-png"), truth(formats, "siim-png")
    for row in expected.values():
        assert read.status()[row["other"]] == STATUS[row["pneumothorax"]]
        name = row["file"].rpartition("/")[2]
        mask = read_png(formats / "siim-png/png_masks" / name)
        if mask.any():
            assert np.array_equal(read_png(read.layout.masks / f"{row['other']}.png"), mask)
    assert len(read.metadata) == len(expected) == 3
    assert read.masks["table"]["rows"] == 122 + 61


def test_chexpert(formats: Path, tmp_path: Path) -> None:
    read = read_set(tmp_path, "chexpert", formats / "chexpert-invented")
    rows = pd.concat(
        pd.read_csv(formats / f"chexpert-invented/CheXpert-v1.0-small/{part}.csv", dtype=str, keep_default_na=False)
        for part in ("train", "valid")
    )
    status = read.status()
    assert len(rows) == len(status) + 2  # two rows have no image
    for path, label, side in zip(rows["Path"], rows["Pneumothorax"], rows["Frontal/Lateral"], strict=True):
        image_id = "_".join(path.removesuffix(".jpg").split("/")[2:])
        if image_id in status:
            plain = STATUS[re.sub(r"\.0$", "", label) or "blank"]
            assert status[image_id] == ("lateral" if side == "Lateral" else plain)
    assert read.metadata["age_years"].max() == 90
    assert read.metadata["age_years"].min() == 33
    assert read.extract["rejected_by_reason"]["resource_fork"] == 1


def test_vindr(formats: Path, tmp_path: Path) -> None:
    """Three readers agree, one of three, none; an id without a file; one without age."""
    read = read_set(tmp_path, "vindr", formats / "vindr-invented")
    assert sorted(read.status().items()) == [
        ("14f68d9dcbd7a085a368932ff2b2d409", "uncertain"),
        ("74bf20f876ffc474c0251908fcdce4b3", "positive"),
        ("dd311ca871902316d9841aab4ccec38d", "negative"),
    ]
    assert read.masks["table_images_without_image"] == 1
    assert set(read.metadata["patient_id"]) == {""}
    assert read.metadata["age_years"].isna().sum() == 1


def test_padchest(formats: Path, tmp_path: Path) -> None:
    read = read_set(tmp_path, "padchest", formats / "padchest")
    about = read.metadata.iloc[0]
    assert (about["bits_stored"], about["view_position"], about["sex"], about["age_years"]) == (16, "PA", "M", 86)
    assert list(read.status().values()) == ["negative"]
    assert read.masks["table"]["positives"] == 2


@pytest.mark.parametrize(
    ("name", "folder", "positives", "negatives", "undecided"),
    [
        ("nih", "nih-sample-2017", 40, 82, {}),
        ("candid", "candid-ptx-invented", 1, 2, {"9.9.99.101.3.9.9.9.10139.1": "blank"}),
    ],
)
def test_tables_without_images(
    formats: Path, name: str, folder: str, positives: int, negatives: int, undecided: dict[str, str]
) -> None:
    params = DataParams(format=name, root=str(formats / folder), annotations=str(formats / folder))
    truths = source_of(params).truth(DataSet.of(Layout(), params), {}, MasksParams())
    found = [entry.positive for entry in truths.images.values()]
    assert (sum(found), len(found) - sum(found)) == (positives, negatives)
    assert truths.undecided == undecided
    assert truths.rejected == []
