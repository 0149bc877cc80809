"""The explore stage on small data sets: every file, missing values, phantoms, and the same bytes twice."""

import json
from functools import partial

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pneumoseg.config import parse_params
from pneumoseg.config.explore import ExploreParams
from pneumoseg.explore.exploring import explore, mean_coverage
from pneumoseg.explore.joined import phantom_mark, read_cases
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, read_table, write_table
from tests.drawing.phone import smallest_text_px

pytestmark = pytest.mark.slow

PARAMS = ExploreParams(
    age_band_years=10, max_age_years=110, confidence=0.95, area_bins=8, heat_map_bins=8, figure_dpi=50
)
FIGURES = ("correlation.png", "counts.png", "heat_map.png", "incidence.png", "masks.png")
TABLES = ("correlation.csv", "counts.csv", "heat_map.csv", "incidence.csv", "mask_areas.csv", "mask_components.csv")


def make_dataset(folder, n=12, positives=True, recorded=True, phantom=0, view=None, unannotated=1):
    """Write metadata, annotations and masks of n images of 32 x 24 pixels; every third has a pneumothorax."""
    layout = Layout(folder)
    rows, annotations = [], []
    for index in range(n):
        name = f"i{index:02d}"
        row = dict.fromkeys(METADATA) | {name: "" for name, kind in METADATA.items() if kind == "text"}
        row |= {"image_id": name, "rows": 32, "columns": 24, "phantom": phantom}
        if recorded:
            row |= {"sex": "MF"[index % 2], "age_years": 152 if index == 1 else 20 + 3 * index}
            row |= {"view_position": view or ("PA", "AP", "PA")[index % 3]}
        rows.append(row)
        annotations.append(_annotate(layout.masks, name, index, positives, index < n - unannotated))
    write_table(layout.metadata, pd.DataFrame(rows), METADATA)
    write_table(layout.annotations, pd.DataFrame(annotations), ANNOTATIONS)
    return layout


@pytest.fixture
def dataset(tmp_path):
    return partial(make_dataset, tmp_path)


def _annotate(masks, name, index, positives, annotated):
    case = dict.fromkeys(ANNOTATIONS) | {"image_id": name, "mask_sha256": ""}
    if not annotated:
        return case | {"annotated": 0, "rle_count": 0, "status": "unannotated"}
    if not positives or index % 3:
        case |= {"annotated": 1, "pneumothorax": 0, "rle_count": 0, "components": 0, "area_px": 0}
        return case | {"area_fraction": 0.0, "status": "negative"}
    mask = np.zeros((32, 24), np.uint8)
    mask[: 4 + index, :6] = 255
    write_png(masks / f"{name}.png", mask)
    area = int((mask > 0).sum())
    case |= {"annotated": 1, "pneumothorax": 1, "rle_count": 1, "components": 1, "area_px": area}
    return case | {"area_fraction": area / mask.size, "status": "positive"}


def run(layout, params=PARAMS):
    explore(layout, params)
    return layout.explore


@pytest.fixture
def titles(monkeypatch):
    """Of the figures that the test draws."""
    drawn = []
    original = Figure.suptitle
    monkeypatch.setattr(
        Figure, "suptitle", lambda self, text, **more: drawn.append(text) or original(self, text, **more)
    )
    return drawn


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """The results for the default data set, in its folder."""
    return run(make_dataset(tmp_path_factory.mktemp("explored")))


def test_every_file_and_the_same_bytes_twice(explored):
    first = {path.name: path.read_bytes() for path in explored.iterdir()}
    pictures = [name.replace(".png", ".svg") for name in FIGURES]
    assert sorted(first) == sorted((*FIGURES, *pictures, *TABLES, "summary.json"))
    run(Layout(explored.parents[1]))
    assert {path.name: path.read_bytes() for path in explored.iterdir()} == first
    for name in FIGURES:
        with Image.open(explored / name) as image:
            assert not set(image.info) - {"dpi"}
            assert np.asarray(image.convert("L")).std() > 5


def test_text_of_the_figures_can_be_read_on_a_phone(explored):
    figures = sorted(explored.glob("*.svg"))
    assert len(figures) == len(FIGURES)
    assert {path.name: smallest_text_px(path) for path in figures if smallest_text_px(path) < 9} == {}


def test_summary_golden(explored):
    summary = json.loads((explored / "summary.json").read_text())
    assert summary["images"] == 12
    assert (summary["pneumothorax"], summary["no_pneumothorax"], summary["not_annotated"]) == (4, 7, 1)
    assert summary["prevalence"] == pytest.approx(4 / 11, abs=1e-6)
    assert summary["implausible_ages"] == 1
    assert summary["annotated_without_age"] == 1
    assert summary["images_without_patient"] == 12
    assert summary["age_years"] == {"min": 20, "median": 36.5, "max": 50}
    # Masks of 4, 7, 10 and 13 rows by 6 of 24 columns.
    assert summary["mask_area"]["px"]["median"] == (7 * 6 + 10 * 6) / 2
    assert summary["heat_map"] == {"viewer_left_share": 1.0, "upper_half_share": 1.0, "largest_coverage": 1.0}


