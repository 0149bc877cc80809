"""A source is one small class: a folder of PNGs and a CSV of labels goes through extract, masks, explore and split."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumoseg.config import Params
from pneumoseg.config.data import DataParams
from pneumoseg.explore.exploring import explore
from pneumoseg.extract.extraction import extract
from pneumoseg.masks.mask_files import write_masks
from pneumoseg.radiographs.image_file import Known
from pneumoseg.shared.files import read_json, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import SOURCES
from pneumoseg.shared.rle import runs_of
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, read_table
from pneumoseg.sources.source import Item
from pneumoseg.sources.truth import LABEL_ONLY, NEGATIVE, RejectedRow, Truth, Truths
from pneumoseg.split.splitting import split

pytestmark = pytest.mark.slow

COUNT = 32


class Labels:
    """<patient>_<n>.png, and rows of name and label: 0, 1 (no mask), box (the left upper quarter); else damaged."""

    def images(self, data):
        files = sorted(data.root.glob("*.png"))
        return [Item(path, Known(path.stem, path.stem.split("_")[0], view="PA")) for path in files]

    def truth(self, data, sizes, params):
        truths, names, rejected = {}, [], []
        for line, (name, label) in enumerate(csv.reader(data.annotations.read_text().splitlines()), 1):
            names.append(name)
            if label == "box":
                mask = np.zeros(sizes[name], bool)
                mask[: mask.shape[0] // 2, : mask.shape[1] // 2] = True
                truths[name] = Truth(positive=True, runs=runs_of(mask), rle_count=1)
            elif label in ("0", "1"):
                truths[name] = LABEL_ONLY if label == "1" else NEGATIVE
            else:
                rejected.append(RejectedRow(line, name, f"label {label} is neither 0, 1 nor box"))
        return Truths(truths, names, rejected)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Six boxes, six labels without mask, 18 negatives, a damaged row, and an image without a row."""
    layout = Layout(tmp_path_factory.mktemp("toy"))
    noise = np.random.default_rng(0)
    labels = ["box"] * 6 + ["1"] * 6 + ["0"] * 18 + ["?"]
    names = [f"p{index}_0" for index in range(COUNT)]
    for name in names:
        write_png(layout.root / f"in/{name}.png", noise.integers(0, 255, (40, 60)).astype(np.uint8))
    rows = [f"{name},{label}\n" for name, label in zip(names, labels, strict=False)]
    (layout.root / "labels.csv").write_text("".join(rows))
    params = Params()
    with SOURCES.temporarily("labels", Labels()):
        data = DataParams(format="labels", root="in", annotations="labels.csv")
        extract(layout, data, params.extract, 0)
        write_masks(layout, data, params.masks.model_copy(update={"max_rejected_fraction": 1.0}), 0)
    explore(layout, params.explore)
    split(layout, params.split.model_copy(update={"folds": 3, "materialize": True}), params.augment, 0)
    return layout


def test_each_format_is_named_as_its_module_so_that_a_name_is_checked_without_it():
    assert SOURCES.names() == tuple(name for name, _ in SOURCES.items())


def test_images_become_radiographs_with_what_the_source_knows(layout):
    table = read_table(layout.metadata, METADATA)
    assert len(table) == COUNT
    assert table["patient_id"].nunique() == COUNT
    assert set(table["view_position"]) == {"PA"}
    assert set(table["study_id"]) == {""}
    assert table["source"].tolist() == [f"{name}.png" for name in table["image_id"]]


def test_a_label_without_a_mask_is_a_positive_without_a_file(layout):
    table = read_table(layout.annotations, ANNOTATIONS).set_index("image_id")
    assert table.loc["p0_0", ["pneumothorax", "mask_known", "area_px"]].tolist() == [1, 1, 600]
    assert table.loc["p6_0", ["pneumothorax", "mask_known"]].tolist() == [1, 0]
    assert pd.isna(table.loc["p6_0", "area_px"])
    assert table.loc["p12_0", ["pneumothorax", "mask_known", "area_px"]].tolist() == [0, 1, 0]
    assert table.loc["p31_0", "annotated"] == 0
    assert pd.isna(table.loc["p31_0", "mask_known"])
    assert sorted(path.stem for path in layout.masks.iterdir()) == [f"p{index}_0" for index in range(6)]
    counts = read_json(layout.masks_counts)["matched"]
    assert (counts["positives"], counts["label_only"], counts["area_px"]["max"]) == (12, 6, 600)
    assert read_json(layout.masks_counts)["rejected_rows"] == 1


def test_exploration_measures_known_masks_alone(layout):
    summary = read_json(layout.explore / "summary.json")
    assert (summary["pneumothorax"], summary["label_only"]) == (12, 6)
    assert summary["mask_area"]["percent"]["median"] == 25
    assert pd.read_csv(layout.explore / "mask_areas.csv")["images"].sum() == 6
    assert summary["heat_map"]["viewer_left_share"] == 1


def test_the_folds_spread_positives_without_a_mask_evenly_too(layout):
    folds = read_table(layout.folds, FOLDS).set_index("image_id")["fold"]
    for first in (0, 6):  # with a mask, without
        counts = folds[[f"p{index}_0" for index in range(first, first + 6)]].value_counts()
        assert counts.drop("test", errors="ignore").max() <= 2
    assert read_json(layout.split_counts)["label_only"] == 6
    written = {path.name.split("__")[0] for path in Path(layout.splits / "materialized/fold0/masks").iterdir()}
    assert not written & {f"p{index}_0" for index in range(6, 12)}
