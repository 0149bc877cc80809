"""How far work is: a bar where stderr is a terminal, elsewhere a line in the log every minute."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

_LINE_SECONDS = 60.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} gone, {remaining} left{postfix}"


class _Lines(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
    """A tqdm whose every display is a line of the log; it draws into nothing."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Log where something is done and ``close`` does not ask for an empty line."""
        del pos
        if self.n and msg != "":
            logger.info("%s", str(self))  # now: a handler may wait


def follow(total: int, title: str, unit: str, *, shown: bool = True, leave: bool = True) -> tqdm[Any]:
    """A tqdm to ``update``, and to close.

    Args:
        total: how many there are to do.
        title: what is done.
        unit: of what, such as ``image``.
        shown: False: neither bar nor lines.
        leave: whether the bar stays when it is closed.
    """
    if not shown or sys.stderr.isatty():
        return tqdm(total=total, desc=title, unit=unit, leave=leave, disable=not shown, dynamic_ncols=True)
    # miniters: with tqdm's own guess a slow step after quick ones would be silent for longer.
    return _Lines(
        total=total, desc=title, unit=f"{unit}s", leave=False, file=io.StringIO(), bar_format=_LINE, miniters=1,
        mininterval=_LINE_SECONDS,
    )  # fmt: skip
