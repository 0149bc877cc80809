"""Stage external_evaluate: the figures of one set of evaluate.external."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(name: str, params: Params) -> None:
    """Apply metrics/thresholds.json to the set's maps and write metrics/external/<name>/."""
    from pneumoseg.external.evaluation import evaluate_site
    from pneumoseg.shared.layout import Layout

    site, named = Layout(site=name), params.split.patient_map
    patient_map = None if named is None else site.root / named
    evaluate_site(site, params.evaluate, params.runtime.workers, sorted(params.data.more), patient_map)


def main(argv: list[str] | None = None) -> int:
    """Run the stage; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", required=True, help="a name of evaluate.external")
    return run_stage(partial(work, parser.parse_args(argv).site))


if __name__ == "__main__":
    sys.exit(main())
