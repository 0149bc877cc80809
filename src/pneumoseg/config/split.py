"""Section split: patient-safe folds and the balanced manifest."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SerializationInfo, field_serializer, model_validator

from pneumoseg.config.augment import NONE, REFERENCE, AugmentParams
from pneumoseg.config.section import Section


def _weights(value: object) -> object:
    """A list of names gives each the same weight."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("give a list of recipes, or weights: {gamma: 2, horizontal_flip: 1}")
    twice = sorted({name for name in value if value.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice; give weights instead: {{{twice[0]}: 2, …}}")
    return dict.fromkeys(value, 1.0)


class SplitParams(Section):
    """How images are divided, and how training images are balanced."""

    seed: int = Field(42, ge=0)
    folds: int = Field(4, ge=2, le=100)
    train_folds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    test_fraction: float | None = Field(0.2, gt=0, lt=1)
    test_list: str | None = Field(None, min_length=1)
    patient_map: str | None = Field(None, min_length=1)
    area_bins: int = Field(4, ge=1, le=20)
    positive_share: float | None = Field(0.5, gt=0, lt=1)
    augmentations: Annotated[dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(_weights)] = dict.fromkeys(
        REFERENCE, 1.0
    )
    augment_negatives: bool = True
    materialize: bool = False

    @field_serializer("augmentations")
    def _short_form(self, weights: dict[str, float], info: SerializationInfo) -> dict[str, float] | list[str]:
        return list(weights) if (info.context or {}).get("written") and set(weights.values()) == {1.0} else weights

    @model_validator(mode="after")
    def _folds_exist(self) -> Self:
        wrong = [fold for fold in self.train_folds if fold >= self.folds]
        if wrong or len(set(self.train_folds)) < len(self.train_folds):
            raise ValueError(
                f"train_folds = {list(self.train_folds)}: give each fold once, from 0 to folds - 1 = {self.folds - 1}"
            )
        return self

    @model_validator(mode="after")
    def _one_test_set(self) -> Self:
        if (self.test_fraction is None) == (self.test_list is None):
            given = "both are given" if self.test_list else "both are null"
            raise ValueError(f"test_fraction and test_list: {given}; give exactly one of them and null for the other")
        return self

    @model_validator(mode="after")
    def _copies_have_augmentations(self) -> Self:
        if self.positive_share is not None and not self.augmentations:
            raise ValueError(
                f"augmentations is empty, but positive_share = {self.positive_share} needs copies; name recipes of "
                f"augment.recipes ({NONE}: plain copies), or set positive_share to null"
            )
        return self

    def check_augmentations(self, augment: AugmentParams) -> None:
        """Refuse names of augmentations that section augment does not define."""
        unknown = [name for name in self.augmentations if name != NONE and name not in augment.recipes]
        if unknown:
            raise ValueError(
                f"split.augmentations: {', '.join(unknown)} is not among augment.recipes; "
                f"known: {', '.join((NONE, *augment.recipes))}"
            )
