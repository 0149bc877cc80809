"""Overlays: mappings are merged key by key, everything else, lists too, is replaced whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A value before and after, as YAML has it; None where there is none."""

    key: str
    before: str | None
    after: str | None


def merge(content: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """The content with an overlay laid over it; neither is changed."""
    merged = dict(content)
    for key, value in overlay.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def leaves(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by dotted key; an empty mapping is a value."""
    if not isinstance(content, Mapping) or (key and not content):
        yield key, content
        return
    for name, value in content.items():
        yield from leaves(value, f"{key}.{name}" if key else str(name))


def changes(before: Any, after: Any, key: str = "") -> list[Change]:
    """What differs, key by key in the order of ``after``; lists of mappings are told item by item."""
    if same(before, after):
        return []
    if isinstance(before, list) and isinstance(after, list) and _of_mappings(before) and _of_mappings(after):
        before, after = dict(enumerate(before)), dict(enumerate(after))
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return [Change(key, inline(before), inline(after))]
    told: list[Change] = []
    for name, value in after.items():
        below = f"{key}.{name}" if key else str(name)
        told += changes(before[name], value, below) if name in before else [Change(below, None, inline(value))]
    return told + [
        Change(f"{key}.{name}" if key else str(name), inline(value), None)
        for name, value in before.items()
        if name not in after
    ]


def _of_mappings(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, Mapping) for item in items)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; true is not 1, but 1 is 1.0."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def inline(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inline(key)}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A scalar of YAML 1.1 and 1.2 alike: 1.0e-05 has a dot, text that could be anything else has quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    text = str(value)
    if isinstance(value, int) or _is_plain(text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _number(value: float) -> str:
    text = repr(value)
    if value and abs(value) < 1e-3 and float(f"{value:e}") == value:
        text = f"{float(f'{value:e}'.split('e')[0])!r}e{int(f'{value:e}'.split('e')[1])}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"


_RESERVED = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def _is_plain(text: str) -> bool:
    letters = text.replace("_", "").replace("-", "").replace(".", "").replace("/", "")
    return text[:1].isalpha() and letters.isascii() and letters.isalnum() and text.lower() not in _RESERVED
