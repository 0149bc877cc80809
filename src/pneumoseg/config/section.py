"""What every section of params.yaml has in common: defaults, strict types, and files that are older than a key."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.passwords import masked

#: Type of pydantic's error for a value that a message must not repeat.
SECRET = "secret"  # noqa: S105


class Section(BaseModel):
    """A frozen part of params.yaml. Unknown keys are refused; a missing one has a default, unless nothing is natural.

    A file that lacks a key was written before the key existed and means what was done then. So does one with a key
    that has since been renamed or removed. Adding a key whose default is something new: put the old behaviour into
    ``BEFORE``; renaming or removing one: into ``RENAMED`` or ``REMOVED``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    #: Key → the value that means the behaviour before it existed, where that is not its default.
    BEFORE: ClassVar[Mapping[str, Any]] = {}
    #: Old key → its name now.
    RENAMED: ClassVar[Mapping[str, str]] = {}
    #: Key that is no more → the value at which it did nothing; with another one it is refused.
    REMOVED: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def read(cls, content: Any, source: str) -> Self:
        """Check the content of a file.

        Args:
            content: of YAML or JSON; lists fill tuples, and keys that came later may be missing.
            source: name of the file, for messages.

        Raises:
            ParameterError: for every mistake one line that names file, key, value and fix.
        """
        try:
            # JSON mode: strict about types, yet a list may fill a tuple.
            return cls.model_validate_json(json.dumps(_as_now(cls, content), default=str))
        except ValidationError as error:
            found = error.errors(include_url=False)
            # A list is not "too short" on top of what is wrong in its items.
            above = {item["loc"][:depth] for item in found for depth in range(len(item["loc"]))}
            lines = [_explain(cls, source, item) for item in found if item["loc"] not in above]
            raise ParameterError("\n".join(lines)) from None

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Every key that it knows."""
        return tuple(cls.model_fields)

    def written(self) -> dict[str, Any]:
        """The values as params.yaml has them, short forms where there are any."""
        return self.model_dump(mode="json", context={"written": True})


def _as_now(section: type[Section], content: Any) -> Any:
    """The content of a file in today's keys: those that came later have the value of before, old names are replaced."""
    if not isinstance(content, Mapping):
        return content
    now = dict(section.BEFORE)
    for key, value in content.items():
        if not (key in section.REMOVED and value == section.REMOVED[key]):
            now[section.RENAMED.get(key, key)] = value
    for key, field in section.model_fields.items():
        if key in now:
            now[key] = _items_as_now(field.annotation, now[key])
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            below = _as_now(field.annotation, {})
            now |= {key: below} if below else {}
    return now


def _items_as_now(annotation: Any, value: Any) -> Any:
    below = _section_in(annotation)
    if below and isinstance(value, list):
        return [_as_now(below, item) for item in value]
    if below and get_origin(annotation) is dict and isinstance(value, Mapping):
        return {name: _items_as_now(get_args(annotation)[1], item) for name, item in value.items()}
    return _as_now(below, value) if below else value


def _explain(root: type[Section], source: str, item: Any) -> str:
    location = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if not location:
        return f"{source}: {message}"
    if item["type"] == "missing":
        return f"{source}: {location} is missing and has no default; add it"
    if item["type"] == "extra_forbidden":
        return f"{source}: {location} is not a parameter; {_advice(_section_at(root, item['loc']), item['loc'][-1])}"
    if item["type"] == SECRET:
        return f"{source}: {location}: {message}"
    if item["type"] == "string_type" and isinstance(item["input"], int | float):  # a commit of digits alone, or off
        message = "YAML takes this for no text; put it in quotes"
    shown = masked(json.dumps(item["input"], default=str))
    return f"{source}: {location} = {shown if len(shown) < 120 else shown[:117] + '...'}: {message}"


def _advice(section: type[Section], key: str) -> str:
    if key in section.REMOVED:
        return f"it was removed, and only {json.dumps(section.REMOVED[key])}, which did nothing, can still be read"
    close = difflib.get_close_matches(key, section.keys(), n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(section.keys())}"


def _section_at(root: type[Section], location: tuple[Any, ...]) -> type[Section]:
    """The section in which a key was found; numbers and names of items lead no deeper."""
    section = root
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        section = (field and _section_in(field.annotation)) or section
    return section


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for found in map(_section_in, get_args(annotation)) if found), None)
