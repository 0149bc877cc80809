"""How a stage starts and ends: parameters checked first, a message instead of a traceback, progress on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pneumoseg.shared import interruption
from pneumoseg.shared.errors import PneumosegError
from pneumoseg.shared.passwords import guard_output

if TYPE_CHECKING:
    from pneumoseg.config import Params


def run_stage(work: Callable[[Params], None]) -> int:
    """Check params.yaml whole, then do the work; returns the exit code: 0, 1, or 130 after Ctrl-C.

    Heavy imports belong inside ``work``: a mistake in params.yaml is told within a second. What is imported before this
    function begins, Ctrl-C ends with a traceback: so scripts import this module and nothing that takes its time.
    """
    guard_output()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logger = logging.getLogger("pneumoseg")
    with interruption.watched():
        try:
            from pneumoseg.config import load_params

            work(load_params())
            interruption.check()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or interruption.pressed():  # C code can turn it into other errors
                logger.error("interrupted")  # noqa: TRY400 - the user's own doing
                return 130
            if not isinstance(error, PneumosegError):
                raise
            logger.error("error: %s", error)  # noqa: TRY400 - a mistake the user can mend needs no traceback
            return 1
    return 0
