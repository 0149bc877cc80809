"""Annotation tables (ImageId, EncodedPixels) with every kind of header, read row by row so that no row is lost.

A line of the file is one row, so that an unbalanced quotation mark spoils its own row and not the rest of the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.rle import EMPTY
from pneumoseg.shared.tables import IMAGE_ID
from pneumoseg.sources.truth import RejectedRow

ID_COLUMN = "ImageId"
CODE_COLUMN = "EncodedPixels"

_NEEDED = (ID_COLUMN.casefold(), CODE_COLUMN.casefold())
_CODE_LIKE = re.compile(r"-1|[0-9]+( +[0-9]+)+")
_DELIMITERS = (",", ";", "\t")


class AnnotationRow(NamedTuple):
    """One row of an annotation table; its code is stripped of blanks and not yet checked."""

    line: int  # in the file, the first is 1
    image_id: str
    code: str


@dataclass(frozen=True)
class AnnotationTable:
    """The rows of a table in the order of the file, and those that are no row of annotations."""

    rows: tuple[AnnotationRow, ...]
    rejected: tuple[RejectedRow, ...]


class _Layout(NamedTuple):
    """Where the two columns are."""

    delimiter: str
    width: int
    id_index: int
    code_index: int
    has_header: bool


def read_rows(path: Path, empty_code: str = "") -> AnnotationTable:
    """Read an annotation table.

    The header may have blanks around its names, any case, a byte-order mark, further columns, or be missing as in the
    official sample file; cells may be quoted or padded; comma, semicolon and tab separate.

    Args:
        path: of the table.
        empty_code: what an empty cell of codes stands for; empty: its row is rejected.

    Raises:
        DataError: the file is missing, is empty or no UTF-8 text, or has not the two columns.
    """
    rows: list[AnnotationRow] = []
    rejected: list[RejectedRow] = []
    layout: _Layout | None = None
    for number, line in _lines(path):
        if layout is None:
            layout = _find_layout(path, line)
            if layout.has_header:
                continue
        cells = _split(line, layout.delimiter)
        if not any(cells):
            continue
        row = _read_row(number, cells, layout, empty_code)
        if isinstance(row, AnnotationRow):
            rows.append(row)
        else:
            rejected.append(row)
    if layout is None:
        raise DataError(f"{path}: empty; it must hold the columns {ID_COLUMN} and {CODE_COLUMN}")
    return AnnotationTable(tuple(rows), tuple(rejected))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give the lines that are not blank with their numbers; CR, LF and CRLF end a line."""
    try:
        # A byte that is no UTF-8 spoils its own row (no id has U+FFFD), not the file.
        with path.open(encoding="utf-8-sig", errors="replace", newline=None) as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise DataError(f"{path}: not UTF-8 text (zero bytes in line {number}); save it as CSV in UTF-8")
                if line.strip():
                    yield number, line.rstrip("\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give a table with {ID_COLUMN} and {CODE_COLUMN}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _split(line: str, delimiter: str) -> list[str]:
    """Split a line into stripped cells."""
    if '"' not in line:
        return [cell.strip() for cell in line.split(delimiter)]
    # A code may be longer than the csv module's limit of 131,072 characters.
    csv.field_size_limit(max(csv.field_size_limit(), len(line)))
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _find_layout(path: Path, line: str) -> _Layout:
    """Find the two columns in the first line, which is a header or, as in the official sample file, a row already."""
    for delimiter in _DELIMITERS:
        cells = _split(line, delimiter)
        names = [cell.casefold() for cell in cells]
        if all(names.count(name) == 1 for name in _NEEDED):
            return _Layout(delimiter, len(cells), names.index(_NEEDED[0]), names.index(_NEEDED[1]), True)
        if len(cells) == 2 and _CODE_LIKE.fullmatch(cells[1]) and IMAGE_ID.fullmatch(cells[0]):
            return _Layout(delimiter, 2, 0, 1, False)
    raise DataError(
        f"{path}: needs the columns {ID_COLUMN} and {CODE_COLUMN}, each once (or, without a header, just these two); "
        f"it has {_columns_shown(line)}"
    )


def _columns_shown(line: str) -> str:
    """Name the columns of a first line that is not understood, most frequent delimiter first."""
    cells = _split(line, max(_DELIMITERS, key=line.count))
    shown = ", ".join(repr(cell[:40]) for cell in cells[:8])
    return shown + (f" and {len(cells) - 8} more" if len(cells) > 8 else "")


def _read_row(line: int, cells: Sequence[str], layout: _Layout, empty_code: str) -> AnnotationRow | RejectedRow:
    image_id = cells[layout.id_index] if layout.id_index < len(cells) else ""
    code = cells[layout.code_index] or empty_code if layout.code_index < len(cells) else ""
    if not image_id:
        return RejectedRow(line, "", f"no {ID_COLUMN}")
    if not IMAGE_ID.fullmatch(image_id):
        reason = f"{ID_COLUMN} of {len(image_id)} characters is not of the form [A-Za-z0-9._-]{{1,64}}, no dot first"
        return RejectedRow(line, "", reason)
    if any(cells[layout.width :]):
        return RejectedRow(line, image_id, f"{len(cells)} cells in a table of {layout.width} columns")
    if not code:
        return RejectedRow(line, image_id, f"no {CODE_COLUMN}; an image without pneumothorax has {EMPTY}")
    return AnnotationRow(line, image_id, code)
