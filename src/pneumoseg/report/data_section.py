"""The section on data: what came in, what was refused and why, how it was split, and what leaks between the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from pneumoseg.config.flat import leaves
from pneumoseg.report.parts import Part, Table, count_of, facts, number, percent, sentence
from pneumoseg.shared.files import read_object
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import REJECTED, Columns, read_table

_REJECTED_ROWS: Columns = {"line": "integer", "image_id": "text", "reason": "text"}
#: Rows of a list of refusals that the page shows; the CSV has them all.
_SHOWN = 25


def data_part(layout: Layout, submission: pd.DataFrame) -> Part:
    """The section, from metrics/{extract,masks,split}.json and the lists of what was refused.

    Raises:
        DataError: a file is missing or unreadable.
    """
    split = read_object(layout.split_counts)
    files = read_table(layout.rejected, REJECTED)
    rows = read_table(layout.rejected_annotations, _REJECTED_ROWS)
    parts = (
        _extraction(read_object(layout.extract_counts)),
        _annotations(read_object(layout.masks_counts)),
        _refused("Refused files", "rejected.csv", files, ("source", "reason"), "file"),
        _refused("Refused annotation rows", "rejected_annotations.csv", rows, ("line", "image_id", "reason"), "row"),
        _parts(split),
        *_more(split),
        _leak(split),
        _balance(split),
        _submission(submission),
    )
    return Part("Data", parts=parts, columns=True)


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under a key; an empty one where the data set gives no such figures."""
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def _extraction(extract: Mapping[str, Any]) -> Part:
    marks = {name: count for name, count in _mapping(extract, "flags").items() if count}
    reasons = {name: count for name, count in _mapping(extract, "rejected_by_reason").items() if count}
    plain = {name: value for name, value in extract.items() if name not in ("flags", "rejected_by_reason")}
    rows = [(f"refused: {name.replace('_', ' ')}", number(count)) for name, count in reasons.items()]
    rows += [(f"kept, marked: {name.replace('_', ' ')}", number(count)) for name, count in marks.items()]
    table = Table("Refusals and marks", ("", "files"), tuple(rows))
    # The first dot alone parts two keys: the name of a transfer syntax may be a UID.
    counts = ((key.replace("_", " ").replace(".", " · ", 1), number(value)) for key, value in leaves(plain))
    return Part("Extraction", tables=(facts("Extraction", counts), table))


def _annotations(masks: Mapping[str, Any]) -> Part:
    counts = (
        ("images", "images"),
        ("images_without_row", "images without a row: not annotated, never negatives"),
        ("uncertain_images", "images whose label is uncertain: treated as not annotated"),
        ("blank_images", "images whose label is blank: treated as not annotated"),
        ("lateral_images", "images from the side: treated as not annotated"),
        ("grey_masks", "mask files with grey values, cut at half"),
        ("rejected_images", "images whose annotation is doubtful: treated as not annotated"),
        ("table_images_without_image", "annotated images that are not among the files"),
        ("ids_in_another_spelling", "ids in another spelling, taken for those of images"),
        ("rejected_rows", "refused rows"),
        ("repeated_rows", "repeated rows"),
    )
    rows = [(label, number(masks[name])) for name, label in counts if name in masks]
    matched = _mapping(masks, "matched")
    labels = (
        ("positives", "with pneumothorax"),
        ("negatives", "without pneumothorax"),
        ("several_rows", "with several rows, merged"),
        ("overlapping", "with overlapping rows, merged by OR"),
    )
    rows += [(label, number(matched[name])) for name, label in labels if name in matched]
    if matched.get("prevalence") is not None:
        rows.append(("prevalence", percent(matched["prevalence"])))
    area = matched.get("area_px")
    if isinstance(area, Mapping):
        shown = ", ".join(
            f"{name} {number(area[name], 0)}" for name in ("min", "p5", "median", "p95", "max") if name in area
        )
        rows.append(("area of the masks, px", shown))
    return Part("Annotations", tables=(facts("Annotations", rows),))


def _refused(title: str, file: str, frame: pd.DataFrame, columns: tuple[str, ...], unit: str) -> Part:
    if frame.empty:
        return Part(title, (f"No {unit} was refused.",))
    note = f"{count_of(len(frame), unit)} refused; all of them stand in data/{file}."
    if len(frame) > _SHOWN:
        note += f" The first {_SHOWN} are shown."
    text = frame[list(columns)].astype("str").head(_SHOWN)
    rows = tuple(tuple(str(cell) for cell in row) for row in text.itertuples(index=False))
    return Part(title, (note,), tables=(Table(title, columns, rows, numeric=False),))


