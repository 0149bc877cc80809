"""One tiny folder of every published layout: ids, patients, views, labels and masks as its table says them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pneumoseg.predict.planning import plan
from pneumoseg.radiographs.identity import PUBLIC_HASH_KEY, keyed_hash
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.rle import encode
from pneumoseg.shared.tables import FOLDS, write_table
from tests.radiographs.dicom_files import dataset, save
from tests.sources.sets import picture, read_set, square, write_image, write_masked_folder, write_text


def hashed(number: str) -> str:
    return keyed_hash(number, PUBLIC_HASH_KEY.encode())


def test_nih(tmp_path: Path) -> None:
    """Two images of a patient whose number has lost its zeros, RGBA, a file without row, a row without file."""
    root = tmp_path / "nih"
    for number, name in enumerate(("00000001_000", "00000001_001", "00000002_000", "00000009_000")):
        write_image(root / f"images_00{number % 2 + 1}/images/{name}.png", picture(number))
    write_image(
        root / "images_001/images/00000003_000.png", cv2.merge([*[picture(9)] * 3, np.full((40, 40), 255, np.uint8)])
    )
    write_text(
        root / "Data_Entry_2017_v2020.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
        "00000001_000.png,Effusion|Pneumothorax,0,1,57,M,PA,80,120,0.1,0.2\n"
        "00000001_001.png,No Finding,1,1,411Y,M,AP,2000,3000,0.1,0.2\n"
        "00000002_000.png,,0,2,013M,F,PA,2000,3000,0.1,0.2\n"
        "00000003_000.png,No Finding,0,3,5,F,PA,2000,3000,0.1,0.2\n"
        "00000004_000.png,Pneumothorax,0,4,5,F,PA,2000,3000,0.1,0.2\n",
    )
    read = read_set(tmp_path / "out", "nih", root)
    assert read.status() == {
        "00000001_000": "positive", "00000001_001": "negative", "00000002_000": "blank", "00000003_000": "negative",
        "00000009_000": "unannotated",
    }  # fmt: skip
    assert read.annotations.loc["00000001_000", "mask_known"] == 0
    about = read.metadata
    assert about.loc["00000001_000", "patient_id"] == about.loc["00000001_001", "patient_id"] == hashed("00000001")
    assert about.loc["00000009_000", "patient_id"] == hashed("00000009")
    assert about["age_years"].round(4).tolist()[:3] == pytest.approx([57, np.nan, 1.0833], nan_ok=True)
    # 120 rows of 0.2 mm and 80 columns of 0.1 mm, shown in 40 pixels each.
    assert about.loc["00000001_000", ["pixel_spacing_row_mm", "pixel_spacing_column_mm"]].tolist() == [0.6, 0.2]
    assert read.masks["table_images_without_image"] == 1
    assert read.masks["matched"]["label_only"] == 1


def test_the_older_table_of_the_nih_sample(tmp_path: Path) -> None:
    root = tmp_path / "sample"
    write_image(root / "images/00000007_000.png", picture(0))
    write_text(
        root / "sample_labels.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImageWidth,"
        "OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y\n"
        "00000007_000.png,Pneumothorax,000,00000007,078Y,F,PA,80,120,0.1,0.1\n",
    )
    about = read_set(tmp_path / "out", "nih", root).metadata.loc["00000007_000"]
    assert (about["patient_id"], about["age_years"], about["sex"]) == (hashed("00000007"), 78, "F")
    assert (about["pixel_spacing_row_mm"], about["pixel_spacing_column_mm"]) == (0.3, 0.2)


CHEXPERT = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Pneumothorax\n"


def write_chexpert(root: Path) -> None:
    rows = {
        "train": (
            ("patient00001/study1/view1_frontal", "Female,68,Frontal,AP,,1.0"),
            ("patient00001/study1/view2_lateral", "Female,68,Lateral,,,1.0"),
            ("patient00001/study11/view1_frontal", "Female,0,Frontal,LL,,0.0"),
            ("patient00002/study1/view1_frontal", "Unknown,90,Frontal,PA,,-1.0"),
            ("patient00003/study1/view1_frontal", "Male,20,Frontal,PA,1.0,"),
        ),
        "valid": (("patient00004/study1/view1_frontal", "Male,30,Frontal,PA,0.0,0.0"),),
    }
    for part, images in rows.items():
        text = CHEXPERT + "".join(f"CheXpert-v1.0-small/{part}/{path}.jpg,{rest}\n" for path, rest in images)
        write_text(root / f"CheXpert-v1.0-small/{part}.csv", text)
        for number, (path, _) in enumerate(images):
            write_image(root / f"CheXpert-v1.0-small/{part}/{path}.jpg", picture(number))
    write_text(root / "CheXpert-v1.0-small/train/patient00001/study1/._view1_frontal.jpg", "Mac OS X")


@pytest.mark.parametrize(
    ("labels", "uncertain", "blank"),
    [
        ({}, "uncertain", "blank"),
        ({"uncertain": "zeros", "blank": "negative"}, "negative", "negative"),
        ({"uncertain": "ones"}, "positive", "blank"),
    ],
)
def test_chexpert_under_each_policy(tmp_path: Path, labels: dict[str, str], uncertain: str, blank: str) -> None:
    """Labels of a study, paths as ids, an AP/PA that is wrong, age 0, a resource fork."""
    write_chexpert(tmp_path / "set")
    read = read_set(tmp_path / "out", "chexpert", tmp_path / "set", labels=labels)
    assert read.status() == {
        "patient00001_study11_view1_frontal": "negative",
        "patient00001_study1_view1_frontal": "positive",
        "patient00001_study1_view2_lateral": "lateral",
        "patient00002_study1_view1_frontal": uncertain,
        "patient00003_study1_view1_frontal": blank,
        "patient00004_study1_view1_frontal": "negative",
    }
    assert read.metadata["view_position"].tolist() == ["FRONTAL", "AP", "LATERAL", "PA", "PA", "PA"]
    assert read.metadata["sex"].tolist() == ["F", "F", "F", "", "M", "M"]
    assert read.metadata["age_years"].tolist() == pytest.approx([np.nan, 68, 68, 90, 20, 30], nan_ok=True)
    assert read.metadata["patient_id"].nunique() == 4
    assert read.metadata["study_id"].nunique() == 5
    assert read.extract["rejected_by_reason"]["resource_fork"] == len(read.rejected) == 1
    counts = [read.masks[f"{name}_images"] for name in ("uncertain", "blank", "lateral")]
    assert counts == [int(uncertain == "uncertain"), int(blank == "blank"), 1]


def test_images_from_the_side_are_in_no_set_and_no_pool(tmp_path: Path) -> None:
    write_chexpert(tmp_path / "set")
    layout = read_set(tmp_path / "out", "chexpert", tmp_path / "set").layout
    folds = [("patient00001_study1_view1_frontal", "a", "test"), ("patient00004_study1_view1_frontal", "b", "0")]
    write_table(layout.folds, pd.DataFrame(folds, columns=list(FOLDS)), FOLDS)
    (unlabelled,) = (task for task in plan(layout, [0]) if task.name == "unlabelled")
    assert unlabelled.image_ids == ("patient00002_study1_view1_frontal", "patient00003_study1_view1_frontal")


def test_mimic(tmp_path: Path) -> None:
    """Labels of studies over two tables, a study without label, views that are called by codes."""
    root, label = tmp_path / "set", "subject_id,study_id,No Finding,Pneumothorax\n"
    views = {"a-1": ("1", "51", "PA"), "a-2": ("1", "51", "LL"), "b-1": ("2", "52", ""), "c-1": ("3", "53", "AP")}
    for number, (name, (patient, study, _)) in enumerate(views.items()):
        write_image(root / f"files/p1{patient}/p{patient}/s{study}/{name}.jpg", picture(number))
    rows = "".join(f"{name},{patient},{study},{view}\n" for name, (patient, study, view) in views.items())
    write_text(root / "mimic-cxr-2.0.0-metadata.csv.gz", f"dicom_id,subject_id,study_id,ViewPosition\n{rows}")
    write_text(root / "mimic-cxr-2.0.0-chexpert.csv.gz", f"{label}1,51,,1.0\n2,52,,-1.0\n")
    write_text(root / "mimic-cxr-2.0.0-negbio.csv.gz", f"{label}1,51,,1.0\n2,52,,1.0\n")
    read = read_set(tmp_path / "out", "mimic", root)
    assert read.status() == {"a-1": "positive", "a-2": "lateral", "b-1": "uncertain", "c-1": "unannotated"}
    assert read.metadata["patient_id"].tolist() == [hashed("1"), hashed("1"), hashed("2"), hashed("3")]
    assert read.metadata["study_id"].nunique() == 3


def test_candid(tmp_path: Path) -> None:
    """Files without suffix; two rows of one image, merged; a blank code; a report over two lines."""
    root, images = tmp_path / "set", {f"9.9.{number}": picture(number) for number in range(4)}
    for name, image in images.items():
        save(root / f"dataset/{name}", dataset(image, image_id=name, PatientID="Z9"))
    first, second = square(at=2, size=4), square(at=20, size=5)
    write_text(
        root / "Pneumothorax_reports.csv",
        f'SOPInstanceUID,filename,EncodedPixels,Report\n9.9.0,P1_1,{encode(first)},"Small, right."\n'
        f'9.9.0,P1_1,{encode(second)},"Small, right."\n9.9.1,P1_2,-1,"None\n""seen""."\n9.9.2,P22_1,,\n'
        "9.9.9,P3_1,-1,None\n",
    )
    read = read_set(tmp_path / "out", "candid", root)
    assert read.status() == {"9.9.0": "positive", "9.9.1": "negative", "9.9.2": "blank", "9.9.3": "unannotated"}
    assert np.array_equal(read_png(read.layout.masks / "9.9.0.png") > 0, (first | second) > 0)
    assert read.annotations.loc["9.9.0", "rle_count"] == 2
    assert read.metadata["patient_id"].tolist() == [hashed("P1"), hashed("P1"), hashed("P22"), hashed("Z9")]


def test_siim_png(tmp_path: Path) -> None:
    """Masks of the same name: known, missing, of another size, grey, of a negative, empty for a positive."""
    root = tmp_path / "set"
    labels = {
        "0_train_1_": 1,
        "1_train_1_": 1,
        "2_train_1_": 1,
        "3_train_1_": 1,
        "4_test_0_": 0,
        "5_test_1_": 1,
        "6_test_0_": 0,
    }
    for number, name in enumerate(labels):
        write_png(root / f"png_images/{name}.png", picture(number))
        write_png(root / f"png_masks/{name}.png", square())
    (root / "png_masks/1_train_1_.png").unlink()
    write_png(root / "png_masks/2_train_1_.png", square(side=20))
    write_png(root / "png_masks/3_train_1_.png", square() // 3 + square(at=0, size=3) // 2)
    write_png(root / "png_masks/5_test_1_.png", square() * 0)
    write_png(root / "png_masks/6_test_0_.png", square() * 0)
    for part in ("train", "test"):
        rows = "".join(f"{name}.png,1.2.{name[0]},{label}\n" for name, label in labels.items() if part in name)
        write_text(root / f"stage_1_{part}_images.csv", f"new_filename,ImageId,has_pneumo\n{rows}")
    read = read_set(tmp_path / "out", "siim_png", root)
    assert read.status() == {
        "1.2.0": "positive", "1.2.1": "positive", "1.2.2": "rejected", "1.2.3": "rejected", "1.2.4": "rejected",
        "1.2.5": "rejected", "1.2.6": "negative",
    }  # fmt: skip
    assert read.annotations["mask_known"].tolist()[:2] == [1, 0]
    assert np.array_equal(read_png(read.layout.masks / "1.2.0.png"), square())
    reasons = dict(zip(read.rejected_rows["image_id"], read.rejected_rows["reason"], strict=True))
    assert reasons == {
        "1.2.2": "a mask of 20 x 20 pixels for an image of 40 x 40",
        "1.2.3": "an empty mask for a positive label",  # its greys lie below half
        "1.2.4": "a mask for a negative label",
        "1.2.5": "an empty mask for a positive label",
    }
    assert read.masks["grey_masks"] == 1


def test_vindr(tmp_path: Path) -> None:
    """Readers who agree and who do not; DICOM files that know neither their id nor their modality."""
    root = tmp_path / "set"
    for number, name in enumerate(("aa", "bb", "cc")):
        made = dataset(picture(number), image_id="")
        del made.Modality, made.SOPInstanceUID
        save(root / f"train/{name}.dicom", made)
    votes = {"aa": "PPP", "bb": "PNN", "cc": "NNN"}
    rows = "".join(
        f"{name},{'Pneumothorax' if vote == 'P' else 'No finding'},12,R{reader},,,,\n"
        for name, said in votes.items()
        for reader, vote in enumerate(said)
    )
    write_text(root / "train.csv", f"image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n{rows}")
    read = read_set(tmp_path / "out", "vindr", root)
    assert read.status() == {"aa": "positive", "bb": "uncertain", "cc": "negative"}
    write_text(root / "image_labels_test.csv", "image_id,Pneumothorax\naa,1\nbb,0\ncc,0\n")
    read = read_set(tmp_path / "out", "vindr", root, root / "image_labels_test.csv")
    assert read.status() == {"aa": "positive", "bb": "negative", "cc": "negative"}


def test_padchest(tmp_path: Path) -> None:
    """Sixteen bits, a wrong ImageDir, labels as text of a list, ages of two dates."""
    root = tmp_path / "set"
    for number in range(4):
        write_image(root / f"{number}/9{number}_x.png", picture(number).astype(np.uint16) * 200)
    write_text(
        root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,Labels\n"
        "0,90_x.png,7.0,20140915,90,5,1930.0,F,PA,\"['pleural effusion', ' hydropneumothorax ']\"\n"
        "1,91_x.png,1.0,20140915,90,5,1930.0,F,L,\"['normal']\"\n"
        "2,92_x.png,2.0,20140915,92,6,,M,AP_horizontal,\"['normal', '']\"\n"
        "3,93_x.png,3.0,20140915,93,7,1990,M,PA,[]\n",
    )
    read = read_set(tmp_path / "out", "padchest", root)
    assert list(read.status().values()) == ["positive", "lateral", "negative", "blank"]
    assert read.metadata["view_position"].tolist() == ["PA", "LATERAL", "AP", "PA"]
    assert read.metadata["age_years"].tolist() == pytest.approx([84, 84, np.nan, 24], nan_ok=True)
    assert set(read.metadata["bits_stored"]) == {16}


def test_indiana(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number, name in enumerate(("1_IM-1-1001", "1_IM-1-2001", "2_IM-2-1001", "3_IM-3-1001")):
        write_image(root / f"images/images_normalized/{name}.dcm.png", picture(number))
    write_text(
        root / "indiana_projections.csv",
        "uid,filename,projection\n1,1_IM-1-1001.dcm.png,Frontal\n1,1_IM-1-2001.dcm.png,Lateral\n"
        "2,2_IM-2-1001.dcm.png,Frontal\n3,3_IM-3-1001.dcm.png,Frontal\n",
    )
    write_text(
        root / "indiana_reports.csv",
        'uid,MeSH,Problems,findings\n1,x,Pneumothorax;Opacity,"two\nlines"\n2,normal,normal,\n',
    )
    read = read_set(tmp_path / "out", "indiana", root)
    assert read.status() == {
        "1_IM-1-1001": "positive", "1_IM-1-2001": "lateral", "2_IM-2-1001": "negative", "3_IM-3-1001": "unannotated",
    }  # fmt: skip
    assert read.metadata.loc["2_IM-2-1001", ["patient_id", "study_id"]].tolist() == [hashed("CXR2"), hashed("2")]


def test_folder_with_png_masks(tmp_path: Path) -> None:
    """Masks that have their images' names, one of a negative's folder that no row names; columns guessed."""
    table = write_masked_folder(tmp_path / "set")
    write_png(tmp_path / "set/masks/extra.png", square())
    read = read_set(tmp_path / "out", "folder", table.parent, table)
    assert read.status() == {
        "images_0": "positive", "images_1": "negative", "images_2": "positive", "images_3": "negative",
    }  # fmt: skip
    assert read.annotations["area_px"].tolist() == [100, 0, 100, 0]
    assert read.metadata["patient_id"].tolist() == [hashed(f"p{number}") for number in range(4)]


def test_folder_of_dicom_files_with_codes_and_columns_that_are_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(4):
        save(root / f"case {number}/a.dcm", dataset(picture(number), image_id=f"1.2.{number}"))
    code = encode(square())
    rows = f"case 0/a.dcm;yes;{code};f\ncase 1/a.dcm;no;-1;m\ncase 2/a.dcm;0;{code};x\ncase 3/a.dcm;maybe;;\n"
    write_text(root / "t.csv", f"Where;Finding;Run;Gender\n{rows}")
    columns = {"image": "where", "label": "Finding", "rle": "Run"}
    read = read_set(tmp_path / "out", "folder", root, root / "t.csv", columns=columns)
    assert list(read.status().values()) == ["positive", "negative", "rejected", "rejected"]
    assert read.annotations.index[0].startswith("case_0_a-")  # a blank is no part of an id
    assert read.metadata["sex"].tolist()[:2] == ["F", "M"]
    assert read.rejected_rows["reason"].tolist() == [
        "a mask for a negative label", "the label is none of 1, 0, -1, yes, no and blank",
    ]  # fmt: skip


def test_lung_masks_are_checked_and_united(tmp_path: Path) -> None:
    """Both lungs in a file, one file a lung, of two values below half, cut at half; missing, empty, of another size."""
    root, left, right = tmp_path / "set", square(at=2, size=6), square(at=20, size=8)
    files = {"both": left | right, "left": left // 255, "right": right // 2 + right // 4, "empty": left * 0,
             "small": square(side=20)}  # fmt: skip
    for name, mask in files.items():
        write_png(root / f"lungs/{name}.png", mask)
    cells = {"a": "lungs/both.png", "b": "lungs/left.png | lungs/right.png", "c": "",
             "d": "lungs/left.png|lungs/no.png", "e": "lungs/empty.png", "f": "lungs/small.png"}  # fmt: skip
    for number, name in enumerate(cells):
        write_png(root / f"images/{name}.png", picture(number))
    rows = "".join(f"{name}.png,0,{cell}\n" for name, cell in cells.items())
    write_text(root / "table.csv", f"image,label,lung mask\n{rows}")
    read = read_set(tmp_path / "out", "folder", root)
    assert list(read.status().values()) == ["negative"] * 6
    assert sorted(path.stem for path in read.layout.lungs.iterdir()) == ["a", "b"]
    for name in "ab":
        assert np.array_equal(read_png(read.layout.lungs / f"{name}.png"), left | right)
    assert list(read.rejected.itertuples(index=False, name=None)) == [
        ("lungs/empty.png", "e", "lungs: an empty mask"),
        ("lungs/no.png", "d", "lungs: the mask file cannot be read (No such file or directory)"),
        ("lungs/small.png", "f", "lungs: a mask of 20 x 20 pixels for an image of 40 x 40"),
    ]
    assert (read.extract["rejected_by_reason"]["lung_mask"], read.extract["flags"]["lungs_cut"]) == (3, 1)


def test_masks_lie_where_dvc_watches(tmp_path: Path) -> None:
    """Beside a table that is named alone, outside of data.root, an edit of a mask would run nothing."""
    table = write_masked_folder(tmp_path / "set", 2)
    images = tmp_path / "images"
    (tmp_path / "set/images").rename(images)
    write_text(table, table.read_text().replace("images/", ""))
    told = read_set(tmp_path / "out", "folder", images, table).rejected_rows["reason"].tolist()
    assert told == [
        "its mask file is not there (looked for in data.root, and beside the table if data.annotations is their folder)"
    ]
    assert read_set(tmp_path / "out", "folder", images, table.parent).status() == {"0": "positive", "1": "negative"}


def test_folder_without_a_table_has_no_annotation(tmp_path: Path) -> None:
    """The same name in two folders is two images; one name twice in a folder is doubtful."""
    for number, name in enumerate(("a/1.png", "b/1.png", "b/2.png", "b/2.jpg")):
        write_image(tmp_path / "set" / name, picture(number))
    read = read_set(tmp_path / "out", "folder", tmp_path / "set")
    assert read.status() == {"a_1": "unannotated", "b_1": "unannotated"}
    assert read.extract["rejected_by_reason"]["conflict"] == 2
    assert read.masks["table"]["rows"] == 0


# What goes wrong -----------------------------------------------------------------------------------------------------


def fails(folder: Path, name: str, root: Path, annotations: Path | None = None, **data: object) -> str:
    with pytest.raises(DataError) as found:
        read_set(folder, name, root, annotations, **data)
    return str(found.value)


def test_a_table_of_another_set_is_recognised(tmp_path: Path) -> None:
    write_chexpert(tmp_path / "set")
    folder = tmp_path / "set/CheXpert-v1.0-small"
    for name in ("nih", "padchest", "siim_png"):
        assert "looks like chexpert: data.format: chexpert" in fails(tmp_path / "out", name, folder)
    save(tmp_path / "dicom/a.dcm", dataset(picture(0), image_id="1.2"))
    told = fails(tmp_path / "out", "siim", tmp_path / "dicom", folder / "train.csv")
    assert "ImageId" in told
    assert "This looks like chexpert: data.format: chexpert" in told
    told = fails(tmp_path / "out", "candid", folder, folder / "train.csv")
    assert "no column SOPInstanceUID, filename, EncodedPixels" in told
    assert "This looks like chexpert: data.format: chexpert" in told


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    write_chexpert(tmp_path / "set")
    folder = tmp_path / "set/CheXpert-v1.0-small"
    assert "no such file or folder" in fails(tmp_path / "out", "chexpert", folder, tmp_path / "none.csv")
    assert "data.root" in fails(tmp_path / "out", "chexpert", tmp_path / "nowhere", folder)
    (tmp_path / "empty").mkdir()
    told = fails(tmp_path / "out", "chexpert", tmp_path / "empty", folder)
    assert "none of the 6 images of the tables" in told
    assert "train/patient00001/study1/view1_frontal" in told
    assert "no image among its 0 files" in fails(tmp_path / "out", "folder", tmp_path / "empty")
    assert "no table at all" in fails(tmp_path / "out", "folder", folder, tmp_path / "empty")


def test_columns_that_cannot_be_guessed_are_asked_for(tmp_path: Path) -> None:
    table = write_masked_folder(tmp_path / "set")
    text = table.read_text()
    write_text(table, text.replace("file", "where", 1))
    assert "data.columns.image" in fails(tmp_path / "out", "folder", table.parent, table)
    write_text(table, text.replace("label", "pneumothorax", 1).replace("patient", "label", 1))
    assert "data.columns.label" in fails(tmp_path / "out", "folder", table.parent, table)
    write_text(table, text)
    told = fails(tmp_path / "out", "folder", table.parent, table, columns={"mask": "Mask file"})
    assert "data.columns.mask = Mask file" in told
    twice = write_text(tmp_path / "twice/table.csv", "image,Label,label\n0.png,1,0\n")
    assert "several columns are called label" in fails(tmp_path / "out", "folder", table.parent, twice)
    twice.write_bytes(b"\x00\x1b[2J\xff,\x07\n")
    told = fails(tmp_path / "out", "folder", table.parent, twice)
    assert told.isprintable()
    told = fails(tmp_path / "out", "folder", table.parent, table, columns={"mask": "Mask file"})
    assert "file, label, mask, patient" in told


def test_a_damaged_jpeg_and_two_files_of_one_id_are_rows(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_chexpert(root)
    victim = root / "CheXpert-v1.0-small/train/patient00001/study11/view1_frontal.jpg"
    victim.write_bytes(victim.read_bytes()[:300])
    write_image(root / "copy/valid/patient00004/study1/view1_frontal.jpg", picture(77))
    read = read_set(tmp_path / "out", "chexpert", root)
    assert sorted(read.extract["rejected_by_reason"][kind] for kind in ("pixel_data", "conflict")) == [1, 2]
    assert set(read.rejected["image_id"]) == {
        "", "patient00001_study11_view1_frontal", "patient00004_study1_view1_frontal",
    }  # fmt: skip
    assert read.masks["table_images_without_image"] == 2


def test_rows_that_contradict_each_other_or_say_nothing_known_are_rejected(tmp_path: Path) -> None:
    table = write_masked_folder(tmp_path / "set")
    write_text(table, table.read_text() + "images/1.png,1,,p1\nimages/3.png,0,masks/none.png,p3\n,1,,p9\n")
    read = read_set(tmp_path / "out", "folder", table.parent, table)
    assert read.status()["images_1"] == read.status()["images_3"] == "rejected"
    told = list(zip(read.rejected_rows["line"], read.rejected_rows["reason"], strict=True))
    assert (3, "negative in line 3 contradicts positive in line 6") in told
    assert (8, "no image") in told
    assert any("mask file is not there" in reason for line, reason in told if line == 7)
