"""The parameters of an external set, and messages that name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pneumoseg.config.data import DataParams
from pneumoseg.shared.errors import DataError, ParameterError

_DATA_KEYS = re.compile(r"\bdata\.(root|annotations)\b(?!\.)")


def find_source(external: Mapping[str, DataParams], name: str) -> DataParams:
    """The parameters of a set.

    Raises:
        ParameterError: there is none of this name.
    """
    if name not in external:
        known = ", ".join(sorted(external)) or "none"
        raise ParameterError(f"--site {name}: evaluate.external has no such set; it has {known}")
    return external[name]


@contextmanager
def named(name: str, section: str = "evaluate.external") -> Iterator[None]:
    """Let errors name evaluate.external.<name>, or data.more.<name>, where they would name data.root or the like."""
    try:
        yield
    except DataError as error:
        what = "external set" if section == "evaluate.external" else section
        told = _DATA_KEYS.sub(rf"{section}.{name}.\1", str(error))
        raise DataError(told if told != str(error) else f"{what} {name}: {error}") from error
