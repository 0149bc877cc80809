"""Section masks: from run-length codes to one mask an image."""

from pydantic import Field

from pneumoseg.config.section import Section


class MasksParams(Section):
    """Which annotation rows are believed."""

    table_size_px: int = Field(1024, ge=1, le=100_000)
    max_rejected_fraction: float = Field(0.05, ge=0, le=1)
