"""Stage report: one folder of pages that opens from disk."""

import sys

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage


def work(params: Params) -> None:
    """Write data/report from every earlier stage's files."""
    from pneumoseg.report.report_folder import build_report
    from pneumoseg.track import record_report

    build_report(Layout(), params)
    record_report(Layout(), params)


if __name__ == "__main__":
    sys.exit(run_stage(work))
