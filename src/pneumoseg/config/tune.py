"""Section tune: which decision rules are searched, and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pneumoseg.config.section import Section

Threshold = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(gt=0, le=1)]
AreaPx = Annotated[int, Field(ge=1)]


class TuneParams(Section):
    """The grid of decision rules; areas are pixels at 1024 x 1024 and scale with the image."""

    kinds: tuple[Literal["single", "min_area", "triplet", "cumulative"], ...] = Field(min_length=1)
    objective: Literal["dice_all", "balanced"]
    mask_thresholds: tuple[Threshold, ...] = Field(min_length=1)
    top_thresholds: tuple[Threshold, ...]
    min_areas_px_at_1024: tuple[AreaPx, ...]
    gate_probabilities: tuple[Probability, ...]
    cumulative_levels: Literal[2, 3]
    min_component_px_at_1024: int = Field(ge=0)
    fill_holes: bool
    cross_fit_groups: int = Field(ge=3, le=50)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _grids_fit_kinds(self) -> Self:
        for name in ("kinds", "mask_thresholds", "top_thresholds", "min_areas_px_at_1024", "gate_probabilities"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} = {list(values)}: give each value once")
            if any(isinstance(value, float) and round(value, 6) != value for value in values):
                raise ValueError(f"{name} = {list(values)}: at most six decimals, as thresholds.json keeps them")
        if set(self.kinds) - {"single"} and not self.min_areas_px_at_1024:
            raise ValueError(f"min_areas_px_at_1024 = []: kinds {list(self.kinds)} need at least one area")
        tops = [top for top in self.top_thresholds if top > min(self.mask_thresholds)]
        needed = {"triplet": 1, "cumulative": self.cumulative_levels - 1}
        for kind in self.kinds:
            if len(tops) < needed.get(kind, 0):
                raise ValueError(
                    f"top_thresholds = {list(self.top_thresholds)}: kind {kind} needs at least {needed[kind]} above "
                    f"the lowest mask threshold {min(self.mask_thresholds)}"
                )
        return self
