"""How a stage starts and ends: parameters checked first, a message instead of a traceback, progress on stderr."""

from __future__ import annotations

import logging
import posixpath
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pneumoseg.shared import interruption
from pneumoseg.shared.errors import PneumosegError
from pneumoseg.shared.passwords import guard_output

if TYPE_CHECKING:
    from pneumoseg.config import Params

#: By stage: keys of its section that name files of the user's. DVC watches those below data/inputs/<stage>.
_NAMING = {
    "split": ("patient_map", "test_list"),
    "train": ("pseudo_labels.folder", "pseudo_labels.weak_labels"),
    "evaluate": ("submission_ids",),
}


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

            params = load_params()
            _tell_unwatched(Path(sys.argv[0]).stem, params, logger)
            work(params)
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


def _tell_unwatched(stage: str, params: Params, logger: logging.Logger) -> None:
    """Say of every file whose content DVC does not see."""
    folder = PurePosixPath(f"data/inputs/{stage}")
    for key in _NAMING.get(stage, ()):
        named = reduce(getattr, key.split("."), getattr(params, stage))
        if named is not None and folder not in PurePosixPath(posixpath.normpath(named)).parents:
            told = "%s.%s = %s is not in %s, which DVC watches: after an edit of it, dvc repro -f %s"
            logger.warning(told, stage, key, named, folder, stage)
