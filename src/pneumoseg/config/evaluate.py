"""Section evaluate: intervals, subgroups, calibration, submission, external sets."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from pneumoseg.config.data import DataParams, check_sets
from pneumoseg.config.section import Section

#: Where the external stages write; a set's own table cannot lie there.
SITE_OUTPUTS = "data/external"


class EvaluateParams(Section):
    """How the test images are judged."""

    submission_ids: str | None = Field(None, min_length=1)
    bootstrap_replicates: int = Field(2000, ge=100, le=100_000)
    permutations: int = Field(10000, ge=100, le=1_000_000)
    seed: int = Field(42, ge=0)
    size_limits_px_at_1024: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=2)]] = (5000, 14000)
    age_limits_years: tuple[Annotated[int, Field(ge=1, le=120)], ...] = (18, 40, 60, 80)
    calibration_bins: int = Field(10, ge=2, le=100)
    temperature_scaling: bool = True
    prevalences: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    subgroup_table: str | None = Field(None, min_length=1)
    external: dict[str, DataParams] = Field({})

    @model_validator(mode="after")
    def _limits_rise(self) -> Self:
        for name in ("size_limits_px_at_1024", "age_limits_years"):
            limits = list(getattr(self, name))
            if sorted(set(limits)) != limits:
                raise ValueError(f"{name} = {limits}: give rising limits")
        return self

    @field_validator("prevalences")
    @classmethod
    def _each_prevalence_once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("give each prevalence once")
        return values

    @field_validator("external")
    @classmethod
    def _sites_can_be_told_apart(cls, sites: dict[str, DataParams]) -> dict[str, DataParams]:
        check_sets(sites, SITE_OUTPUTS)
        return sites
