"""Section masks: from run-length codes to one mask an image."""

from pydantic import Field

from pneumoseg.config.section import Section


class MasksParams(Section):
    """Which annotation rows are believed."""

    table_size_px: int = Field(ge=1, le=100_000)
    max_rejected_fraction: float = Field(ge=0, le=1)
