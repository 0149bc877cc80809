"""Section phantom: how many radiographs are made up, of whom, and with which pneumothoraces."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pneumoseg.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class PhantomParams(Section):
    """The built-in data set. Shares are fractions from 0 to 1; areas are fractions of the whole image."""

    seed: int = Field(7, ge=0)
    images: int = Field(280, ge=8)
    unannotated_images: int = Field(4, ge=0)
    unlabelled_images: int = Field(12, ge=0)
    size_px: int = Field(1024, ge=64, le=3072)
    prevalence: float = Field(0.222, gt=0, lt=1)
    pneumothorax_median_area: float = Field(0.00823, ge=0.001, le=0.05)
    pneumothorax_log_sd: float = Field(1.05, ge=0, le=2)
    two_region_share: Share = 0.17
    overlapping_rows_share: Share = 0.07
    several_image_patients_share: Share = 0.3
    pa_share: Share = 0.604
    female_share: Share = 0.45
    chest_tube_share_positive: Share = 0.4
    chest_tube_share_negative: Share = 0.06
    confounder_share: Share = 0.15
    lungs: bool = False
    lateral_share: Share = 0.0
    anterior_share: Share = 0.5
    jpeg_quality: int = Field(90, ge=50, le=100)

    @property
    def positives(self) -> int:
        """Annotated images with pneumothorax, an exact count."""
        return round(self.prevalence * self.images)

    @model_validator(mode="after")
    def _both_classes(self) -> Self:
        if not 1 <= self.positives <= self.images - 1:
            raise ValueError(
                f"prevalence = {self.prevalence} of images = {self.images} makes {self.positives} images with "
                "pneumothorax; give values that leave at least one with and one without"
            )
        return self
