"""A set of data.more from its DICOM files to the data of a fold, beside phantoms of another seed."""

import shutil
from pathlib import Path

import pytest

from pneumoseg.config import parse_params
from pneumoseg.external.preparing import extract_more
from pneumoseg.extract.extraction import extract
from pneumoseg.masks.mask_files import write_masks
from pneumoseg.phantom import generate
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, read_table
from pneumoseg.split.splitting import split
from pneumoseg.train.fold_data import load_fold

SMALL = {"images": 16, "size_px": 64, "prevalence": 0.5, "unannotated_images": 0, "unlabelled_images": 0}
COPIES = 3


@pytest.mark.slow
def test_a_set_is_trained_on_by_its_labels_and_its_copies_are_left_out(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere/data/phantom"
    other = {"root": str(elsewhere), "annotations": str(elsewhere / "train-rle.csv"), "use": "label"}
    content = {
        "phantom": SMALL,
        "data": {"root": "data/phantom", "annotations": "data/phantom/train-rle.csv", "more": {"b": other}},
        "split": {"folds": 2, "test_fraction": 0.25},
        "model": {"image_head": {"enabled": True}},
        "train": {"label_only_share": 0.5},
    }
    params, layout = parse_params(content), Layout(tmp_path)
    generate(layout, params.phantom, 0)
    generate(Layout(tmp_path / "elsewhere"), params.phantom.model_copy(update={"seed": 11}), 0)
    for number, file in enumerate(sorted(layout.phantom.rglob("*.dcm"))[:COPIES]):
        shutil.copy2(file, elsewhere / f"copy{number}.dcm")
    rows = (layout.phantom / "train-rle.csv").read_text().splitlines()[1:]
    with (elsewhere / "train-rle.csv").open("a") as table:
        table.write("".join(f"{row}\n" for row in rows))
    extract(layout, params.data, params.extract, 0)
    write_masks(layout, params.data, params.masks, 0)
    extract_more(layout.more("b"), params.data.more["b"], params.extract, params.masks, 0)
    known = read_table(layout.more("b").annotations, ANNOTATIONS)
    assert (len(known), set(known["mask_known"])) == (16 + COPIES, {0})
    assert not list(layout.more("b").masks.glob("*.png"))
    split(layout, params.split, params.augment, 0, ["b"])
    counts = read_json(layout.split_counts)["more"]["b"]
    assert counts["copies_of_main"] == {"id": COPIES, "map": 0, "pixels": 0, "similar": 0}
    assert counts["label_only"] == 16 + COPIES
    data = load_fold(layout, 0, params)
    own = set(read_table(layout.metadata, METADATA)["image_id"])
    # A copy has the number that some phantom of the other seed has too, and so ties her to the main set's patient.
    assert len(data.label_only) == 16 - counts["patients_who_judge"]["fold0"] > 8
    assert set(data.label_only.values()) == {False, True}
    assert not {name.removeprefix("b/") for name in data.label_only} & own
    assert set(data.validation_ids) <= own


def test_mistakes_in_a_set_are_told_by_its_own_parameters(tmp_path: Path):
    more = {"b": {"root": str(tmp_path / "none"), "annotations": "b.csv"}}
    params = parse_params({"data": {"root": "x", "annotations": "x.csv", "more": more}})
    with pytest.raises(DataError, match=r"data\.more\.b\.root = .*none"):
        extract_more(Layout(tmp_path).more("b"), params.data.more["b"], params.extract, params.masks, 0)
