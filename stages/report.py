"""Stage report: one folder of pages that opens from disk."""

import sys
from pathlib import Path

from pneumoseg.config import Params
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/report/ from every earlier stage's files."""
    from pneumoseg.report.report_page import build_report
    from pneumoseg.shared.layout import Layout
    from pneumoseg.track import record_report

    build_report(Path(), Path("data/report"), params.report)
    record_report(Layout(), params)


def main() -> int:
    """Run the stage; returns the exit code."""
    return run_stage(work)


if __name__ == "__main__":
    sys.exit(main())
