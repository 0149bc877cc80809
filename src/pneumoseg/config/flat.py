"""Nested mappings of parameters: flat by dotted key, laid over each other, compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A value before and after, as JSON text; None where there is none."""

    key: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """One line for a person."""
        before = "(not there)" if self.before is None else self.before
        return f"{self.key}: {before} -> {'(removed)' if self.after is None else self.after}"


def leaves(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by dotted key, in their order; a list is a value, and so is an empty mapping."""
    if not isinstance(content, Mapping) or (key and not content):
        yield key, content
        return
    for name, value in content.items():
        yield from leaves(value, f"{key}.{name}" if key else str(name))


def merge(content: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """The content with an overlay laid over it, key by key; lists are replaced whole. Neither is changed."""
    merged = dict(content)
    for key, value in overlay.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def lacking(content: Mapping[Any, Any], whole: Mapping[Any, Any]) -> dict[Any, Any]:
    """What of ``whole`` the content has no key for, nested; of lists of mappings by the numbers of their items."""
    found: dict[Any, Any] = {}
    for key, value in whole.items():
        if key not in content:
            found[key] = value
        elif (pair := both(content[key], value)) is not None:
            below = lacking(*pair)
            found |= {key: below} if below else {}
    return found


def known(values: Mapping[Any, Any], content: Mapping[Any, Any], whole: Mapping[Any, Any]) -> dict[Any, Any]:
    """The values without the keys that ``whole`` has and ``content`` lacks, nested as in ``lacking``.

    ``values`` are those of ``whole`` in any form: where the two differ in keys (a step of an augmentation, written
    short), a value stays as it is.
    """
    found: dict[Any, Any] = {}
    for key, value in values.items():
        if key in whole and key not in content:
            continue
        pair, inner = both(content.get(key), whole.get(key)), both(value, whole.get(key))
        below = value if pair is None or inner is None else known(inner[0], *pair)
        found[key] = list(below.values()) if isinstance(value, list) and below is not value else below
    return found


def complete(content: Any, whole: Any) -> Any:
    """The content with the keys of ``whole`` that it lacks, in the order of ``whole``; nested as in ``lacking``."""
    pair = both(content, whole)
    if pair is None:
        return content
    had, wanted = pair
    filled = {key: complete(had[key], value) if key in had else value for key, value in wanted.items()} | {
        key: value for key, value in had.items() if key not in wanted
    }
    return list(filled.values()) if isinstance(content, list) else filled


def complete_items(content: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the keys of ``whole`` that items of its lists lack, and no others."""
    found = dict(content)
    for key, value in content.items():
        wanted = whole.get(key)
        if isinstance(value, Mapping) and isinstance(wanted, Mapping):
            found[key] = complete_items(value, wanted)
        elif isinstance(value, list):
            found[key] = complete(value, wanted)
    return found


def both(one: Any, other: Any) -> tuple[Mapping[Any, Any], Mapping[Any, Any]] | None:
    """Two values that can be gone through together: mappings, or as long lists of mappings by number; else None."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one, other
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return (dict(enumerate(one)), dict(enumerate(other))) if _of_mappings([*one, *other]) else None
    return None


def changes(before: Any, after: Any, key: str = "") -> list[Change]:
    """What differs, key by key in the order of ``after``; lists of mappings are told item by item."""
    if same(before, after):
        return []
    if isinstance(before, list) and isinstance(after, list) and _of_mappings(before) and _of_mappings(after):
        before, after = dict(enumerate(before)), dict(enumerate(after))
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return [Change(key, inline(before), inline(after))]
    told: list[Change] = []
    for name in (*after, *(name for name in before if name not in after)):
        below = f"{key}.{name}" if key else str(name)
        if name not in before:
            told.append(Change(below, None, inline(after[name])))
        elif name not in after:
            told.append(Change(below, inline(before[name]), None))
        else:
            told += changes(before[name], after[name], below)
    return told


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; true is not 1, but 1 is 1.0."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def inline(value: Any) -> str:
    """A value on one line, as JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _of_mappings(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, Mapping) for item in items)
