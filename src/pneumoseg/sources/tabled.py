"""Data sets whose tables say who is shown and what is known: rows brought together with files, and image by image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pneumoseg.config.masks import MasksParams
from pneumoseg.radiographs.identity import age_years
from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.errors import DataError
from pneumoseg.sources.candidates import is_candidate, walk
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.image_ids import legal_ids, without_suffix
from pneumoseg.sources.merging import merge_entries
from pneumoseg.sources.source import DataSet, Item
from pneumoseg.sources.truth import Size, Truths

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


class TabledSource(ABC):
    """A layout in which a row names each image's file.

    Attributes:
        columns: that only tables of this set have together; by them a table is recognised.
        ids_in_files: whether a file that no row names may say by itself which image it is (DICOM).
    """

    columns: tuple[str, ...] = ()
    ids_in_files = False

    @abstractmethod
    def entries(self, data: DataSet) -> Iterator[Entry]:
        """What the tables say, row by row, in an order that is always the same."""

    def stray(self, path: str) -> Known:
        """What the name of an image file tells that no row names; ``path`` is relative to data.root."""
        del path
        return NOTHING

    def not_images(self, data: DataSet, files: Mapping[str, Path]) -> set[str]:
        """Which files, by their paths relative to data.root, are none of the set's radiographs, such as masks."""
        del data, files
        return set()

    def images(self, data: DataSet) -> Sequence[Item]:
        """The files that rows name, and image files beside them, sorted by path."""
        if not data.root.is_dir():
            raise DataError(f"data.root = {data.root}: no such folder; give the folder that holds the images")
        entries: dict[tuple[str, str], Entry] = {}
        for entry in self.entries(data):
            entries.setdefault((entry.file, entry.known.image_id or ""), entry)
        files = {path.relative_to(data.root).as_posix(): path for path in walk(data.root)}
        for path in self.not_images(data, files):
            del files[path]
        items, missing = _claim(entries.values(), files)
        ids = [entry.known.image_id or "" for entry in entries.values()]
        strays = [path for path in files if path not in items and self._may_be_image(path)]
        if entries and not items and not (strays and self.ids_in_files):
            raise DataError(
                f"data.root = {data.root}: none of the {missing} images of the tables has a file here; the "
                f"first is {next(iter(entries.values())).file}. data.annotations must belong to data.root"
            )
        if not items and not strays:
            raise DataError(f"data.root = {data.root}: no image among its {len(files)} files")
        count = Counter(map(_base, strays))
        names = {path: _base(path) if count[_base(path)] == 1 else without_suffix(path) for path in strays}
        named = legal_ids(names.values(), ids)
        for path in strays:
            items[path] = [replace(self.stray(path), image_id=None if self.ids_in_files else named[names[path]])]
        return [Item(files[path], known) for path in sorted(items) for known in items[path]]

    def _may_be_image(self, path: str) -> bool:
        named = path.lower().endswith(_IMAGE_SUFFIXES)
        return named or (self.ids_in_files and is_candidate(path.rpartition("/")[2]))

    def truth(self, data: DataSet, sizes: Mapping[str, Size], params: MasksParams) -> Truths:
        """What the rows of each image say together."""
        default = Size(params.table_size_px, params.table_size_px)
        return merge_entries(self.entries(data), sizes, default, data.params.labels)


def _claim(entries: Iterable[Entry], files: Mapping[str, Path]) -> tuple[dict[str, list[Known]], int]:
    """Of each file that an entry names what it says; and how many entries have no file.

    An entry names the end of a path, of one part or several; suffixes and case do not count.
    """
    indices: dict[int, dict[str, list[str]]] = {}
    claimed: dict[str, list[Known]] = {}
    missing = 0
    for entry in entries:
        depth = len(PurePosixPath(entry.file).parts)
        if depth not in indices:
            indices[depth] = defaultdict(list)
            for path in files:
                indices[depth][_tail(path, depth)].append(path)
        found = indices[depth].get(_tail(entry.file, depth), [])
        missing += not found
        for path in found:
            claimed.setdefault(path, []).append(entry.known)
    return claimed, missing


def _tail(path: str, depth: int) -> str:
    return without_suffix("/".join(path.split("/")[-depth:])).casefold()


def _base(path: str) -> str:
    return without_suffix(path.rpartition("/")[2])


_SEXES = {"male": "M", "female": "F", "man": "M", "woman": "F", "unknown": None, "u": None, "": None}


def sex_of(text: str) -> str | None:
    """M, F or O, of one letter or a word; None where it is not known; else as it is, to be flagged."""
    return _SEXES.get(text.casefold(), text)


def age_of(text: str) -> float | None:
    """Years as identity.age_years reads them; None where nothing is said, NaN where it is no age."""
    if not text:
        return None
    years = age_years(text)
    return math.nan if years is None else years
