"""What can be added in one place: a name of params.yaml, and the module that registers itself under it.

Each registry stands for a folder. Whoever first asks for a name imports every module of that folder, and each of them
registers what it offers; so a new loss, metric, source or family is a new file there and nothing else.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from pneumoseg.shared.errors import ParameterError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries by name, in the order in which their modules (by name) register them."""

    def __init__(self, key: str, package: str | None = None, *, named_by_module: bool = False) -> None:
        """Stand for the modules and subpackages directly in ``package``; ``key`` of params.yaml holds such a name.

        Where each module registers one entry under its own name, a name is checked without importing any.
        """
        self._key = key
        self._package = package
        self._named_by_module = named_by_module
        self._entries: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str, entry: T) -> T:
        """Offer an entry under a name.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self._key}: {name} is registered twice")
        self._entries[name] = entry
        return entry

    def names(self) -> tuple[str, ...]:
        """Every name that params.yaml may use."""
        if self._named_by_module:
            return tuple(dict.fromkeys((*self._modules(), *self._entries)))
        self._discover()
        return tuple(self._entries)

    def check(self, name: str) -> None:
        """Refuse a name that nothing is registered under.

        Raises:
            ValueError: with the nearest name, or all of them.
        """
        names = self.names()
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            advice = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
            raise ValueError(f"{name} is not known; {advice}")

    def __getitem__(self, name: str) -> T:
        """Give the entry of a name.

        Raises:
            ParameterError: names the key and the nearest name.
        """
        try:
            self.check(name)
        except ValueError as error:
            raise ParameterError(f"{self._key} = {error}") from None
        self._discover()
        return self._entries[name]

    def items(self) -> tuple[tuple[str, T], ...]:
        """All names with their entries."""
        self._discover()
        return tuple(self._entries.items())

    @contextmanager
    def temporarily(self, name: str, entry: T) -> Iterator[T]:
        """Within the block a further entry is registered; for tests and notebooks."""
        self._discover()
        try:
            yield self.register(name, entry)
        finally:
            self._entries.pop(name, None)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        for name in self._modules():
            importlib.import_module(f"{self._package}.{name}")

    def _modules(self) -> list[str]:
        if self._package is None:
            return []
        return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__))


#: They stand here, below the sections of params.yaml whose values name their entries; what an entry is, its room says.
SOURCES: Registry[Any] = Registry("data.format", "pneumoseg.sources.formats", named_by_module=True)
FAMILIES: Registry[Any] = Registry("model.architecture", "pneumoseg.networks.families")
LOSSES: Registry[Any] = Registry("train.loss", "pneumoseg.networks.losses")
METRICS: Registry[Any] = Registry("figure", "pneumoseg.evaluate.metrics")
