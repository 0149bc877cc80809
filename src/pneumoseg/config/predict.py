"""Section predict: probability maps."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pneumoseg.config.section import Section

Use = Literal["both", "map", "image"]
Scale = Annotated[float, Field(ge=0.25, le=4)]


class MemberParams(Section):
    """Another experiment whose networks predict along."""

    source: str = Field(min_length=1)
    weight: float = Field(1.0, gt=0)
    use: Use = "both"


class PredictParams(Section):
    """How probability maps are made."""

    batch_size: int = Field(8, ge=1)
    horizontal_flip: bool = False
    scales: tuple[Scale, ...] = Field((1.0,), min_length=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    members: tuple[MemberParams, ...] = ()
    own_weight: float = Field(1.0, ge=0)
    combine: Literal["mean", "vote"] = "mean"
    vote_threshold: float = Field(0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _values_agree(self) -> Self:
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales = {list(self.scales)}: give each scale once")
        seen: set[tuple[str, str]] = set()
        for member in self.members:
            parts = {(member.source, part) for part in (("map", "image") if member.use == "both" else (member.use,))}
            if parts & seen:
                raise ValueError(f"members has {member.source} twice for the same use; give it once, with its weight")
            seen |= parts
        if not self.own_weight and not any(part == "map" for _, part in seen):
            raise ValueError(
                "own_weight = 0 leaves out this run's networks, and no member makes maps: give a member whose use is "
                "both or map, or an own_weight above 0"
            )
        return self