def test_images_that_are_not_annotated_are_told_by_their_reason(dataset):
    layout = dataset()
    table = read_table(layout.annotations, ANNOTATIONS)
    for row, status in ((1, "uncertain"), (2, "blank"), (4, "lateral"), (5, "lateral")):
        table.loc[row, ["annotated", "pneumothorax", "status"]] = (0, pd.NA, status)
    write_table(layout.annotations, table, ANNOTATIONS)
    out = run(layout)
    summary = json.loads((out / "summary.json").read_text())
    reasons = ("no_pneumothorax", "not_annotated", "label_uncertain", "label_blank", "from_the_side")
    assert [summary[name] for name in reasons] == [3, 1, 1, 1, 2]
    assert summary["prevalence"] == pytest.approx(4 / 7, abs=1e-6)
    counts = pd.read_csv(out / "counts.csv").set_index(["variable", "value"])
    assert counts.loc[("label", "from the side"), ["images", "from_the_side"]].tolist() == [2, 2]
    assert counts.loc[("sex", "F"), "from_the_side"] == 1


def test_heat_map_is_the_mean_of_the_masks(dataset):
    layout = dataset()
    cases = read_cases(layout, 110)
    shares, n = mean_coverage(cases, layout.masks, 8)
    assert n == 4
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0 for path in (layout.masks).iterdir()]
    expected = np.mean(masks, axis=0).reshape(8, 4, 8, 3).mean(axis=(1, 3))
    assert shares == pytest.approx(expected)


def test_lateral_images_are_left_out_of_the_heat_map(dataset):
    layout = dataset(view="LL")
    cases = read_cases(layout, 110)
    assert mean_coverage(cases, layout.masks, 8) == (None, 0)
    out = run(layout)
    assert (out / "heat_map.csv").read_text() == "row,column,mean_coverage,phantom\n"
    assert json.loads((out / "summary.json").read_text())["heat_map"] is None


@pytest.mark.parametrize(
    "options",
    [
        {"recorded": False},
        {"recorded": False, "positives": False, "phantom": 1},
        {"positives": False},
        {"unannotated": 12},
        {"n": 1, "unannotated": 0},
    ],
)
def test_what_is_missing_stops_nothing(dataset, titles, options):
    out = run(dataset(**options))
    assert len(titles) == 5
    assert all(title.endswith("phantom data") == ("phantom" in options) for title in titles)
    assert sorted(path.name for path in out.glob("*.png")) == list(FIGURES)
    summary = json.loads((out / "summary.json").read_text())
    if not options.get("recorded", True):
        assert summary["age_years"] is None
        constant = {} if options.get("positives", True) else {"pneumothorax": "always 0"}
        unrecorded = dict.fromkeys(("age", "sex", "view"), "not recorded")
        assert summary["correlation"]["left_out"] == unrecorded | constant
    if options.get("unannotated") == 12:
        assert summary["prevalence"] is None


def test_phantoms_are_marked(dataset, titles):
    layout = dataset(phantom=1)
    out = run(layout)
    assert len(titles) == 5
    assert all(title.endswith("phantom data") for title in titles)
    assert json.loads((out / "summary.json").read_text())["phantom_images"] == 12
    assert all(pd.read_csv(out / name)["phantom"].eq(1).all() for name in TABLES)
    cases = read_cases(layout, 110)
    assert phantom_mark(cases) == "phantom data"
    assert phantom_mark(cases.assign(phantom=[1, *[0] * 11])) == "partly phantom data, 1 of 12 images"
    assert phantom_mark(cases.assign(phantom=0)) == ""


def test_files_that_do_not_belong_together(dataset):
    layout = dataset()
    annotations = pd.read_csv(layout.annotations, dtype=str, keep_default_na=False)
    annotations.iloc[1:].to_csv(layout.annotations, index=False)
    with pytest.raises(DataError, match="do not list the same images"):
        run(layout)
    annotations.assign(status="maybe").to_csv(layout.annotations, index=False)
    with pytest.raises(DataError, match="status 'maybe' is none of positive"):
        run(layout)
    annotations.drop(columns="status").to_csv(layout.annotations, index=False)
    with pytest.raises(DataError, match="no column status"):
        run(layout)


def test_a_mask_that_is_missing_or_of_another_size(dataset):
    layout = dataset()
    write_png(layout.masks / "i00.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match=r"i00\.png: size \(9, 9\), its image has \(32, 24\)"):
        run(layout)
    (layout.masks / "i00.png").unlink()
    with pytest.raises(DataError, match=r"i00\.png: not there"):
        run(layout)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("age_band_years", 0),
        ("max_age_years", 400),
        ("confidence", 1.0),
        ("area_bins", 1),
        ("heat_map_bins", 1),
        ("dpi", 9),
    ],
)
def test_section_explore_refuses(root, key, value):
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load(root / "params.yaml")
    content["explore"][key] = value
    with pytest.raises(ParameterError, match=f"explore.{key}"):
        parse_params(content)
