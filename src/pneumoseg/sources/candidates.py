"""Which files of a folder may be radiographs, and which are passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from pneumoseg.radiographs.parsing import looks_like_dicom
from pneumoseg.shared.errors import DataError

# 1.2.840.113619.2.5 is a UID without a suffix, not a file of type "5".
_NO_SUFFIX = re.compile(r"[^.]+|.*\.\d+")
_DICOM = (".dcm", ".dicom")
_PERHAPS_DICOM = (".dic", ".ima")  # also the suffixes of dictionaries and disk images: their content tells
_HEAD = 132  # bytes: the preamble and its prefix (PS3.10 7.1)
#: Suffixes that may stand in a file under version control; a rarer one could be a part of a name.
_COMMON = frozenset(
    (
        *(
            "avi",
            "bak",
            "bin",
            "bmp",
            "csv",
            "dic",
            "doc",
            "docx",
            "gif",
            "gz",
            "hdr",
            "html",
            "ima",
            "img",
            "ini",
            "jpeg",
        ),
        *(
            "jpg",
            "json",
            "log",
            "md",
            "mha",
            "mhd",
            "mp4",
            "nii",
            "npy",
            "npz",
            "nrrd",
            "part",
            "pdf",
            "png",
            "py",
            "rar",
        ),
        *("raw", "tar", "tif", "tiff", "tmp", "tsv", "txt", "xls", "xlsx", "xml", "yaml", "zip"),
    )
)
NO_SUFFIX, OTHER_SUFFIX = "none", "other"


def is_candidate(name: str) -> bool:
    """Whether a file name may be a radiograph's: ``*.dcm``, ``*.dicom``, ``*.dic`` or ``*.ima`` in any case, or none.

    The digits of a UID are no suffix. Hidden files without a suffix of DICOM (.DS_Store, .gitignore) are none, but
    ``._x``, which macOS leaves beside ``x``, is what ``x`` is: so that it is seen and refused by name.
    """
    plain = name.removeprefix("._").lower()
    return plain.endswith((*_DICOM, *_PERHAPS_DICOM)) or _NO_SUFFIX.fullmatch(plain) is not None


def find_candidates(root: Path) -> list[Path]:
    """All candidate files below ``root``, at any depth, sorted by their path relative to it.

    Links are followed, to files and to folders; a folder reached twice is read once, so loops end.

    Raises:
        DataError: ``root`` is no folder, a folder below cannot be listed, or there is no candidate.
    """
    if not root.is_dir():
        raise DataError(f"data.root = {root}: no such folder; give the folder that holds the DICOM files")
    files = list(walk(root))
    found = [path for path in files if is_candidate(path.name) and not _is_special(path) and _may_be_dicom(path)]
    if not found:
        raise DataError(
            f"data.root = {root}: none of its {len(files)} files can be a radiograph; looked for *.dcm, *.dicom, "
            "*.dic, *.ima (any case) and files without a suffix, in all folders below"
        )
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def count_passed_over(root: Path, taken: Collection[Path]) -> dict[str, int]:
    """The files below ``root`` that are none of those taken, by suffix, the most frequent first.

    Suffixes are in lower case, without their dot. One that is not common counts as OTHER_SUFFIX: it may be a part of a
    name.
    """
    taken = set(taken)
    suffixes = Counter(_suffix(path.name) for path in walk(root) if path not in taken) if root.is_dir() else Counter()
    return dict(sorted(suffixes.items(), key=lambda pair: (-pair[1], pair[0])))


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower().removeprefix(".")
    return NO_SUFFIX if not suffix else suffix if suffix in _COMMON else OTHER_SUFFIX


def walk(root: Path) -> Iterator[Path]:
    """Every file below ``root``; links are followed, and a folder reached twice is read once, so that loops end."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(folder, name) for name in names)


def _may_be_dicom(path: Path) -> bool:
    """Look into a file whose suffix is not DICOM's alone; one that cannot be read is kept, to be told of."""
    if path.name.startswith("._") or not path.name.lower().endswith(_PERHAPS_DICOM):
        return True
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file.read(_HEAD))
    except OSError:
        return True


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: this folder below data.root cannot be listed ({error.strerror})")


def _is_special(path: Path) -> bool:
    """Pipes, sockets and devices would block; a broken link is kept, to be told of."""
    try:
        return path.exists() and not path.is_file()
    except OSError:
        return False
