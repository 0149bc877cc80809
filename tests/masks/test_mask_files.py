"""Merged masks: OR, what is not believed, every column of annotations.csv, and the constants of the real table."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from scipy import ndimage

from pneumoseg.config import parse_params
from pneumoseg.config.data import DataParams
from pneumoseg.config.masks import MasksParams
from pneumoseg.masks.mask_files import measure, write_masks
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.rle import encode
from pneumoseg.shared.tables import METADATA, write_table
from pneumoseg.sources.rle_grouping import group_rows
from pneumoseg.sources.rle_table import AnnotationRow, AnnotationTable, read_rows
from pneumoseg.sources.truth import Size

PARAMS = MasksParams(table_size_px=10, max_rejected_fraction=1.0)


@pytest.fixture
def run(tmp_path):
    """Run the stage on a table; returns paths and tables that it wrote."""

    def go(table, sizes, params=PARAMS, workers=0, phantom=0):
        frame = pd.DataFrame(
            [{"image_id": name, "rows": rows, "columns": columns} for name, (rows, columns) in sizes.items()],
            columns=["image_id", "rows", "columns"],
        )
        for column, kind in METADATA.items():
            if column not in frame:
                frame[column] = "" if kind == "text" else None
        layout = Layout(tmp_path)
        write_table(layout.metadata, frame.assign(phantom=phantom), METADATA)
        (tmp_path / "rle.csv").write_text("ImageId, EncodedPixels\n" + table)
        data = DataParams(root="none", annotations="rle.csv")  # relative to the folder of params.yaml
        write_masks(layout, data, params, workers)
        files = (layout.annotations, layout.rejected_annotations, layout.masks_counts, *sorted(layout.masks.iterdir()))
        return SimpleNamespace(
            cases=pd.read_csv(layout.annotations, dtype=str, keep_default_na=False).set_index("image_id"),
            rejected=pd.read_csv(layout.rejected_annotations, keep_default_na=False),
            metrics=json.loads(layout.masks_counts.read_text()),
            masks={path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in layout.masks.glob("*.png")},
            bytes={path.name: path.read_bytes() for path in files},
        )

    return go


def test_rows_are_merged_by_or_at_the_images_size(run):
    # 4 rows x 3 columns. Rows of the table: pixels 0-2, and 2-5: they overlap in pixel 2.
    result = run("p, 0 3\nn, -1\np, 2 4\n", {"p": (4, 3), "n": (4, 3), "u": (4, 3)})
    assert list(result.masks) == ["p"]
    assert result.masks["p"].dtype == np.uint8
    assert result.masks["p"].tolist() == [[255, 255, 0], [255, 255, 0], [255, 0, 0], [255, 0, 0]]
    row = result.cases.loc["p"]
    assert row[["annotated", "pneumothorax", "rle_count", "components", "area_px"]].tolist() == [
        "1",
        "1",
        "2",
        "1",
        "6",
    ]
    assert float(row["area_fraction"]) == 0.5
    assert row[["row_min", "column_min", "row_max", "column_max"]].tolist() == ["0", "0", "3", "1"]
    assert len(row["mask_sha256"]) == 32
    assert result.metrics["matched"]["overlapping"] == 1
    assert result.metrics["matched"]["several_rows"] == 1


def test_empty_unannotated_and_rejected_are_kept_apart(run):
    table = "pos, 0 3\nneg, -1\nbad, 0 3\nbad, 0 99\nboth, -1\nboth, 0 1\nlost,\nlost, -1\nelse, 0 2\n../x, -1\n"
    names = ("pos", "neg", "bad", "both", "lost", "none")
    result = run(table, dict.fromkeys(names, (4, 3)))
    assert result.cases["status"].to_dict() == {
        "bad": "rejected",
        "both": "rejected",
        "lost": "rejected",
        "neg": "negative",
        "none": "unannotated",
        "pos": "positive",
    }
    assert result.cases["annotated"].to_dict() == {
        name: str(int(name in {"pos", "neg"})) for name in ("bad", "both", "lost", "neg", "none", "pos")
    }
    assert result.cases.loc[["bad", "both", "lost", "none"], "pneumothorax"].tolist() == [""] * 4
    assert result.cases.loc[["bad", "both", "lost", "none"], "area_px"].tolist() == [""] * 4
    assert result.cases.loc["neg", ["pneumothorax", "rle_count", "area_px", "components", "row_min"]].tolist() == [
        *("0", "0", "0", "0", "")
    ]
    assert list(result.masks) == ["pos"]
    rejected = {row.line: (row.image_id, row.reason) for row in result.rejected.itertuples()}
    assert list(rejected) == [4, 5, 6, 7, 8, 9, 11]
    assert rejected[4] == ("bad", "another row of this image was rejected, line 5")
    assert "past the image of 12 pixels" in rejected[5][1]
    assert rejected[6] == ("both", "-1 in line 6 contradicts the mask in line 7") == rejected[7]
    assert "no EncodedPixels" in rejected[8][1]
    assert rejected[9] == ("lost", "another row of this image was rejected, line 8")
    assert rejected[11][0] == ""
    metrics = result.metrics
    assert metrics["table"]["rows"] == 10
    assert metrics["table"]["images"] == 6
    assert (metrics["table"]["positives"], metrics["table"]["negatives"], metrics["table"]["rejected"]) == (2, 1, 3)
    assert (metrics["matched"]["positives"], metrics["matched"]["negatives"]) == (1, 1)
    assert metrics["images_without_row"] == 1
    assert metrics["rows_without_image"] == 1
    assert metrics["table_images_without_image"] == 1
    assert (metrics["rejected_rows"], metrics["rejected_images"]) == (7, 3)


def test_images_the_data_lack_are_checked_at_the_tables_size(run):
    result = run("a, -1\nb, 0 100\nc, 0 101\n", {"a": (4, 3)})
    assert result.metrics["table"]["area_px"]["max"] == 100
    assert "masks.table_size_px = 10" in result.rejected["reason"].iloc[0]


def test_metrics_count_repeated_rows_and_phantoms(run):
    result = run("a, -1\na, -1\nb, 0 1\nb, 0 1\n", {"a": (4, 3), "b": (4, 3)}, phantom=1)
    assert result.metrics["repeated_rows"] == 2
    assert result.metrics["phantom_images"] == 2
    assert result.cases["status"].tolist() == ["negative", "positive"]


def test_the_number_of_workers_and_the_order_of_rows_change_nothing(run):
    rng = np.random.default_rng(1)
    rows = []
    for index in range(40):
        rows += [f"i{index}, {encode(rng.random((9, 7)) > 0.7)}" for _ in range(1 + index % 3)]
    sizes = {f"i{index}": (9, 7) for index in range(45)}
    first = run("\n".join(rows) + "\n", sizes, workers=0)
    # The other way round; no row is rejected, so lines do not matter.
    backwards = dict(reversed(sizes.items()))
    for workers in (1, 3, None):
        assert run("\n".join(reversed(rows)) + "\n", backwards, workers=workers).bytes == first.bytes


def test_old_masks_do_not_survive(run):
    assert list(run("a, 0 1\n", {"a": (4, 3)}).masks) == ["a"]
    assert list(run("b, 0 1\na, -1\n", {"a": (4, 3), "b": (4, 3)}).masks) == ["b"]


def test_no_image_has_a_row(run):
    with pytest.raises(DataError, match=r"its ids look like ID_7\.dcm, those of .*metadata\.csv like 1\.2\.3"):
        run("ID_7.dcm, -1\n", {"1.2.3": (4, 3)})
    with pytest.raises(DataError, match="no row names an image; 1 rows were rejected"):
        run("../../x, -1\n", {"1.2.3": (4, 3)})


def test_too_many_rejected_rows(run, tmp_path):
    params = MasksParams(table_size_px=10, max_rejected_fraction=0.25)
    sizes = dict.fromkeys("abcd", (4, 3))
    assert run("a, 1\nb, -1\nc, -1\nd, -1\n", sizes, params).metrics["rejected_rows"] == 1
    with pytest.raises(
        DataError, match=r"2 of 4 rows .* masks\.max_rejected_fraction = 0\.25; the first is line 2: odd"
    ):
        run("a, 1\nb, 0 0\nc, -1\nd, -1\n", sizes, params)
    assert len(pd.read_csv(Layout(tmp_path).rejected_annotations)) == 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({}, "holds no image"), ({"a": (0, 3)}, "image a has no rows"), ({"a": (None, 3)}, "image a has no rows")],
)
def test_metadata_that_cannot_be_used(run, sizes, message):
    with pytest.raises(DataError, match=message):
        run("a, -1\n", sizes)


@given(st_np.arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))).filter(np.any))
def test_measures_against_scipy(mask):
    measured = measure(mask)
    _, count = ndimage.label(mask, structure=np.ones((3, 3)))
    (rows, columns) = ndimage.find_objects(mask.astype(int))[0]
    assert measured["components"] == count
    assert measured["area_px"] == sum(map(sum, mask.tolist()))
    assert (measured["row_min"], measured["row_max"] + 1) == (rows.start, rows.stop)
    assert (measured["column_min"], measured["column_max"] + 1) == (columns.start, columns.stop)


def test_the_digest_tells_shapes_apart():
    assert measure(np.ones((2, 6), bool))["mask_sha256"] != measure(np.ones((3, 4), bool))["mask_sha256"]


def test_diagonal_neighbours_are_one_component():
    assert measure(np.eye(4, dtype=bool))["components"] == 1
    assert measure(np.array([[1, 0, 1]], bool))["components"] == 2


@given(st.lists(st_np.arrays(np.bool_, (4, 5)).filter(np.any), min_size=1, max_size=4))
def test_merging_against_numpy(masks):
    rows = tuple(AnnotationRow(line, "a", encode(mask)) for line, mask in enumerate(masks, 2))
    truths = group_rows(AnnotationTable(rows, ()), {"a": Size(4, 5)}, Size(1, 1))
    assert truths.rejected == []
    assert truths.images["a"].area_px == np.logical_or.reduce(masks).sum()
    assert truths.images["a"].overlapping == bool((np.sum(masks, axis=0) > 1).any())


@pytest.mark.parametrize("key", ["table_size_px: 0", "max_rejected_fraction: 1.5", "max_rejected_fractoin: 0.1"])
def test_section_masks_refuses(root, key):
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load(root / "params.yaml")
    name, value = key.split(": ")
    content["masks"][name] = float(value) if "." in value else int(value)
    with pytest.raises(ParameterError, match=f"masks.{name}"):
        parse_params(content)


@pytest.mark.real
@pytest.mark.slow
def test_the_constants_of_the_real_table(real, run):
    sample = read_rows(real / "siim-sample" / "train-rle.csv")
    ids = sorted({row.image_id for row in sample.rows})
    assert len(ids) == 23
    lines = (real / "siim-tables" / "stage_2_train.csv").read_text().splitlines()[1:]
    params = MasksParams(table_size_px=1024, max_rejected_fraction=0.0)
    result = run("\n".join(lines) + "\n", dict.fromkeys([*ids, "ID_1"], (1024, 1024)), params, workers=2)
    table = result.metrics["table"]
    assert {
        name: table[name] for name in ("rows", "images", "positives", "negatives", "several_rows", "overlapping")
    } == {
        "rows": 12_954,
        "images": 12_047,
        "positives": 2_669,
        "negatives": 9_378,
        "several_rows": 624,
        "overlapping": 183,
    }
    assert table["prevalence"] == pytest.approx(0.22155, abs=1e-5)
    rows_of_an_image = [2045, 447, 112, 40, 18, 3, 1, 2]
    assert table["rle_rows"] == {**{str(n): count for n, count in enumerate(rows_of_an_image, 1)}, "10": 1}
    area = {name: int(value) for name, value in table["area_px"].items()}
    assert area == {"min": 55, "p5": 1_363, "median": 8_630, "p95": 45_772, "max": 161_421, "mean": 14_331}
    assert (result.metrics["matched"]["positives"], result.metrics["matched"]["negatives"]) == (7, 16)
    assert len(result.masks) == 7
    assert result.metrics["images_without_row"] == 1
    assert result.metrics["table_images_without_image"] == 12_047 - 23
    assert result.metrics["rejected_rows"] == 0


def test_ids_in_another_spelling_are_matched_and_told(run, caplog):
    result = run("p.dcm, 0 3\nP.dcm, 5 1\nN.dcm, -1\nq, 0 1\nq.dcm, 3 1\n", {"p": (4, 3), "n": (4, 3), "q": (4, 3)})
    # p.dcm and P.dcm differ in case: P may be another image.
    assert result.cases["annotated"].to_dict() == {"n": "1", "p": "1", "q": "1"}
    assert result.cases.loc["p", "area_px"] == "3"
    assert result.cases.loc["q", ["area_px", "rle_count"]].tolist() == ["2", "2"]
    assert result.metrics["ids_in_another_spelling"] == 3
    told, lost = [record.getMessage() for record in caplog.records if "rle.csv" in record.getMessage()]
    assert "3 ids are taken for those of images in another spelling" in told
    assert "only 3 of its 4 images are among the 3 that were extracted, not P.dcm:" in lost


def test_a_match_that_is_only_partly_right_is_told(run, caplog):
    sizes = {f"i{number:02}": (4, 3) for number in range(19)}
    rows = "".join(f"{name}, -1\n" for name in [*sizes, "away"])
    run(rows, sizes)
    assert not caplog.records  # 95 %
    run(rows + "far, -1\n", sizes)
    (told,) = [record.getMessage() for record in caplog.records]
    assert "only 19 of its 21 images" in told
    assert "not away nor far" in told


def test_half_of_a_table_with_suffixes(run, faults):
    lines = (faults / "11-tables/half_dcm_suffix.csv").read_text().splitlines()[1:]
    ids = {line.split(",")[0].removesuffix(".dcm") for line in lines}
    result = run("\n".join(lines) + "\n", dict.fromkeys(ids, (1024, 1024)))
    assert set(result.cases["annotated"]) == {"1"}
    assert result.metrics["table_images_without_image"] == 0
