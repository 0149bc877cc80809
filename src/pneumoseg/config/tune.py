"""Section tune: which decision rules are searched, and how."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from pneumoseg.config.model import ModelParams
from pneumoseg.config.section import Section
from pneumoseg.shared.registry import FAMILIES

#: What a rule for maps can be chosen by, and what one for image probabilities alone can be chosen by besides.
MaskObjective = Literal["dice_all", "balanced"]
CallObjective = Literal["youden", "sensitivity_at_least"]
Threshold = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(gt=0, le=1)]
AreaPx = Annotated[int, Field(ge=1)]

MASK_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
TOP_THRESHOLDS = (
    0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98,
)  # fmt: skip
MIN_AREAS_PX_AT_1024 = (
    1, 25, 50, 100, 150, 200, 300, 400, 500, 600, 700, 800, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 3500, 4000,
    5000, 6000, 8000, 10000, 15000,
)  # fmt: skip


class TuneParams(Section):
    """The grid of decision rules; areas are pixels at 1024 x 1024 and scale with the image."""

    kinds: tuple[Literal["single", "min_area", "triplet", "cumulative"], ...] = Field(
        ("single", "min_area", "triplet"), min_length=1
    )
    objective: MaskObjective | CallObjective = "dice_all"
    least_sensitivity: float = Field(0.95, gt=0, le=1)
    mask_thresholds: tuple[Threshold, ...] = Field(MASK_THRESHOLDS, min_length=1)
    top_thresholds: tuple[Threshold, ...] = TOP_THRESHOLDS
    min_areas_px_at_1024: tuple[AreaPx, ...] = MIN_AREAS_PX_AT_1024
    gate_probabilities: tuple[Probability, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    cumulative_levels: Literal[2, 3] = 2
    min_component_px_at_1024: int = Field(0, ge=0)
    fill_holes: bool = False
    cross_fit_groups: int = Field(5, ge=3, le=50)
    seed: int = Field(42, ge=0)

    def check_model(self, model: ModelParams) -> None:
        """Refuse an objective of image calls for networks that give maps.

        Raises:
            ValueError: with the objectives that can be had.
        """
        if self.objective in get_args(CallObjective) and FAMILIES[model.architecture].gives_map:
            raise ValueError(
                f"tune.objective = {self.objective} chooses a limit of the image probability, but model.architecture = "
                f"{model.architecture} is decided by its map; set it to {' or '.join(get_args(MaskObjective))}"
            )

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
