"""Attributes of a DICOM data set as plain values: text, numbers and lookup tables, whatever their encoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

from pneumoseg.radiographs.rules import Refusal


@dataclass(frozen=True)
class LookupTable:
    """A modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1).

    Attributes:
        first: the input value that the first entry belongs to; lower ones take it too, values past the end the last.
        entries: (N,) float64.
        maximum: the largest value that an entry may take, 2^bits - 1.
    """

    first: int
    entries: NDArray[np.float64]
    maximum: float

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map values of any shape to entries, same shape."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        entries: NDArray[np.float64] = self.entries[index.astype(np.intp)]
        return entries


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an attribute, None where it is missing, empty or not convertible to its type."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - a damaged element raises what its converter happens to raise
        return None
    return None if value is None or value == "" else value


def given(dataset: Dataset, keyword: str) -> bool:
    """Whether an attribute is there with a value, readable or not."""
    element = dataset.get_item(keyword)
    value = None if element is None else element.value
    return value is not None and len(value.strip(b" \0") if isinstance(value, bytes) else str(value).strip()) > 0


def text(dataset: Dataset, keyword: str) -> str:
    """The text of an attribute without padding; several values joined by a backslash, as in the file."""
    value = value_of(dataset, keyword)
    if value is None:
        return ""
    return "\\".join(str(part) for part in _parts(value)).strip(" \0\t\r\n")


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple | MultiValue) else (value,)


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of a numeric attribute; empty where it is missing or one of them is no finite number."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    try:
        found = tuple(float(part) for part in _parts(value))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(math.isfinite(number) for number in found) else ()


def integer(dataset: Dataset, keyword: str) -> int:
    """The one integer of an attribute that pixels cannot do without.

    Raises:
        Refusal: (header) it is missing or no single integer.
    """
    found = numbers(dataset, keyword)
    if len(found) != 1 or not found[0].is_integer():
        raise Refusal("header", f"{keyword} is missing or no single whole number")
    return int(found[0])


def lookup_table(dataset: Dataset, keyword: str, signed: bool) -> LookupTable | None:
    """The first table of a LUT sequence, or None where there is none.

    Args:
        dataset: the data set.
        keyword: ModalityLUTSequence or VOILUTSequence.
        signed: whether input values can be negative, so that the first input value is to be read as a signed number.

    Raises:
        Refusal: (contrast) the sequence is there but its table cannot be read.
    """
    sequence = value_of(dataset, keyword)
    if not sequence:
        return None
    order = "<" if dataset.original_encoding[1] is not False else ">"
    try:
        item = sequence[0]
        descriptor = np.frombuffer(_raw(item, "LUTDescriptor"), f"{order}u2")
        count, first, bits = (int(word) for word in descriptor[:3])
        count = count or 65536  # 0 stands for 2^16
        data = _raw(item, "LUTData")
        packed = len(data) < 2 * count  # 8-bit entries may share a word
        entries = np.frombuffer(data, np.uint8 if packed else f"{order}u2", count).astype(np.float64)
    except Exception as error:
        raise Refusal("contrast", f"{keyword} holds no readable table") from error
    if not 8 <= bits <= 16:
        raise Refusal("contrast", f"{keyword} says {bits} bits an entry; 8 to 16 are possible")
    return LookupTable(
        first=first - 65536 if signed and first >= 32768 else first,
        entries=entries,
        # Some writers say 16 bits of entries that use 12, or 8 of entries that use 10: trust the larger.
        maximum=max(2.0**bits - 1, float(entries.max())),
    )


def _raw(item: Dataset, keyword: str) -> bytes:
    """The bytes of an element as they stand in the file: its type (US, SS or OW) is ambiguous, its words are not."""
    value = item.get_item(keyword).value
    if not isinstance(value, bytes):
        raise TypeError(f"{keyword} was converted already")
    return value
