"""Section evaluate: intervals, subgroups, calibration, submission."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pneumoseg.params.section import Section


class EvaluateParams(Section):
    """How the test images are judged."""

    submission_ids: str | None = Field(min_length=1)
    bootstrap_replicates: int = Field(ge=100, le=100_000)
    permutations: int = Field(ge=100, le=1_000_000)
    seed: int = Field(ge=0)
    size_limits_px_at_1024: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=2)]]
    age_limits_years: tuple[Annotated[int, Field(ge=1, le=120)], ...]
    calibration_bins: int = Field(ge=2, le=100)
    temperature_scaling: bool

    @model_validator(mode="after")
    def _limits_rise(self) -> Self:
        for name in ("size_limits_px_at_1024", "age_limits_years"):
            limits = list(getattr(self, name))
            if sorted(set(limits)) != limits:
                raise ValueError(f"{name} = {limits}: give rising limits")
        return self
