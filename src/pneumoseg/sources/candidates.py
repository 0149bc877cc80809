"""Which files of a folder may be radiographs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pneumoseg.shared.errors import DataError

# 1.2.840.113619.2.5 is a UID without a suffix, not a file of type "5".
_NO_SUFFIX = re.compile(r"[^.]+|.*\.\d+")


def is_candidate(name: str) -> bool:
    """Whether a file name may be a radiograph's: ``*.dcm`` in any case, or no suffix (the digits of a UID are none).

    Hidden files without ``.dcm`` (.DS_Store, .gitignore) are none, but ``._x``, which macOS leaves beside ``x``, is
    what ``x`` is: so that it is seen and refused by name.
    """
    plain = name.removeprefix("._")
    return plain.lower().endswith(".dcm") or _NO_SUFFIX.fullmatch(plain) is not None


def find_candidates(root: Path) -> list[Path]:
    """All candidate files below ``root``, at any depth, sorted by their path relative to it.

    Links are followed, to files and to folders; a folder reached twice is read once, so loops end.

    Raises:
        DataError: ``root`` is no folder, a folder below cannot be listed, or there is no candidate.
    """
    if not root.is_dir():
        raise DataError(f"data.root = {root}: no such folder; give the folder that holds the DICOM files")
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    files = 0
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        files += len(names)
        found += [path for name in names if is_candidate(name) and not _is_special(path := Path(folder, name))]
    if not found:
        raise DataError(
            f"data.root = {root}: none of its {files} files can be a radiograph; looked for *.dcm (any case) and files "
            "without a suffix, in all folders below"
        )
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: this folder below data.root cannot be listed ({error.strerror})")


def _is_special(path: Path) -> bool:
    """Pipes, sockets and devices would block; a broken link is kept, to be told of."""
    try:
        return path.exists() and not path.is_file()
    except OSError:
        return False
