"""An overlay as arguments of ``dvc exp run``: Hydra's grammar without a blank, so that $(…) may stay unquoted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pneumoseg.config.flat import leaves, same
from pneumoseg.shared.errors import ParameterError

#: Text that Hydra takes as it is: no comma, bracket, colon, equals sign or blank.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*")
_RESERVED = frozenset({"null", "true", "false", "nan", "inf"})


def override_arguments(overlay: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """``-S key=value`` for each value of an overlay that is another in params.yaml, lists whole.

    Args:
        overlay: by section.
        content: of params.yaml; a key that it lacks gets ``++`` before it, which adds it.

    Raises:
        ParameterError: a value has a character that an unquoted $(…) would not leave alone, or a quote.
    """
    known = dict(leaves(content))
    words: list[str] = []
    for key, value in leaves(overlay):
        if key in known and same(known[key], value):
            continue
        text = _value(key, value)
        if re.search(r"[\s*?]", text):
            raise ParameterError(
                f"{key} = {text}: blanks, * and ? cannot stand in an unquoted $(…); use pneumoseg recipe apply"
            )
        words += ["-S", f"{'' if key in known else '++'}{key}={text}"]
    return words


def _value(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_value(key, name)}:{_value(key, item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_value(key, item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    if "'" in text:
        raise ParameterError(f"{key} = {text}: a quote cannot stand in an override; use pneumoseg recipe apply")
    return f"'{text}'"