def _parts(split: Mapping[str, Any]) -> Part:
    columns: Final = (
        ("images", "images"),
        ("positives", "positive"),
        ("prevalence", "prevalence"),
        ("patients", "patients"),
        ("mask_area_median_px", "median mask, px"),
    )
    parts = {name: part for name, part in _mapping(split, "parts").items() if isinstance(part, Mapping)}
    rows = tuple(
        (
            str(name),
            *(percent(part.get(key)) if key == "prevalence" else number(part.get(key), 0) for key, _ in columns),
        )
        for name, part in parts.items()
    )
    notes = [sentence(str(warning)) for warning in split.get("warnings") or ()]
    unannotated = split.get("unannotated")
    if unannotated:
        notes.append(
            f"{count_of(int(unannotated), 'image')} without annotation in no part: only predicted, never measured."
        )
    return Part(
        "Split", tuple(notes), tables=(Table("Parts of the split", ("", *(name for _, name in columns)), rows),)
    )


def _more(split: Mapping[str, Any]) -> tuple[Part, ...]:
    """Sets that are trained on beside data.root; none without any."""
    sets = {name: part for name, part in _mapping(split, "more").items() if isinstance(part, Mapping)}
    if not sets:
        return ()
    columns = (("images", "annotated images"), ("positives", "positive"), ("label_only", "label alone"))
    rows = tuple(
        (
            str(name),
            *(number(part.get(key)) for key, _ in columns),
            number(sum(_mapping(part, "copies_of_main").values())),
            number(max(_mapping(part, "patients_who_judge").values(), default=0)),
        )
        for name, part in sets.items()
    )
    titles = (
        "",
        *(label for _, label in columns),
        "copies of data.root's",
        "at most left out of a fold for their patient",
    )
    note = "Networks learn from these too; no figure is of them. Copies are left out of training."
    return (Part("Further training sets", (note,), tables=(Table("Further training sets", titles, rows),)),)


def _leak(split: Mapping[str, Any]) -> Part:
    names = {"this_split": "this split", "plain_image_split": "a plain split by image of the same data"}
    rows = tuple(
        (
            names.get(str(name), str(name).replace("_", " ")),
            percent(shares.get("images")),
            percent(shares.get("positives")),
        )
        for name, shares in _mapping(split, "leak").items()
        if isinstance(shares, Mapping)
    )
    notes = ["Share of images, and of those with pneumothorax, whose patient also has images in another part."]
    known = {"metadata": "PatientID of the files", "split.patient_map": "the table split.patient_map"}
    if split.get("patient_source"):
        source = str(split["patient_source"])
        notes.append(f"Patients are known from {known.get(source, source)}; {_patients(split)}.")
    return Part("Leak between the parts", tuple(notes), tables=(Table("Leak", ("", "images", "positives"), rows),))


def _patients(split: Mapping[str, Any]) -> str:
    patients, most = split.get("patients"), split.get("most_images_of_a_patient")
    return f"{number(patients)} patients, at most {number(most)} images of one"


def _balance(split: Mapping[str, Any]) -> Part:
    columns: Final = (
        ("images", "images"),
        ("positives", "positive"),
        ("copies", "augmented copies"),
        ("positive_share", "positive share with copies"),
        ("label_auc_of_augmentation", "AUC of the label"),
    )
    manifests = {name: part for name, part in _mapping(split, "manifests").items() if isinstance(part, Mapping)}
    rows = tuple((str(name), *(number(part.get(key)) for key, _ in columns)) for name, part in manifests.items())
    note = "AUC of the label: how well a copy's augmentation alone would tell its label; at 0.5 not at all."
    table = Table("Training samples of each fold", ("", *(label for _, label in columns)), rows)
    return Part("Balance by augmentation", (note,), tables=(table,))


def _submission(submission: pd.DataFrame) -> Part:
    ids = submission["ImageId"].nunique()
    marked = submission.loc[submission["EncodedPixels"].str.strip() != "-1", "ImageId"].nunique()
    note = f"data/submission.csv has {count_of(ids, 'image')}, {marked:,} of them with marked pixels."
    return Part("Submission", (note if ids else "No image without annotation: data/submission.csv is empty.",))
