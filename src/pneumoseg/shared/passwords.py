"""No password is told: not on the terminal, not in a log, not on a page, not in MLflow.

An address may hold one (``postgresql://user:password@host``), and so may every message of a library that names it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

# What an address says of its user. Greedy up to the last @ of a word: rather too much than half a password.
_PASSWORD = re.compile(r"""([a-z][a-z0-9+.-]*://[^\s:/@'"<>]*:)\S*@""", re.IGNORECASE)
_TOKEN = re.compile(r"""(https?://)[^\s:/?#@'"<>]+@""", re.IGNORECASE)
_QUERY = re.compile(
    r"""([?&;](?:[\w.%-]*(?:passw|pwd|token|secret|signature|credential|access_?key|api_?key|odbc_connect)[\w.%-]*|sig)=)"""
    r"""[^\s&;'"<>]+""",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """A text with ``***`` for every password, token and signature in every address in it."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1***", _TOKEN.sub(r"\1***@", _PASSWORD.sub(r"\1***@", text)))


def guard_output() -> None:
    """From now on whatever this process writes to stdout and stderr is masked: messages, logs, tracebacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Masking):
            setattr(sys, name, cast(TextIO, _Masking(stream)))


class _Masking:
    """A text stream that masks what is written to it; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(masked(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self._stream.writelines(map(masked, lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
