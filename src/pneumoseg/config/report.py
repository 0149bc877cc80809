"""Section report: what the report shows, and how large its pictures are."""

from typing import Literal

from pydantic import Field

from pneumoseg.config.section import Section


class ReportParams(Section):
    """Galleries and pictures of data/report; nothing here changes a figure."""

    cases_per_gallery: int = Field(6, ge=1, le=100)
    unlabelled_cases: int = Field(6, ge=0, le=100)
    overlay_size_px: int = Field(512, ge=64, le=4096)
    radiograph_format: Literal["jpeg", "png"] = "jpeg"
    jpeg_quality_percent: int = Field(85, ge=1, le=100)
