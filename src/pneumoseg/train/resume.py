"""Where a killed run goes on: one file, written whole, that belongs to one fingerprint of params, data and code."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from pneumoseg.shared.files import atomic_path

logger = logging.getLogger(__name__)


class Checkpoint:
    """The state of an unfinished run in ``folder``; a changed configuration has another folder and starts afresh."""

    def __init__(self, folder: Path, interval_seconds: float) -> None:
        """Save no more often than every ``interval_seconds``; a resumed run ends the same from any epoch."""
        self._folder = folder
        self._interval = interval_seconds
        self._saved = time.monotonic()

    @property
    def _path(self) -> Path:
        return self._folder / "state.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, unless the last one is young."""
        if time.monotonic() - self._saved < self._interval:
            return
        with atomic_path(self._path) as temporary:
            torch.save(state, temporary)
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None; without pickle's code execution."""
        if not self._path.is_file():
            return None
        state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        logger.info(
            "resuming after epoch %d (delete %s to start afresh)", len(state["progress"]["history"]), self._folder
        )
        return state

    def delete(self) -> None:
        """Forget the run: it ended well."""
        shutil.rmtree(self._folder, ignore_errors=True)
