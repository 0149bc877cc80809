"""Sets beside the main one: nobody who tests or validates a fold teaches it, under whatever name and in which set."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumoseg.config import parse_params
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, MANIFEST, METADATA, read_table, write_table
from pneumoseg.split.similarity import SIMILAR
from pneumoseg.split.splitting import split
from tests.split.split_cases import augment_params, split_params, write_dataset

pytestmark = pytest.mark.slow

PARAMS = split_params(materialize=False)


def write_more(part: Layout, rows: list[tuple[str, str, int]], similar: list[tuple[str, str]] = (), **values) -> None:
    """Tables of a set: image id, patient id and label; pairs of similar images of the main set."""
    frame = pd.DataFrame(rows, columns=["image_id", "patient_id", "pneumothorax"])
    write_table(part.metadata, frame[["image_id", "patient_id"]].assign(phantom=0, **values), METADATA)
    annotations = frame[["image_id", "pneumothorax"]].assign(annotated=1, mask_known=1)
    write_table(part.annotations, annotations, ANNOTATIONS)
    pairs = pd.DataFrame([(*pair, 0.999) for pair in similar], columns=list(SIMILAR))
    write_table(part.similar, pairs, SIMILAR)


@pytest.fixture
def main(tmp_path: Path) -> Layout:
    """Split once without any set; whose patients are then known to lie where."""
    layout = write_dataset(tmp_path, phantom=0)
    split(layout, PARAMS, augment_params(), 0)
    return layout


def image_of(layout: Layout, fold: str) -> tuple[str, str]:
    """An image of a part and its patient, who has no other."""
    folds = read_table(layout.folds, FOLDS)
    row = folds[(folds["fold"] == fold) & ~folds["patient"].duplicated(keep=False)].iloc[0]
    return row["image_id"], row["patient"]


def taught(layout: Layout, name: str) -> list[set[str]]:
    """By fold the images of a set in its manifest."""
    manifests = [read_table(layout.splits / f"train_fold{fold}.csv", MANIFEST) for fold in range(3)]
    return [{one for one in table["image_id"] if one.startswith(f"{name}/")} for table in manifests]


def test_who_judges_a_fold_does_not_teach_it_through_another_set(main: Layout):
    before = main.folds.read_bytes()
    tested, validating, same = image_of(main, "test")[0], image_of(main, "0")[0], image_of(main, "1")[1]
    rows = [("t0", "Q1", 1), ("t1", "Q1", 0), ("v0", "Q2", 0), ("v1", "Q2", 1), ("s0", same, 1), ("free", "Q3", 1)]
    write_more(main.more("b"), [*rows, ("lone", "", 0)], [("t0", tested), ("v0", validating)])
    split(main, PARAMS, augment_params(), 0, ["b"])
    assert main.folds.read_bytes() == before
    everywhere = {"b/free", "b/lone"}
    # t1 is another radiograph of a patient who tests, v1 of one who validates fold 0; s0 has the PatientID of one of 1.
    assert taught(main, "b") == [everywhere | {"b/s0"}, everywhere | {"b/v1"}, everywhere | {"b/s0", "b/v1"}]
    counts = read_json(main.split_counts)
    assert counts["more"]["b"]["copies_of_main"] == {"id": 0, "map": 0, "pixels": 0, "similar": 2}
    assert counts["more"]["b"]["patients_who_judge"] == {"fold0": 2, "fold1": 2, "fold2": 1}
    told = " ".join(counts["warnings"])
    assert "data.more.b: 2 of its 7 annotated images are radiographs of data.root (2 by similar)" in told
    assert "up to 2 further images are left out of a fold" in told


def test_patients_are_followed_through_several_sets(main: Layout):
    """b's image is the tested one; c has the pixels of another one of b's patient, and a third of hers."""
    tested = image_of(main, "test")[0]
    write_more(main.more("b"), [("b0", "Q1", 1), ("b1", "Q1", 1)], [("b0", tested)], pixels_sha256=["x", "y"])
    write_more(main.more("c"), [("c1", "R9", 1), ("c2", "R9", 0), ("c3", "R8", 0)], pixels_sha256=["y", "z", "w"])
    split(main, PARAMS, augment_params(), 0, ["b", "c"])
    assert taught(main, "b") == [set()] * 3
    assert taught(main, "c") == [{"c/c3"}] * 3


def test_nih_names_in_the_patient_map_tell_copies_and_patients(main: Layout, tmp_path: Path):
    ids = sorted(read_table(main.metadata, METADATA)["image_id"])
    names = [f"{number:08d}_000.png" for number in range(len(ids))]
    (tmp_path / "map.csv").write_text("".join(f"{one},{name}\n" for one, name in zip(ids, names, strict=True)))
    rows = [(f"{number:08d}_{shot:03d}", f"hash{number}", 0) for number in range(len(ids) + 1) for shot in (0, 1)]
    write_more(main.more("nih"), rows)
    split(main, PARAMS.model_copy(update={"patient_map": "map.csv"}), augment_params(), 0, ["nih"])
    folds = read_table(main.folds, FOLDS).set_index("image_id")["fold"]
    for fold, shown in enumerate(taught(main, "nih")):
        free = [number for number, name in enumerate(ids) if folds.get(name) not in ("test", str(fold))]
        assert shown == {f"nih/{number:08d}_001" for number in free} | {
            f"nih/{len(ids):08d}_{shot:03d}" for shot in (0, 1)
        }
    assert read_json(main.split_counts)["more"]["nih"]["copies_of_main"]["map"] == len(ids)


def test_equal_ids_are_one_radiograph_only_where_ids_are_unique_in_the_world(main: Layout):
    metadata = read_table(main.metadata, METADATA)
    first = metadata["image_id"].iloc[0]
    write_more(main.more("b"), [(first, "Q1", 0)])  # img.05 or the like, in any hospital
    split(main, PARAMS, augment_params(), 0, ["b"])
    assert taught(main, "b") == [{f"b/{first}"}] * 3


def test_one_patient_under_several_ids_of_the_main_set_is_told(main: Layout):
    pairs = [("x0", image_of(main, "test")[0]), ("x1", image_of(main, "0")[0])]
    write_more(main.more("b"), [("x0", "Q1", 0), ("x1", "Q1", 0)], pairs)
    split(main, PARAMS, augment_params(), 0, ["b"])
    assert "by data.more, 1 patients have images in several parts" in " ".join(read_json(main.split_counts)["warnings"])


@pytest.mark.parametrize(
    ("data", "evaluate", "told"),
    [
        ({"Nih": {}}, {}, "'Nih' cannot be the name of a set"),
        ({"b": {"use": "test"}}, {}, r"data\.more\.b\.use = \"test\""),
        ({"b": {"annotations": "data/more/b.csv"}}, {}, "data/more holds results"),
        ({"b": {"root": "data/more/x"}}, {}, "holds results of the pipeline"),
        ({"b": {}}, {"s": {"root": "/b/./", "annotations": "s.csv"}}, "data.more.b.root too: networks learn from it"),
    ],
)
def test_impossible_sets_are_refused(data: dict, evaluate: dict, told: str):
    more = {name: {"root": "/b", "annotations": "b.csv"} | values for name, values in data.items()}
    main = {"root": "data/x", "annotations": "x.csv", "more": more}
    with pytest.raises(ParameterError, match=told):
        parse_params({"data": main, "evaluate": {"external": evaluate}})


def test_the_manifest_without_sets_is_what_it_was(main: Layout, tmp_path: Path):
    before = [(main.splits / f"train_fold{fold}.csv").read_bytes() for fold in range(3)]
    write_more(main.more("b"), [("free", "Q", 1)])
    split(main, PARAMS, augment_params(), 0)
    assert [(main.splits / f"train_fold{fold}.csv").read_bytes() for fold in range(3)] == before
    assert np.all(["b/" not in text.decode() for text in before])
