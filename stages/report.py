"""Stage report: one folder of pages that opens from disk."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pneumoseg.shared.layout import Layout
from pneumoseg.stage import run_stage

if TYPE_CHECKING:
    from pneumoseg.config import Params


def work(params: Params) -> None:
    """Write data/report from every earlier stage's files."""
    from pneumoseg.report.report_folder import build_report
    from pneumoseg.track import record_report

    build_report(Layout(), params)
    record_report(Layout(), params)


if __name__ == "__main__":
    sys.exit(run_stage(work))
