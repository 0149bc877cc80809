"""The tables of a published data set: found by name, read row by row, told apart by their columns."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import SOURCES

_TABLES = ("*.csv", "*.csv.gz", "*.tsv")
_DELIMITERS = (",", ";", "\t")
_LOOKED_INTO = 20  # tables of a folder that has none of those looked for


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        line: its first in the file, from 1.
        cells: stripped of blanks.
        index: of each column, by its name in small letters.
    """

    line: int
    cells: Sequence[str]
    index: Mapping[str, int]

    def __getitem__(self, column: str) -> str:
        """The cell of a column, whatever the case of its name; empty where the row or the table has none."""
        place = self.index.get(column.casefold(), len(self.cells))
        return self.cells[place] if place < len(self.cells) else ""


def rows_of(path: Path, needed: Sequence[str], multiline: bool = False) -> Iterator[Row]:
    """The rows of a CSV or TSV file, gzipped or not, that are not blank.

    Args:
        path: UTF-8, with or without byte-order mark; the header says whether comma, semicolon or tab separates.
        needed: columns that it must have.
        multiline: whether a quoted cell may hold line ends. Where none does, a stray quotation mark spoils one row.

    Raises:
        DataError: it cannot be read, lacks a column (the message says of which set it looks to be), or a quotation
            mark is never closed.
    """
    with _open(path) as file:
        lines = _checked(path, file)
        above, header = next(((number, line) for number, line in enumerate(lines, 1) if line.strip()), (0, ""))
        delimiter = max(_DELIMITERS, key=header.count)
        names = [name.casefold() for name in _split(header, delimiter)]
        missing = [name for name in needed if name.casefold() not in names]
        if missing:
            raise DataError(f"{path}: no column {', '.join(missing)}; it has {_shown(header, delimiter)}{advice(path)}")
        index = {name: place for place, name in reversed(list(enumerate(names)))}
        for line, cells in (_records if multiline else _split_lines)(path, lines, delimiter, above + 1):
            if any(cells):
                yield Row(line, cells, index)


def _split_lines(path: Path, lines: Iterator[str], delimiter: str, first: int) -> Iterator[tuple[int, list[str]]]:
    del path
    for number, line in enumerate(lines, first):
        yield number, _split(line, delimiter)


def _records(path: Path, lines: Iterator[str], delimiter: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Rows that may be longer than a line."""
    reader, start = csv.reader(lines, delimiter=delimiter, strict=True), first
    try:
        for cells in reader:
            yield start, [cell.strip() for cell in cells]
            start = first + reader.line_num
    except csv.Error as error:
        raise DataError(f"{path}: the row from line {start} on cannot be read ({error})") from None


def header_of(path: Path) -> list[str]:
    """The names of a table's columns.

    Raises:
        DataError: it cannot be read.
    """
    with _open(path) as file:
        line = next((line for line in _checked(path, file) if line.strip()), "")
    return _split(line, max(_DELIMITERS, key=line.count))


def find_tables(annotations: Path, names: Sequence[str], every: bool = False) -> list[Path]:
    """The tables of a set.

    Args:
        annotations: data.annotations: the table itself, or a folder that holds it, or in which another folder does.
        names: of the file, as patterns, the best first.
        every: all that match; else those of the first name that there is.

    Raises:
        DataError: there is none; the message says what there is, and what it looks to be.
    """
    if annotations.is_file():
        return [annotations]
    if not annotations.is_dir():
        raise DataError(f"data.annotations = {annotations}: no such file or folder")
    found: list[Path] = []
    for name in names:
        found += [path for path in _beneath(annotations, name) if path not in found]
        if found and not every:
            return found
    if not found:
        there = {path: _named(path) for pattern in _TABLES for path in _beneath(annotations, pattern)[:_LOOKED_INTO]}
        known = (f"{path.name}, which looks like {name}: data.format: {name}" for path, name in there.items() if name)
        held = next(known, ", ".join(path.name for path in there) or "no table at all")
        raise DataError(f"data.annotations = {annotations}: no {' or '.join(names)}; this folder holds {held}")
    return found


def only_table(annotations: Path, names: Sequence[str]) -> Path:
    """The one table of a set that has one.

    Raises:
        DataError: there is none, or there are several.
    """
    first, *others = find_tables(annotations, names)
    if others:
        raise DataError(f"data.annotations = {annotations}: both {first} and {others[0]}; name the table that is meant")
    return first


def looks_like(columns: Sequence[str]) -> str:
    """The name for data.format of the set with such a table; empty where none is known."""
    names = {column.casefold() for column in columns}
    signs = {name: getattr(source, "columns", ()) for name, source in SOURCES.items()}
    fitting = {name: len(sign) for name, sign in signs.items() if sign and names.issuperset(map(str.casefold, sign))}
    return max(fitting, key=lambda name: fitting[name]) if fitting else ""


def advice(path: Path) -> str:
    """What a table that is not understood looks like; empty where nothing is known."""
    name = _named(path)
    return f". This looks like {name}: data.format: {name}" if name else ""


def _named(path: Path) -> str:
    try:
        return looks_like(header_of(path))
    except DataError:
        return ""


def _beneath(folder: Path, pattern: str) -> list[Path]:
    """In it or one folder down; a published table lies no deeper, and a data set's folders can hold very many files."""
    found = sorted(folder.glob(pattern)) + sorted(folder.glob(f"*/{pattern}"))
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


def _open(path: Path) -> TextIO:
    """Open for reading as text; a byte that is no UTF-8 spoils its own cell, not the file."""
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
        return path.open(encoding="utf-8-sig", errors="replace", newline="")
    except FileNotFoundError:
        raise DataError(f"data.annotations: {path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _checked(path: Path, file: TextIO) -> Iterator[str]:
    try:
        for number, line in enumerate(file, 1):
            if "\0" in line:
                raise DataError(f"{path}: not UTF-8 text (zero bytes in line {number}); save it as CSV in UTF-8")
            yield line
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _split(line: str, delimiter: str) -> list[str]:
    """Split a line into stripped cells."""
    if '"' not in line:
        return [cell.strip() for cell in line.rstrip("\r\n").split(delimiter)]
    csv.field_size_limit(max(csv.field_size_limit(), len(line)))
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _shown(header: str, delimiter: str) -> str:
    cells = _split(header, delimiter)
    return ", ".join(cell[:40] for cell in cells[:12]) + (f" and {len(cells) - 12} more" if len(cells) > 12 else "")
