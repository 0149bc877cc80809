"""Radiographs in a table, answers in a table: the door for MLflow and whatever else sends rows."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from pneumoseg.shared import rle
from pneumoseg.use.answers import Reading, Refused
from pneumoseg.use.reader import Reader
from pneumoseg.use.results import RESULTS

Kind = Literal["boolean", "string", "double", "long", "binary", "strings", "figures", "findings"]

IMAGE = "image"
IMAGE_ID = "image_id"
#: Columns of an answer: those of reading.json, of a refusal, and the mask twice. None where an answer has none.
COLUMNS: Mapping[str, Kind] = {
    "accepted": "boolean",
    IMAGE_ID: "string",
    "kind": "string",
    "reason": "string",
    "call": "string",
    "positive": "boolean",
    "probability": "double",
    "probability_origin": "string",
    "decided_by": "string",
    "because": "string",
    "area_px": "long",
    "area_mm2": "double",
    "spacing_source": "string",
    "side_in_image": "string",
    "side_of_patient": "string",
    "findings": "findings",
    "rows": "long",
    "columns": "long",
    "flags": "strings",
    "model": "string",
    "operating_point": "figures",
    "warnings": "strings",
    "rle": "string",
    "mask_png": "binary",
}


def answer_rows(reader: Reader, radiographs: pd.DataFrame) -> pd.DataFrame:
    """Answer each row by itself: one that is refused says why, and the others are answered.

    Args:
        reader: of a bundle.
        radiographs: column ``image``, the content of a DICOM, PNG or JPEG file, as it is or in base64; column
            ``image_id``, if there, names PNG and JPEG files.

    Returns:
        COLUMNS, one row a radiograph in their order.
    """
    ids = radiographs[IMAGE_ID] if IMAGE_ID in radiographs else [None] * len(radiographs)
    rows = [_row(_read(reader, image, name)) for image, name in zip(radiographs[IMAGE], ids, strict=True)]
    return pd.DataFrame(rows, index=radiographs.index, columns=list(COLUMNS), dtype=object)


def _read(reader: Reader, image: Any, name: Any) -> Reading | Refused:
    image_id = name if isinstance(name, str) else ""
    content = _content(image)
    if content is None:
        return Refused(image_id, "unreadable", "neither the content of a file nor base64 text")
    return reader.read(content, image_id)


def _content(image: Any) -> bytes | None:
    """Some of MLflow's ways in decode base64 and others do not (mlflow issue 11170), so both are taken."""
    if isinstance(image, bytes | bytearray):
        content = bytes(image)
    elif isinstance(image, str):  # never a path: who asks a server must not read its files
        content = image.encode("ascii", "replace")
    else:
        return None
    try:
        # No radiograph is base64 text: its first bytes, or those after the preamble, are none of that alphabet.
        return base64.b64decode(content.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error:
        return content if isinstance(image, bytes | bytearray) else None


def _row(answer: Reading | Refused) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS) | answer.to_json()
    if isinstance(answer, Reading) and answer.mask is not None:
        row |= {"rle": rle.encode(answer.mask), "mask_png": RESULTS["mask"].content(answer, b"")}
    return row
