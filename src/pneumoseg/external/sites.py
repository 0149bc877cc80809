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
def named(name: str) -> Iterator[None]:
    """Let errors name evaluate.external.<name> where they would name data.root or data.annotations."""
    try:
        yield
    except DataError as error:
        told = _DATA_KEYS.sub(rf"evaluate.external.{name}.\1", str(error))
        raise DataError(told if told != str(error) else f"external set {name}: {error}") from error
