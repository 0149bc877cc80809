"""Bytes of DICOM files to data sets and stored values: pydicom parses, the compressed frame goes to codecs."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pydicom
from pydicom import Dataset, uid
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array

from pneumoseg.radiographs.codecs import COMPRESSED, JPEG_2000, JPEG_LS, FrameHead, decode_frame, frame_head
from pneumoseg.radiographs.header import Header
from pneumoseg.radiographs.identity import ALLOWED_ATTRIBUTES
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.radiographs.stored_bits import StoredValues, extend_sign, fit

_OWN = frozenset(  # decoded by pydicom itself
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.RLELossless,
    }
)
_LOSSLESS = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless})
_TAGS = [*ALLOWED_ATTRIBUTES, "PixelData"]


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


def decode(dataset: Dataset, header: Header) -> StoredValues:
    """The stored values of a single-frame grey image, sign and unused bits set right, nothing else applied.

    Args:
        dataset: as of read_dataset.
        header: of the same file.

    Raises:
        Refusal: (pixel_data) missing, truncated, damaged, of another size than the header says, of an unknown syntax.
    """
    syntax = header.syntax
    if "PixelData" not in dataset:
        raise Refusal("pixel_data", "no pixel data, or cut off within them")
    if syntax not in _OWN | COMPRESSED:
        raise Refusal("pixel_data", f"transfer syntax {syntax.name} cannot be decoded")
    shape = header.integer("Rows"), header.integer("Columns")
    if syntax in COMPRESSED:
        return _decode_compressed(dataset, header, shape)
    if not header.syntax_stated:
        dataset.file_meta.TransferSyntaxUID = syntax
    try:
        values = pixel_array(dataset, raw=True, correct_unused_bits=False)
    except Exception as error:
        raise Refusal("pixel_data", f"pixel data truncated or damaged ({syntax.name})") from error
    if values.shape != shape:
        raise Refusal("pixel_data", f"pixel data truncated or damaged ({syntax.name})")
    return fit(values, header.integer("BitsStored"), header.integer("PixelRepresentation") == 1)


def _decode_compressed(dataset: Dataset, header: Header, shape: tuple[int, int]) -> StoredValues:
    """JPEG, JPEG-LS and JPEG 2000.

    Where the sign of a JPEG 2000 stream contradicts Pixel Representation, a signed stream is believed (its values are
    not lifted), and an unsigned one holds the two's complement that the header announces, in as many bits as it has.
    """
    syntax = header.syntax
    frame, head = _frame(dataset, header, shape)
    try:
        values = decode_frame(frame, head, syntax)
    except Exception as error:
        raise Refusal("pixel_data", f"pixel data truncated or damaged ({syntax.name})") from error
    bits, signed = header.integer("BitsStored"), header.integer("PixelRepresentation") == 1
    lossy = syntax not in _LOSSLESS
    contradicts = syntax in JPEG_2000 and head.signed != signed
    if head.signed:
        below = bool(values.min() < 0)
        stored = fit(values, bits, signed or below, lossy)
    else:
        # JPEG has no sign of its own; where it has fewer bits than the header says, they are no two's complement.
        if signed and (syntax in JPEG_2000 | JPEG_LS or head.bits >= bits):
            values = extend_sign(values, head.bits)
        stored = fit(values, bits, signed, lossy)
        below = bool(stored.values.min() < 0)
    return replace(stored, corrected=stored.corrected or (contradicts and (head.signed or below)))


def _frame(dataset: Dataset, header: Header, shape: tuple[int, int]) -> tuple[bytes, FrameHead]:
    """The one frame and its head.

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
    return frame, head
