"""What a person gives: files, folders and zip archives, as a list of radiographs to read."""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes
from pneumoseg.sources.candidates import is_candidate

_RASTER = (".png", ".jpg", ".jpeg")
#: Of one file of an archive, unpacked; a whole archive, and how many times its packed size, may be no larger.
MAX_FILE_BYTES = 2**28
MAX_ARCHIVE_BYTES = 2**34
MAX_RATIO = 200
MAX_MEMBERS = 200_000


@dataclass(frozen=True)
class Input:
    """One file to read.

    Attributes:
        name: as the user knows it: its path below what was given; the whole one where two would have the same.
        path: of the file, or of the archive that holds ``member``.
        member: name within the archive; empty for a file of its own.
    """

    name: str
    path: Path
    member: str = ""

    @property
    def full_name(self) -> str:
        """Its whole path: what tells it from another of the same name."""
        return "/".join(filter(None, (self.path.as_posix(), self.member)))

    def stamp(self) -> str:
        """Tells a file from another of the same name, without telling its date."""
        status = self.path.stat()
        return digest_bytes(f"{status.st_size} {status.st_mtime_ns}".encode())[:12]

    def content(self) -> Path | bytes:
        """The file, or its content where it lies in an archive.

        Raises:
            DataError: the archive is damaged, or the member larger than it says.
        """
        if not self.member:
            return self.path
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise DataError(f"cannot be unpacked ({type(error).__name__})") from error
        if len(content) > MAX_FILE_BYTES:
            raise DataError(f"larger than {MAX_FILE_BYTES} bytes when unpacked")
        return content

    def read(self) -> bytes:
        """The content of the file, wherever it lies; raises as ``content``, or OSError."""
        content = self.content()
        return content if isinstance(content, bytes) else content.read_bytes()


def find_inputs(given: Sequence[Path]) -> list[Input]:
    """Everything that may be a radiograph, in order and each once.

    A file that is named is always taken. Of folders and archives, candidates by name are: those of DICOM, PNG and JPEG.

    Raises:
        DataError: something is not there, an archive is unsafe or damaged, or nothing was found.
    """
    found = [item for path in given for item in _expand(path)]
    unique = list(dict.fromkeys(found))
    if not unique:
        raise DataError(f"no radiograph in {', '.join(map(str, given))}; looked for DICOM, PNG and JPEG files")
    counts = Counter(item.name for item in unique)
    return [item if counts[item.name] == 1 else replace(item, name=item.full_name) for item in unique]


def _expand(path: Path) -> Iterator[Input]:
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file() and _may_be(file.name))
        yield from (Input(file.relative_to(path).as_posix(), file) for file in files)
    elif not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    elif zipfile.is_zipfile(path) and path.suffix.lower() == ".zip":
        yield from (Input(f"{path.name}/{name}", path, name) for name in _members(path))
    else:
        yield Input(path.name, path)


def _may_be(name: str) -> bool:
    plain = name.lower()
    return not plain.startswith("._") and (is_candidate(name) or plain.endswith(_RASTER))


def _members(path: Path) -> list[str]:
    """The candidates of an archive, which is never unpacked to disk.

    Raises:
        DataError: it is damaged, or unsafe: a path that leaves its folder, a link, or sizes of a zip bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no readable zip archive ({error})") from None
    packed = max(1, sum(entry.compress_size for entry in entries))
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_MEMBERS or size > MAX_ARCHIVE_BYTES or size > MAX_RATIO * packed:
        raise DataError(
            f"{path}: {len(entries)} files of {size} bytes in {packed}: more than {MAX_RATIO} times its size, "
            f"{MAX_ARCHIVE_BYTES} bytes or {MAX_MEMBERS} files; unpack it yourself if you trust it"
        )
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or stat.S_ISLNK(entry.external_attr >> 16):
            raise DataError(f"{path}: {entry.filename!r} leads out of the archive; nothing of it is read")
    return sorted(entry.filename for entry in entries if _may_be(PurePosixPath(entry.filename).name))
