"""Legal image ids out of paths and file names, without collisions."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable

from pneumoseg.shared.tables import IMAGE_ID

_LONGEST = 64
_DIGEST = 10  # hexadecimal digits: 40 bits, so that a million ids have a collision once in two million data sets
_SUFFIX = re.compile(r"\.(png|jpe?g|dcm|dicom)$", re.IGNORECASE)


def without_suffix(name: str) -> str:
    """A path without the suffix of an image file."""
    return _SUFFIX.sub("", name)


def legal_ids(names: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """An image id for each name: slashes become ``_``.

    Where that is no id, is another name's too (ids that differ in case only would be the same file somewhere) or is
    taken, a digest of the name makes it unique.

    Args:
        names: paths or file names without suffix, each once or more.
        taken: ids of other images.
    """
    plain = {name: name.replace("/", "_") for name in dict.fromkeys(names)}
    count = Counter(text.casefold() for text in plain.values())
    used = {text.casefold() for text in taken}
    return {
        name: text
        if IMAGE_ID.fullmatch(text) and count[text.casefold()] == 1 and text.casefold() not in used
        else _with_digest(name, text)
        for name, text in plain.items()
    }


def _with_digest(name: str, text: str) -> str:
    legal = re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{legal[: _LONGEST - _DIGEST - 1]}-{digest}"
