"""Bytes of a DICOM file to a data set: with or without preamble, deflated, or cut off, which is told as such."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pydicom
from pydicom import Dataset, filereader, uid
from pydicom.tag import BaseTag, Tag

from pneumoseg.radiographs.identity import ALLOWED_ATTRIBUTES
from pneumoseg.radiographs.rules import Refusal

_TAGS = [*ALLOWED_ATTRIBUTES, "PixelData"]
_PIXEL_DATA = BaseTag(0x7FE00010)
_UNDEFINED = 0xFFFFFFFF
_PLAIN = uid.ExplicitVRLittleEndian.encode().ljust(20, b"\0")
# The file meta information of an inflated data set: PS3.10 7.1, the transfer syntax alone.
_PLAIN_HEAD = b"\0" * 128 + b"DICM" + struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", len(_PLAIN)) + _PLAIN


@dataclass(frozen=True)
class Parsed:
    """The allowed attributes and pixel data of a file, and where it is cut off: in words, empty where it is not."""

    dataset: Dataset
    cut_off: str


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and logged tracebacks off the screen: what matters becomes a refusal or a flag.

    SIIM's ids (``ID_…``) are no valid UIDs, which would give one warning a file.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


def read_dataset(content: bytes, max_bytes: int) -> Parsed:
    """Read the allowed attributes and the pixel data of a DICOM file, with or without preamble and transfer syntax.

    Raises:
        Refusal: (not_dicom, too_large) it is no file that can be read as DICOM.
    """
    if not looks_like_dicom(content):
        raise Refusal("not_dicom", "no DICOM file" if content else "an empty file")
    try:
        start = _deflated_from(content)
        if start is None:
            return _parse(content)
        inflated, whole = _inflate(content[start:], max_bytes)
        parsed = _parse(_PLAIN_HEAD + inflated)
        parsed.dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        return parsed if whole else Parsed(parsed.dataset, "within the deflated data set")
    except Refusal:
        raise
    except Exception as error:
        raise Refusal("not_dicom", "no DICOM file that can be parsed") from error


def looks_like_dicom(content: bytes) -> bool:
    """Whether there is the DICM prefix, or a first element of group 0002 or 0008 in either byte order."""
    if content[128:132] == b"DICM":
        return True
    return len(content) > 8 and any(struct.unpack(f"{order}H", content[:2])[0] in (0x0002, 0x0008) for order in "<>")


def _deflated_from(content: bytes) -> int | None:
    """Where the deflated part begins, by the transfer syntax (PS3.10 7.1); None where there is none.

    The group ends where its elements end: the group length is missing or wrong in some files.
    """
    file = io.BytesIO(content)
    file.seek(132 if content[128:132] == b"DICM" else 0)
    meta = filereader.read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 0x0002)
    return file.tell() if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian else None


def _inflate(deflated: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """What a deflated data set holds (PS3.5 A.5), and whether its end is there; never more than the limit."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(deflated, max_bytes)
    except zlib.error as error:
        raise Refusal("not_dicom", "a deflated data set that is damaged") from error
    if not stream.eof and stream.unconsumed_tail:
        raise Refusal("too_large", f"a deflated file of more than {max_bytes} bytes")
    return inflated, stream.eof


def _parse(content: bytes) -> Parsed:
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=_TAGS)
    except Exception:
        found = _before_the_cut(content)
        if found.cut_off and "SOPInstanceUID" in found.dataset:
            return found
        raise
    if "PixelData" not in dataset:  # where pydicom meets the end within an element, it gives up all that it has read
        return _before_the_cut(content)
    element = dataset.get_item("PixelData")
    announced = getattr(element, "length", _UNDEFINED)
    cut = announced != _UNDEFINED and len(element.value or b"") < announced
    return Parsed(dataset, "within the pixel data" if cut else "")


def _before_the_cut(content: bytes) -> Parsed:
    """Read what there is of a file without whole pixel data; sequences of undefined length only where they end."""
    try:
        found = _read_until(content, undefined_too=False)
    except Exception:  # noqa: BLE001 - a sequence that is cut raises what its reader happens to raise
        found = None
    return found if found and "SOPInstanceUID" in found.dataset else _read_until(content, undefined_too=True)


def _read_until(content: bytes, undefined_too: bool) -> Parsed:
    """Read up to the first element that the file does not hold to its end.

    Args:
        content: of a file without whole pixel data.
        undefined_too: stop at the first sequence of undefined length, since reading it would meet the end.
    """
    file = io.BytesIO(content)
    stopped: list[str] = []
    reached = [0]

    def stop(tag: BaseTag, _vr: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA:
            stopped.append("within the pixel data")
        elif length == _UNDEFINED:
            stopped.extend(["within the header"] if undefined_too else [])
        else:
            reached[0] = file.tell() + length
            stopped.extend(["within the header"] if reached[0] > len(content) else [])
        return bool(stopped)

    dataset = filereader.read_partial(file, stop, force=True, specific_tags=[Tag(name) for name in _TAGS])
    # No element at all, or a rest that is less than the head of one.
    rest = reached[0] == 0 or 0 < len(content) - reached[0] < 8
    return Parsed(dataset, stopped[0] if stopped else "within the header" if rest else "")
