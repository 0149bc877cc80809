"""Bytes of DICOM files to data sets and stored values: Pillow decodes what it can, GDCM the rest, both by pydicom."""

from __future__ import annotations

import io
import logging
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array

from pneumoseg.radiographs.header import Header
from pneumoseg.radiographs.identity import ALLOWED_ATTRIBUTES
from pneumoseg.radiographs.rules import Refusal

_OWN = frozenset(  # decoded by pydicom itself
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.RLELossless,
    }
)
_PILLOW = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000Lossless, uid.JPEG2000})
_GDCM = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless})
_TAGS = [*ALLOWED_ATTRIBUTES, "PixelData"]
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0 to SOF15, and JPEG-LS's SOF55
_PILLOW_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended sequential, progressive

gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()


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


def read_dataset(content: bytes, max_bytes: int) -> Dataset:
    """Read the allowed attributes and the pixel data of a DICOM file, with or without preamble and transfer syntax.

    Raises:
        Refusal: (not_dicom, too_large) it is no file that can be read as DICOM.
    """
    if not _looks_like_dicom(content):
        raise Refusal("not_dicom", "no DICOM file" if content else "an empty file")
    try:
        if uid.DeflatedExplicitVRLittleEndian.encode() in content[:4096]:
            _refuse_inflated(content, max_bytes)
        return pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=_TAGS)
    except Refusal:
        raise
    except Exception as error:
        raise Refusal("not_dicom", "no DICOM file that can be parsed") from error


def _looks_like_dicom(content: bytes) -> bool:
    """Whether there is the DICM prefix, or a first element of group 0002 or 0008 in either byte order."""
    if content[128:132] == b"DICM":
        return True
    return len(content) > 8 and any(struct.unpack(f"{order}H", content[:2])[0] in (0x0002, 0x0008) for order in "<>")


def _refuse_inflated(content: bytes, max_bytes: int) -> None:
    """Refuse a deflated data set that would grow beyond the limit: pydicom inflates it whole."""
    meta_bytes = struct.unpack("<I", content[140:144])[0]  # (0002,0000), which counts from its own end
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    stream.decompress(content[144 + meta_bytes :], max_bytes)
    if not stream.eof and stream.unconsumed_tail:
        raise Refusal("too_large", f"a deflated file of more than {max_bytes} bytes")


def decode(dataset: Dataset, header: Header, content: bytes) -> NDArray[Any]:
    """The stored values of a single-frame grey image, sign and unused bits set right, nothing else applied.

    Args:
        dataset: as of read_dataset.
        header: of the same file.
        content: of the same file (GDCM reads 12-bit JPEG from there).

    Returns:
        (Rows, Columns) uint8, int8, uint16 or int16 in native byte order.

    Raises:
        Refusal: (pixel_data) missing, truncated, damaged, of another size than the header says, of an unknown syntax.
    """
    syntax = header.syntax
    if "PixelData" not in dataset:
        raise Refusal("pixel_data", "no pixel data, or cut off within them")
    if syntax not in _OWN | _PILLOW | _GDCM:
        raise Refusal("pixel_data", f"transfer syntax {syntax.name} cannot be decoded")
    if not header.syntax_stated:
        dataset.file_meta.TransferSyntaxUID = syntax
    shape = header.integer("Rows"), header.integer("Columns")
    plugin = "" if syntax in _OWN else _choose_plugin(dataset, header, shape)
    try:
        if plugin == "gdcm" and syntax == uid.JPEGExtended12Bit:
            stored = _decode_12_bit(content)
        else:
            stored = pixel_array(dataset, decoding_plugin=plugin, raw=True)
    except Exception as error:
        raise Refusal("pixel_data", f"pixel data truncated or damaged ({syntax.name})") from error
    if stored is None or stored.shape != shape:
        raise Refusal("pixel_data", f"pixel data truncated or damaged ({syntax.name})")
    return np.ascontiguousarray(stored, stored.dtype.newbyteorder("="))


def _choose_plugin(dataset: Dataset, header: Header, shape: tuple[int, int]) -> str:
    """The decoder of a JPEG, JPEG-LS or JPEG 2000 frame: Pillow for every kind it can read, else GDCM.

    Never GDCM after Pillow has failed: Pillow fails on damaged frames, which GDCM fills with grey, or crashes on.

    Raises:
        Refusal: (pixel_data) the frame lacks its end, or is not what the header says. A frame may claim 60,000 x 60,000
            pixels whatever the header says, and GDCM writes past its buffer where a frame is larger than announced.
    """
    try:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    except Exception as error:
        raise Refusal("pixel_data", "the encapsulated frame is damaged") from error
    if b"\xff\xd9" not in frame[-1024:]:
        raise Refusal("pixel_data", "the compressed frame is truncated: it has no end")
    head = frame_head(frame)
    if head is None:
        raise Refusal("pixel_data", "the compressed frame is damaged: it does not say its size")
    if (head.rows, head.columns) != shape:
        raise Refusal(
            "pixel_data",
            f"the compressed frame has {head.rows} x {head.columns} pixels, the header says {shape[0]} x {shape[1]}",
        )
    if head.components != 1 or head.bits > header.integer("BitsAllocated"):
        raise Refusal("pixel_data", f"the compressed frame has {head.components} sample(s) of {head.bits} bits a pixel")
    return "pillow" if head.pillow and header.syntax in _PILLOW else "gdcm"


@dataclass(frozen=True)
class FrameHead:
    """What a code stream says of itself, and whether Pillow reads its kind."""

    rows: int
    columns: int
    components: int
    bits: int
    pillow: bool


def frame_head(frame: bytes) -> FrameHead | None:
    """The head of a JPEG, JPEG-LS or JPEG 2000 stream (ISO 10918-1, 14495-1, 15444-1); None where it has none."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC and SIZ, perhaps within a JP2 box
    try:
        if start >= 0:
            columns, rows, left, top = struct.unpack(">IIII", frame[start + 8 : start + 24])
            components, precision = struct.unpack(">HB", frame[start + 40 : start + 43])
            return FrameHead(rows - top, columns - left, components, (precision & 0x7F) + 1, pillow=True)
        position = 2
        while frame[position] == 0xFF:
            marker = frame[position + 1]
            if marker in _JPEG_FRAMES:
                bits, rows, columns, components = struct.unpack(">BHHB", frame[position + 4 : position + 10])
                return FrameHead(rows, columns, components, bits, pillow=marker in _PILLOW_FRAMES and bits == 8)
            # Fill bytes may precede a marker.
            position += 1 if marker == 0xFF else 2 + struct.unpack(">H", frame[position + 2 : position + 4])[0]
    except (IndexError, struct.error):
        return None
    return None


def _decode_12_bit(content: bytes) -> NDArray[Any] | None:
    """JPEG Extended with 12 bits, which GDCM decodes (from a file only) but pydicom does not ask it to."""
    reader = gdcm.ImageReader()
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(content)
        file.flush()
        reader.SetFileName(file.name)
        if not reader.Read():
            return None
    image = reader.GetImage()
    columns, rows = image.GetDimension(0), image.GetDimension(1)
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), np.uint16)
    return values.reshape(rows, columns) if values.size == rows * columns else None
