"""Change values in the text of a YAML file and nothing else: comments, order, widths and quotes stay as they are.

A round trip through ruamel.yaml keeps comments but wraps long lists anew. Here its parser only tells where each value
stands; its text is then replaced in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode

from pneumoseg.config.recipes.overlay import inline, merge, same
from pneumoseg.shared.errors import ParameterError

_WIDTH = 120


@dataclass(frozen=True)
class _Edit:
    """Replace text[start:end]."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Place:
    """Where a value stands: what is in the file, the index behind its ``:`` or ``-``, the column of its key or dash."""

    node: Node
    value: Any
    after: int
    column: int


def edit_yaml(text: str, overlay: Mapping[str, Any], source: str = "params.yaml") -> str:
    """Lay an overlay over a YAML file.

    Mappings are merged key by key and lists replaced whole; items that a list had before keep their comments.

    Args:
        text: of the file, a block mapping.
        overlay: nested mappings.
        source: name of the file, for messages.

    Raises:
        ParameterError: the file is no YAML mapping, or has anchors, aliases or another form that cannot be edited so.
    """
    try:
        node, content = YAML().compose(text), YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ParameterError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(node, MappingNode) or node.flow_style:
        raise ParameterError(f"{source}: must be sections of parameters, one below the other")
    if _has_anchors(node):
        raise ParameterError(f"{source}: has anchors or aliases (&name, *name); write their values out first")
    edits = _Editor(text).edits(_Place(node, content, 0, -2), overlay, whole=False)
    done = text
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        done = done[: edit.start] + edit.text + done[edit.end :]
    if not same(YAML(typ="safe").load(done), merge(content, overlay)):
        raise ParameterError(f"{source}: its form cannot be edited in place; reformat it as the shipped file is")
    return done


class _Editor:
    """Finds the edits that give a text other values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"

    def edits(self, place: _Place, wanted: Any, *, whole: bool) -> list[_Edit]:
        """The edits that put ``wanted`` into a place; ``whole``: a mapping loses the keys that ``wanted`` lacks."""
        if same(place.value, wanted):
            return []
        node, value = place.node, place.value
        block = isinstance(node, CollectionNode) and not node.flow_style
        if isinstance(value, Mapping) and isinstance(wanted, Mapping):
            if not whole:
                wanted = merge(value, wanted)
            if block and value and value.keys() <= wanted.keys():
                return self._mapping(node, value, wanted)
        if isinstance(value, list) and isinstance(wanted, list) and block and value and wanted:
            return self._sequence(node, value, wanted)
        return [self._rewrite(place, wanted)]

    def _mapping(self, node: Node, value: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[_Edit]:
        found: list[_Edit] = []
        column = node.value[0][0].start_mark.column
        for key_node, value_node in node.value:
            key = key_node.value
            colon = self._text.index(":", key_node.end_mark.index) + 1
            found += self.edits(_Place(value_node, value[key], colon, column), wanted[key], whole=True)
        new = {key: item for key, item in wanted.items() if key not in value}
        if new:
            found.append(self._insert(_end(node), _block(new, column)))
        return found

    def _sequence(self, node: Node, value: list[Any], wanted: list[Any]) -> list[_Edit]:
        found: list[_Edit] = []
        column = node.start_mark.column
        for item_node, old, new in zip(node.value, value, wanted, strict=False):
            dash = self._text.rindex("-", 0, item_node.start_mark.index) + 1
            found += self.edits(_Place(item_node, old, dash, column), new, whole=True)
        if len(wanted) > len(value):
            found.append(self._insert(_end(node), _block(wanted[len(value) :], column)))
        if len(value) > len(wanted):
            found.append(_Edit(_end(node.value[len(wanted) - 1]), _end(node), ""))
        return found

    def _rewrite(self, place: _Place, wanted: Any) -> _Edit:
        """Write the whole value anew, on its line where it fits there and below it otherwise."""
        line_start = self._text.rfind("\n", 0, place.after) + 1
        text = f" {inline(wanted)}"
        nested = isinstance(wanted, Mapping | list) and wanted
        if nested and place.after - line_start + len(text) > _WIDTH:
            lines = _block(wanted, place.column + 2)
            text = "".join(self._newline + line for line in lines)
        return _Edit(place.after, max(_end(place.node), place.after), text)

    def _insert(self, at: int, lines: list[str]) -> _Edit:
        return _Edit(at, at, "".join(self._newline + line for line in lines))


def _end(node: Node) -> int:
    """Index behind the last character of a node; what the parser calls the end of a block is where the next begins."""
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, MappingNode) else last)


def _block(value: Any, column: int) -> list[str]:
    """Lines of a mapping or list in block style, indented by ``column``; what fits on a line stays on it."""
    lines: list[str] = []
    entries = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    for key, item in entries:
        lead = " " * column + ("-" if key is None else f"{inline(key)}:")
        one_line = f"{lead} {inline(item)}"
        nested = isinstance(item, Mapping | list) and item
        if not nested or len(one_line) <= _WIDTH - 20:
            lines.append(one_line)
        elif key is None:
            first, *others = _block(item, column + 2)
            lines += [f"{lead} {first.lstrip()}", *others]
        else:
            lines += [lead, *_block(item, column + 2)]
    return lines


def _has_anchors(node: Node) -> bool:
    """Whether a value stands in several places, or has a name for that."""
    below: list[Node] = []
    if isinstance(node, MappingNode):
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, SequenceNode):
        below = list(node.value)
    return bool(node.anchor) or any(map(_has_anchors, below))
