"""Change values in the text of a YAML file and nothing else: comments, order and quotes stay as they are.

The parser only tells where each value stands; its text is then replaced in place, in the form in which ``dvc exp run
-S`` writes it. A round trip through ruamel.yaml would move the comments that stand behind a new key or a changed list.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode

from pneumoseg.config.flat import Change, both, changes, lacking, merge, same
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.files import atomic_path

#: Start, end and new text of a piece.
_Edit = tuple[int, int, str]


def edit_file(
    path: Path, overlay: Mapping[str, Any], *, dropped: Mapping[str, Any] | None = None, write: bool = True
) -> list[Change]:
    """Lay an overlay over a YAML file on disk, its line ends kept; returns what changed (or would: ``write``).

    Raises:
        ParameterError: as edit_yaml.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        text = stream.read()
    edited = edit_yaml(text, overlay, str(path), dropped)
    if write and edited != text:
        with atomic_path(path.resolve()) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.write(edited)
    return changes(YAML(typ="safe").load(text), YAML(typ="safe").load(edited))


def edit_yaml(
    text: str, overlay: Mapping[str, Any], source: str = "params.yaml", dropped: Mapping[str, Any] | None = None
) -> str:
    """Lay an overlay over a YAML file.

    Mappings are merged key by key and lists replaced whole. A new key comes behind the one that it follows in the
    overlay's mapping, or last.

    Args:
        text: of the file, a block mapping.
        overlay: nested mappings.
        source: name of the file, for messages.
        dropped: nested mappings of the keys that go.

    Raises:
        ParameterError: the file is no YAML mapping, or has a form that cannot be edited so.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n").removesuffix("\n") + "\n"
    try:
        node, content = YAML().compose(text), YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ParameterError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(node, MappingNode) or node.flow_style:
        raise ParameterError(f"{source}: must be sections of parameters, one below the other")
    wanted = _without(merge(content, overlay), dropped or {})
    edits = sorted(_edits(text, node, content, overlay, dropped or {}), key=lambda edit: edit[:2])
    for start, end, new in reversed(edits):
        text = text[:start] + new + text[end:]
    try:
        done = YAML(typ="safe").load(text)
    except YAMLError:
        done = None
    if not same(done, wanted):
        cause = (
            "has anchors or aliases (&name, *name); write their values out first"
            if _has_anchors(node)
            else "its form cannot be edited in place; write it as the shipped file is"
        )
        raise ParameterError(f"{source}: {cause}")
    return text.replace("\n", newline)


def _edits(
    text: str, node: MappingNode, content: Mapping[str, Any], overlay: Mapping[str, Any], dropped: Mapping[str, Any]
) -> Iterator[_Edit]:
    """The edits inside one mapping."""
    ends: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, start = key_node.value, key_node.start_mark
        colon = text.index(":", key_node.end_mark.index) + 1
        ends[key] = _end(value_node, colon)
        below, above = dropped.get(key, {}), overlay.get(key, {})
        if not isinstance(below, Mapping):
            yield max(0, text.rfind("\n", 0, start.index)), text.index("\n", ends[key]), ""
        elif isinstance(value_node, MappingNode) and value_node.value and isinstance(above, Mapping):
            yield from _edits(text, value_node, content[key], above, below)
        elif _is_list_of_mappings(value_node) and both(content[key], above):
            for item_node, item, wanted in zip(value_node.value, content[key], above, strict=True):
                yield from _edits(text, item_node, item, wanted, lacking(wanted, item))
        elif key in overlay and not same(content[key], above):
            if node.flow_style:
                yield max(value_node.start_mark.index, colon), ends[key], json.dumps(above)
            else:
                head = colon if _is_block(value_node) else ends[key]
                comment = text[head : text.index("\n", head)]
                first, *others = _dumped({key: above}, start.column)
                yield start.index, max(ends[key], head + len(comment)), "\n".join([first.lstrip() + comment, *others])
    yield from _insertions(text, node, ends, overlay)


def _insertions(text: str, node: MappingNode, ends: Mapping[str, int], overlay: Mapping[str, Any]) -> Iterator[_Edit]:
    """The overlay's new keys, each run of them behind the known key that it follows there, else behind the last."""
    place, column = max(ends.values()), node.value[0][0].start_mark.column
    new: dict[int, dict[str, Any]] = {}
    for key, value in overlay.items():
        if key in ends:
            place = ends[key]
        else:
            new.setdefault(place, {})[key] = value
    for place, entries in new.items():
        if node.flow_style:
            yield place, place, "".join(f", {key}: {json.dumps(value)}" for key, value in entries.items())
        else:
            line_end = text.index("\n", place)
            lines = [line for key in entries for line in ([""] * (not column) + _dumped({key: entries[key]}, column))]
            yield line_end, line_end, "".join(f"\n{line}" for line in lines)


def _end(node: Node, colon: int) -> int:
    """Index behind the last character of a value; what the parser calls the end of a block is where the next begins."""
    if _is_block(node):
        last = node.value[-1]
        return _end(last[1], last[0].end_mark.index + 1) if isinstance(node, MappingNode) else _end(last, colon)
    # An empty value stands, for the parser, where the next key begins.
    return node.end_mark.index if node.end_mark.index > node.start_mark.index else colon


def _has_anchors(node: Node) -> bool:
    """Whether a value stands in several places, or has a name for that."""
    below = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
    return bool(node.anchor) or (isinstance(node, CollectionNode) and any(map(_has_anchors, below)))


def _is_list_of_mappings(node: Node) -> bool:
    """Whether each item stands below the other and has keys: then their values are edited in their places."""
    block = isinstance(node, SequenceNode) and not node.flow_style
    return block and all(isinstance(item, MappingNode) and item.value for item in node.value)


def _is_block(node: Node) -> bool:
    return isinstance(node, CollectionNode) and not node.flow_style and bool(node.value)


def _dumped(content: Mapping[str, Any], column: int) -> list[str]:
    """Lines as DVC writes them."""
    yaml, stream = YAML(), io.StringIO()
    yaml.default_flow_style, yaml.width = False, 4096
    yaml.dump(content, stream)
    return [" " * column + line for line in stream.getvalue().splitlines()]


def _without(content: Mapping[str, Any], dropped: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without(value, dropped[key]) if isinstance(dropped.get(key), Mapping) else value
        for key, value in content.items()
        if isinstance(dropped.get(key, {}), Mapping)
    }
