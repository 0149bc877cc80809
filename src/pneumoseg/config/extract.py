"""Section extract: from DICOM to PNG."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pneumoseg.config.section import Section

Code = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]
Percent = Annotated[float, Field(ge=0, le=100)]


class ExtractParams(Section):
    """How pixels become a PNG, which files are refused, and how many may be."""

    window: Literal["dicom", "percentile", "full"] = "dicom"
    window_percentiles: tuple[Percent, Percent] = (0.5, 99.5)
    bit_depth: Literal[8, 16] = 8
    size_px: int | None = Field(None, ge=32, le=16384)
    modalities: tuple[Code, ...] = Field(("CR", "DX", "RG"), min_length=1)
    body_parts: tuple[Code, ...] = Field(("CHEST", "THORAX", "LUNG", "LUNGS"), min_length=1)
    max_pixels: int = Field(40000000, ge=1, le=1_000_000_000)
    max_age_years: float = Field(120.0, gt=0, le=200)
    max_rejected_fraction: float = Field(0.05, ge=0, le=1)
    scheduler: str | None = Field(None, pattern=r"^(tcp|tls|ucx|ws|wss)://[^\s/]+$")

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> Self:
        low, high = self.window_percentiles
        if low >= high:
            raise ValueError(
                f"window_percentiles = [{low}, {high}]: give the lower percentile first, such as [0.5, 99.5]"
            )
        return self
