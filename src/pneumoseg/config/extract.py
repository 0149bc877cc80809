"""Section extract: from DICOM to PNG."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pneumoseg.config.section import Section

Code = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]


class ExtractParams(Section):
    """How pixels become a PNG, which files are refused, and how many may be."""

    window: Literal["dicom", "percentile", "full"]
    window_percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]]
    bit_depth: Literal[8, 16]
    size_px: int | None = Field(ge=32, le=16384)
    modalities: tuple[Code, ...] = Field(min_length=1)
    body_parts: tuple[Code, ...] = Field(min_length=1)
    max_pixels: int = Field(ge=1, le=1_000_000_000)
    max_age_years: float = Field(gt=0, le=200)
    max_rejected_fraction: float = Field(ge=0, le=1)
    scheduler: str | None = Field(pattern=r"^(tcp|tls|ucx|ws|wss)://[^\s/]+$")

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> Self:
        low, high = self.window_percentiles
        if low >= high:
            raise ValueError(
                f"window_percentiles = [{low}, {high}]: give the lower percentile first, such as [0.5, 99.5]"
            )
        return self
