"""Everything that is read of a DICOM file but its pixels: parsed once, as plain values, whatever their encoding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset, uid
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue

from pneumoseg.radiographs.identity import ALLOWED_ATTRIBUTES
from pneumoseg.radiographs.pixels import LookupTable
from pneumoseg.radiographs.rules import Refusal

_TABLES = ("ModalityLUTSequence", "VOILUTSequence")
_PLAIN = {tag_for_keyword(keyword): keyword for keyword in ALLOWED_ATTRIBUTES if keyword not in _TABLES}


@dataclass(frozen=True)
class Header:
    """The allowed attributes by keyword (PS3.6).

    Attributes:
        text: without padding; several values joined by a backslash, as in the file; empty where there is none.
        numbers: all values; empty where there is none, or one of them is no finite number.
        given: those that are there with a value, readable or not.
        tables: descriptor and data, as they stand in the file, of the first table of each LUT sequence that is there.
        little_endian: the byte order of those.
        syntax: the transfer syntax, or where the file states none, the one that the header shows.
        syntax_stated: whether the file states it.
    """

    text: Mapping[str, str]
    numbers: Mapping[str, tuple[float, ...]]
    given: frozenset[str]
    tables: Mapping[str, tuple[bytes, bytes]]
    little_endian: bool
    syntax: uid.UID
    syntax_stated: bool

    def code(self, keyword: str) -> str:
        """The text in capitals."""
        return self.text[keyword].upper()

    def integer(self, keyword: str) -> int:
        """The one integer of an attribute that pixels cannot do without.

        Raises:
            Refusal: (header) it is missing or no single integer.
        """
        found = self.numbers[keyword]
        if len(found) != 1 or not found[0].is_integer():
            raise Refusal("header", f"{keyword} is missing or no single whole number")
        return int(found[0])

    def number(self, keyword: str, missing: float) -> float:
        """The one number of an attribute, or ``missing`` where it is not given.

        Raises:
            Refusal: (contrast) it is no single number.
        """
        if keyword not in self.given:
            return missing
        if len(self.numbers[keyword]) != 1:
            raise Refusal("contrast", f"{keyword} is no number")
        return self.numbers[keyword][0]

    def lookup_table(self, keyword: str, signed: bool) -> LookupTable | None:
        """The first table of a LUT sequence, or None where there is none.

        Args:
            keyword: ModalityLUTSequence or VOILUTSequence.
            signed: whether input values can be negative, so that the first of them is to be read as a signed number.

        Raises:
            Refusal: (contrast) the sequence is there but its table cannot be read.
        """
        if keyword not in self.tables:
            return None
        head, data = self.tables[keyword]
        words = f"{'<' if self.little_endian else '>'}u2"
        try:
            count, first, bits = (int(word) for word in np.frombuffer(head, words)[:3])
            count = count or 65536  # 0 stands for 2^16
            packed = len(data) < 2 * count  # 8-bit entries may share a word
            entries = np.frombuffer(data, np.uint8 if packed else words, count).astype(np.float64)
        except ValueError as error:
            raise Refusal("contrast", f"{keyword} holds no readable table") from error
        if not 8 <= bits <= 16:
            raise Refusal("contrast", f"{keyword} says {bits} bits an entry; 8 to 16 are possible")
        first = first - 65536 if signed and first >= 32768 else first
        # Some writers say 8 bits of entries that use 10 (trust the larger), or 16 of entries that use 12 (many CR; then
        # the power of two above the largest entry is meant). A dark table loses no more than its unused bits.
        largest = float(entries.max())
        maximum = max(2.0**bits - 1, largest)
        rescaled = keyword == "VOILUTSequence" and 0 < largest < 2.0 ** (bits - 1)
        if rescaled:
            maximum = 2.0 ** int(largest).bit_length() - 1
        return LookupTable(first, entries, maximum, rescaled)


def read_header(dataset: Dataset) -> Header:
    """Read every allowed attribute once; a damaged one is as one that is missing."""
    there = [_PLAIN[tag] for tag in dataset.keys() & _PLAIN.keys()]  # asking for each that is not costs as much again
    given = frozenset(keyword for keyword in there if _is_given(dataset, keyword))
    values = dict.fromkeys(_PLAIN.values(), ()) | {keyword: _values(dataset, keyword) for keyword in there}
    tables = {keyword: _table(dataset, keyword) for keyword in _TABLES}
    implicit, little = dataset.original_encoding
    stated = _value(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    stated = stated if isinstance(stated, str) else ""  # damage can make several of it
    seen = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    return Header(
        text={keyword: "\\".join(map(str, parts)).strip(" \0\t\r\n") for keyword, parts in values.items()},
        numbers={keyword: _numbers(parts) for keyword, parts in values.items()},
        given=given,
        tables={keyword: table for keyword, table in tables.items() if table},
        little_endian=little is not False,
        syntax=uid.UID(stated) if stated else uid.ImplicitVRLittleEndian if implicit else seen,
        syntax_stated=bool(stated),
    )


def _is_given(dataset: Dataset, keyword: str) -> bool:
    element = dataset.get_item(keyword)
    value = None if element is None else element.value
    return value is not None and len(value.strip(b" \0") if isinstance(value, bytes) else str(value).strip()) > 0


def _value(dataset: Dataset, keyword: str) -> Any:
    """None where it is missing or not convertible to its type."""
    try:
        return dataset.get(keyword)
    except Exception:  # noqa: BLE001 - a damaged element raises what its converter happens to raise
        return None


def _values(dataset: Dataset, keyword: str) -> Sequence[Any]:
    value = _value(dataset, keyword)
    if value is None or value == "":
        return ()
    return value if isinstance(value, list | tuple | MultiValue) else (value,)


def _numbers(parts: Sequence[Any]) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(math.isfinite(number) for number in found) else ()


def _table(dataset: Dataset, keyword: str) -> tuple[bytes, bytes] | None:
    """Bytes of descriptor and data: their type (US, SS or OW) is ambiguous, their words are not."""
    sequence = _value(dataset, keyword)
    if not sequence:
        return None
    try:
        head, data = (sequence[0].get_item(name).value for name in ("LUTDescriptor", "LUTData"))
    except Exception:  # noqa: BLE001 - as above; told where the table is asked for
        return b"", b""
    return (head, data) if isinstance(head, bytes) and isinstance(data, bytes) else (b"", b"")
