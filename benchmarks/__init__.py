"""Tables of speed and memory (make bench); nothing here asserts, and no test depends on the clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML

from pneumoseg.config.flat import merge


def changed(words: Sequence[str]) -> dict[str, Any]:
    """What words such as ``train.lr=1e-3`` change of params.yaml, as nested mappings."""
    found: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        value: Any = YAML(typ="safe").load(text)
        for part in reversed(key.split(".")):
            value = {part: value}
        found = merge(found, value)
    return found
