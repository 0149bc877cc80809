"""One compressed frame to the values of its code stream, by Pillow or GDCM.

Neither sees more than the frame: GDCM, given a whole file, aborts the process on some overlays that are none of our
business.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0 to SOF15, and JPEG-LS's SOF55
_PILLOW_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended sequential, progressive
_PILLOW = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000Lossless, uid.JPEG2000})
_GDCM = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless})
JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000})
JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
#: Transfer syntaxes of one code stream a frame that can be decoded.
COMPRESSED = _PILLOW | _GDCM

gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()


@dataclass(frozen=True)
class FrameHead:
    """What a code stream says of itself, whether Pillow reads its kind, and whether its values have a sign."""

    rows: int
    columns: int
    components: int
    bits: int
    pillow: bool
    signed: bool = False


def frame_head(frame: bytes) -> FrameHead | None:
    """The head of a JPEG, JPEG-LS or JPEG 2000 stream (ISO 10918-1, 14495-1, 15444-1); None where it has none."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC and SIZ, perhaps within a JP2 box
    try:
        if start >= 0:
            columns, rows, left, top = struct.unpack(">IIII", frame[start + 8 : start + 24])
            components, precision = struct.unpack(">HB", frame[start + 40 : start + 43])
            bits, signed = (precision & 0x7F) + 1, bool(precision & 0x80)  # Ssiz
            return FrameHead(rows - top, columns - left, components, bits, pillow=True, signed=signed)
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


def decode_frame(frame: bytes, head: FrameHead, syntax: uid.UID) -> NDArray[Any]:
    """The values of a grey code stream: Pillow for every kind it can read, else GDCM.

    Never GDCM after Pillow has failed: Pillow fails on damaged frames, which GDCM fills with grey, or crashes on.

    Args:
        frame: the code stream.
        head: of the same frame, up to 16 bits.
        syntax: one of COMPRESSED.

    Returns:
        (rows, columns) uint8, uint16 or, of a signed stream, int32.

    Raises:
        ValueError, OSError, SyntaxError: what the decoders raise on a damaged frame, or a size that is not the head's.
    """
    return _by_pillow(frame, head) if head.pillow and syntax in _PILLOW else _by_gdcm(frame, head, syntax)


def _by_pillow(frame: bytes, head: FrameHead) -> NDArray[Any]:
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
        kind = image.format
        values = np.asarray(image)
    if values.shape != (head.rows, head.columns) or values.dtype not in (np.uint8, np.uint16):
        raise ValueError("not the grey image that the head announces")
    if kind == "JPEG":
        return values
    # Pillow shifts JPEG 2000 up to 8 or 16 bits, and lifts a signed stream by half its range (Jpeg2KDecode.c).
    values = values >> (8 * values.itemsize - head.bits)
    return values.astype(np.int32) - 2 ** (head.bits - 1) if head.signed else values


def _by_gdcm(frame: bytes, head: FrameHead, syntax: uid.UID) -> NDArray[Any]:
    if syntax in JPEG_LS and head.bits in (6, 7):
        raise ValueError("GDCM gives wrong values for JPEG-LS of 6 or 7 bits")  # as pydicom found
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame + b"\0" * (len(frame) % 2))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((head.columns, head.rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str.__str__(syntax))))
    # Of the extended process the standard knows 8 and 12 bits (ISO 10918-1, table B.2); GDCM's own writer says 16.
    bits = min(head.bits, 12) if syntax == uid.JPEGExtended12Bit else head.bits
    size = 1 if bits <= 8 else 2
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 * size, bits, bits - 1, 0))
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), f"u{size}")
    return values.reshape(head.rows, head.columns)
