"""Stage more_extract: images, masks and tables of one set of data.more."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from pneumoseg.shared.errors import ParameterError
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(name: str, params: Params) -> None:
    """Write data/more/<name>/ and the counts below metrics/more/<name>/."""
    from pneumoseg.external.preparing import extract_more
    from pneumoseg.shared.layout import Layout

    if name not in params.data.more:
        raise ParameterError(f"--set {name}: data.more has no such set; it has {', '.join(params.data.more) or 'none'}")
    extract_more(Layout().more(name), params.data.more[name], params.extract, params.masks, params.runtime.workers)


def main(argv: list[str] | None = None) -> int:
    """Run the stage; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", required=True, help="a name of data.more")
    return run_stage(partial(work, parser.parse_args(argv).set))


if __name__ == "__main__":
    sys.exit(main())
