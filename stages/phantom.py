"""Stage phantom: chest radiograph phantoms as DICOM files and an RLE table, in SIIM layout."""

from __future__ import annotations

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/phantom anew."""
    from pneumoseg.phantom import generate

    generate(Path("data/phantom"), params.phantom, params.runtime.workers)


def main() -> int:
    """Run the stage."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
