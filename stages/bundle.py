"""Stage bundle: one folder with everything that an answer to a radiograph needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Write data/bundle/ of models, rule and test figures."""
    from pneumoseg.shared.layout import Layout
    from pneumoseg.track import record_bundle
    from pneumoseg.use.bundling import make_bundle

    make_bundle(Layout(), params)
    record_bundle(Layout(), params)


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
