"""Pixel data to stored values: pydicom decodes what is not compressed, and run lengths; other frames go to codecs."""

from __future__ import annotations

from dataclasses import replace

from pydicom import Dataset, uid
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array

from pneumoseg.radiographs.codecs import COMPRESSED, JPEG_2000, JPEG_LS, FrameHead, decode_frame, frame_head
from pneumoseg.radiographs.fragments import join_fragments, trim
from pneumoseg.radiographs.header import Header
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
_DCT = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})
_LOSSLESS = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless})


def decode(dataset: Dataset, header: Header) -> StoredValues:
    """The stored values of a single-frame grey image, sign and unused bits set right, nothing else applied.

    Args:
        dataset: as of parsing.read_dataset.
        header: of the same file.

    Raises:
        Refusal: (pixel_data) missing, truncated, damaged, of another size than the header says, of an unknown syntax.
    """
    syntax = header.syntax
    if "PixelData" not in dataset:
        raise Refusal("pixel_data", "no pixel data: there are none, or the file ends before them")
    if syntax not in _OWN | COMPRESSED:
        raise Refusal("pixel_data", f"transfer syntax {syntax.name} cannot be decoded")
    shape = header.integer("Rows"), header.integer("Columns")
    if syntax in COMPRESSED:
        return _decode_compressed(dataset, header, shape)
    if not header.syntax_stated:
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.RLELossless:
        dataset.PixelData = encapsulate([join_fragments(dataset.PixelData)], has_bot=False)
        dataset["PixelData"].is_undefined_length = True
    try:
        values = pixel_array(dataset, raw=True, correct_unused_bits=False)
    except Exception as error:
        raise Refusal("pixel_data", _why(dataset, header, shape)) from error
    if values.shape != shape:
        raise Refusal("pixel_data", _why(dataset, header, shape))
    return fit(values, header.integer("BitsStored"), header.integer("PixelRepresentation") == 1)


def _why(dataset: Dataset, header: Header, shape: tuple[int, int]) -> str:
    """Of uncompressed data, and of run lengths, that cannot be decoded."""
    if header.syntax == uid.RLELossless:
        return "pixel data truncated or damaged: the run lengths cannot be decoded"
    needed = shape[0] * shape[1] * header.integer("BitsAllocated") // 8
    return f"pixel data truncated or damaged: {len(dataset.PixelData)} bytes, the header needs {needed}"


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
        raise Refusal("pixel_data", f"the compressed frame is damaged: it cannot be decoded ({syntax.name})") from error
    bits, signed = header.integer("BitsStored"), header.integer("PixelRepresentation") == 1
    lossy = syntax not in _LOSSLESS
    contradicts = syntax in JPEG_2000 and head.signed != signed
    if head.signed:
        stored = fit(values, bits, signed or bool(values.min() < 0), lossy)
    else:
        # JPEG has no sign of its own; where it has fewer bits than the header says, they are no two's complement.
        if signed and (syntax in JPEG_2000 | JPEG_LS or head.bits >= bits):
            values = extend_sign(values, head.bits)
        stored = fit(values, bits, signed, lossy)
    seen = contradicts and bool(head.signed or stored.values.min() < 0)
    return replace(stored, corrected=stored.corrected or seen)


def _frame(dataset: Dataset, header: Header, shape: tuple[int, int]) -> tuple[bytes, FrameHead]:
    """The one frame and its head.

    Raises:
        Refusal: (pixel_data) the frame lacks its end, or is not what the header says. A frame may claim 60,000 x 60,000
            pixels whatever the header says, and GDCM writes past its buffer where a frame is larger than announced.
    """
    frame = trim(join_fragments(dataset.PixelData))
    head = frame_head(frame)
    if head is None:
        raise Refusal("pixel_data", "the compressed frame is damaged: it does not say its size")
    if (head.rows, head.columns) != shape:
        raise Refusal(
            "pixel_data",
            f"the compressed frame has {head.rows} x {head.columns} pixels, the header says {shape[0]} x {shape[1]}",
        )
    allocated, bits = header.integer("BitsAllocated"), header.integer("BitsStored")
    if head.components != 1:
        raise Refusal("pixel_data", f"the compressed frame has {head.components} sample(s) a pixel, the header says 1")
    if head.bits > allocated:
        raise Refusal("pixel_data", f"the compressed frame has {head.bits} bits a pixel, Bits Allocated is {allocated}")
    if head.bits < bits and header.syntax in _DCT:  # scaled down, so that no window fits
        raise Refusal("pixel_data", f"the compressed frame has {head.bits} bits a pixel, Bits Stored is {bits}")
    return frame, head
