"""The encapsulated pixel data of a single frame to the code stream (PS3.5 A.4)."""

from __future__ import annotations

import struct

from pneumoseg.radiographs.rules import Refusal

_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_SEARCHED = 1024  # some writers leave something after the end marker


def join_fragments(encapsulated: bytes) -> bytes:
    """All fragments, which are the one frame whatever the offset table (the first item) says.

    Raises:
        Refusal: (pixel_data) it is no sequence of items.
    """
    items: list[bytes] = []
    position = 0
    while position + 8 <= len(encapsulated):
        group, element, length = struct.unpack_from("<HHI", encapsulated, position)
        if (group, element) == _DELIMITER:
            break
        if (group, element) != _ITEM:
            raise Refusal("pixel_data", "the encapsulation is damaged: no item where one should begin")
        position += 8 + length
        if position > len(encapsulated):
            raise Refusal("pixel_data", "the encapsulation is damaged: a fragment is longer than the pixel data")
        items.append(encapsulated[position - length : position])
    if len(items) < 2:
        raise Refusal("pixel_data", "the encapsulation is damaged: no fragment after the offset table")
    return b"".join(items[1:])


def trim(frame: bytes) -> bytes:
    """A code stream without the zeros after its end: DICOM's pad byte, or as many as a writer liked.

    Pillow takes them for a part of the stream where a JPEG 2000 tile has no length of its own (Psot is 0).

    Raises:
        Refusal: (pixel_data) there is no end marker.
    """
    stripped = frame.rstrip(b"\0")
    if stripped.endswith(_END):
        return stripped
    if _END not in stripped[-_SEARCHED:]:
        raise Refusal("pixel_data", "the compressed frame has no end marker: cut off before it was written here")
    return frame
