"""Section explore: tables and figures of the data set."""

from pydantic import Field

from pneumoseg.config.section import Section


class ExploreParams(Section):
    """How the data set is summed up."""

    age_band_years: int = Field(10, ge=1, le=50)
    max_age_years: int = Field(110, ge=1, le=150)
    confidence: float = Field(0.95, ge=0.5, lt=1)
    area_bins: int = Field(24, ge=2, le=200)
    heat_map_bins: int = Field(64, ge=4, le=512)
    figure_dpi: int = Field(110, ge=50, le=400)
