"""Any folder of images (DICOM, PNG, JPG) and a table with a row for each, whose columns are guessed or told.

Roles of columns are those of config.data.Role: the image's file, and any of label, rle (SIIM's run-length code), mask
(an image file), patient, study, view, sex, age, lungs
(a mask file of both, or one of each with | between them). Without a table the images are only predicted.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from pneumoseg.config.data import Role
from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import SOURCES
from pneumoseg.shared.rle import EMPTY
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.image_ids import legal_ids, without_suffix
from pneumoseg.sources.label_table import Row, find_tables, header_of, rows_of
from pneumoseg.sources.labels import label_of
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource, age_of, sex_of
from pneumoseg.sources.truth import BLANK, NEGATIVE_LABEL, POSITIVE

logger = logging.getLogger(__name__)

#: What a column of a role is usually called, without blanks and signs, in small letters.
_USUAL: Mapping[str, Sequence[str]] = {
    "image": ("image", "imageid", "imageindex", "imagefile", "imagepath", "file", "filename", "path", "sopinstanceuid"),
    "label": ("label", "pneumothorax", "haspneumo", "haspneumothorax", "target"),
    "rle": ("rle", "encodedpixels", "maskrle", "rlemask"),
    "mask": ("mask", "maskfile", "maskpath", "maskfilename", "maskimage"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "study": ("study", "studyid", "studyinstanceuid", "accession"),
    "view": ("view", "viewposition", "projection"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "ageyears", "patientage"),
    "lungs": ("lungs", "lungmask", "lungmasks", "lungsmask"),
}
_WHERE = "looked for in data.root, and beside the table if data.annotations is their folder"
_VIEWS = {"L": "LATERAL", "POSTEROANTERIOR": "PA", "ANTEROPOSTERIOR": "AP"}


class Folder(TabledSource):
    """Image ids are the files' names, or their paths where the table gives paths."""

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each row."""
        table = _table(data)
        if table is None:
            return
        roles = _roles(table, data.params.columns)
        rows = list(rows_of(table, ()))
        ids = legal_ids(without_suffix(_file(row, roles)) for row in rows if _file(row, roles))
        for row in rows:
            yield _entry(row, roles, ids, _mask_folders(table, data))

    def not_images(self, data: DataSet, files: Mapping[str, Path]) -> set[str]:
        """Files of masks and lungs that rows name, and all of a folder of which most files are such."""
        named = ((entry.mask, *(entry.known.lungs or ())) for entry in self.entries(data))
        masks = {mask.resolve() for some in named for mask in some if mask is not None}
        if not masks:
            return set()
        told = {path for path, file in files.items() if file.resolve() in masks}
        total, marked = (Counter(path.rpartition("/")[0] for path in paths) for paths in (files, told))
        return told | {path for path in files if 2 * marked[path.rpartition("/")[0]] > total[path.rpartition("/")[0]]}


def _table(data: DataSet) -> Path | None:
    """The table; None where data.annotations is data.root and holds none."""
    if data.annotations == data.root and not any(data.root.glob("*.[ct]sv*")):
        logger.info("%s holds no table: its images are only predicted", data.root)
        return None
    found = find_tables(data.annotations, ("*.csv", "*.csv.gz", "*.tsv"), every=True)
    if len(found) > 1:
        raise DataError(
            f"data.annotations = {data.annotations}: {found[0].name} and {found[1].name} are there; name one table"
        )
    return found[0]


def _mask_folders(table: Path, data: DataSet) -> Sequence[Path]:
    """Where masks may lie; beside a table that is named alone they would be files that DVC does not watch."""
    beside = data.annotations.is_dir() or table.is_relative_to(data.root)
    return (table.parent, data.root) if beside else (data.root,)


def _roles(table: Path, told: Mapping[Role, str]) -> dict[str, str]:
    """Column of each role that the table has.

    Raises:
        DataError: a column that is told is not there, a guess is ambiguous, or no column says which image a row is of.
    """
    header = header_of(table)
    plain = [_plain(name) for name in header]
    names = dict(zip(plain, header, strict=True))
    roles: dict[str, str] = {}
    for role in get_args(Role):
        if role in told:
            if told[role].casefold() not in (name.casefold() for name in header):
                raise DataError(
                    f"data.columns.{role} = {told[role]}: {table} has no such column; it has {_some(header)}"
                )
            roles[role] = told[role]
            continue
        found = [names[usual] for usual in _USUAL[role] if usual in names and names[usual] not in told.values()]
        if len(found) > 1:
            raise DataError(
                f"{table}: {found[0]} and {found[1]} may both be the {role}; say which in data.columns.{role}"
            )
        roles |= {role: found[0]} if found else {}
    if "image" not in roles:
        raise DataError(
            f"{table}: no column names the images; say which does in data.columns.image. It has {_some(header)}"
        )
    for role, name in roles.items():
        if plain.count(_plain(name)) > 1:
            raise DataError(f"{table}: several columns are called {name}, which is the {role}; rename the others")
    logger.info("%s: %s", table, ", ".join(f"{role} is {name}" for role, name in roles.items()))
    if not {"label", "rle", "mask"} & roles.keys():
        logger.warning("%s: no column is a label, rle or mask (data.columns): images are only predicted", table)
    return roles


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold()) or name


def _some(header: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in header[:12]) + (" …" if len(header) > 12 else "")
    return "".join(sign if sign.isprintable() else "?" for sign in shown)


def _cell(row: Row, roles: Mapping[str, str], role: str) -> str:
    return row[roles[role]] if role in roles else ""


def _file(row: Row, roles: Mapping[str, str]) -> str:
    return _cell(row, roles, "image").replace("\\", "/").removeprefix("./").strip("/")


def _find(name: str, folders: Sequence[Path]) -> Path:
    """The file of a mask; of one that is not there, where it should be."""
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[-1] / name)


def _entry(row: Row, roles: Mapping[str, str], ids: Mapping[str, str], folders: Sequence[Path]) -> Entry:
    file = _file(row, roles)
    if not file:
        return Entry(row.line, "", NOTHING, fault="no image")
    view = _cell(row, roles, "view").upper()
    known = Known(
        image_id=ids[without_suffix(file)],
        patient=_cell(row, roles, "patient") or None,
        study=_cell(row, roles, "study") or None,
        sex=sex_of(_cell(row, roles, "sex")),
        view=_VIEWS.get(view, view) or None,
        age_years=age_of(_cell(row, roles, "age")),
        lungs=[_find(name.strip(), folders) for name in _cell(row, roles, "lungs").split("|") if name.strip()] or None,
    )
    label, code, fault = None, _cell(row, roles, "rle"), ""
    if "label" in roles:
        label = label_of(_cell(row, roles, "label"))
        fault = "" if label else "the label is none of 1, 0, -1, yes, no and blank"
    if code == EMPTY:
        fault = fault or (f"{EMPTY} for a positive label" if label == POSITIVE else "")
        label, code = NEGATIVE_LABEL, ""
    name, mask = _cell(row, roles, "mask"), None
    if name and not fault:
        mask = _find(name, folders)
        fault = "" if mask.is_file() else f"its mask file is not there ({_WHERE})"
    if label is None and not fault and not code and mask is None and {"rle", "mask"} & roles.keys():
        label = BLANK
    return Entry(row.line, file, known, label, code, mask, fault)


SOURCES.register("folder", Folder())
