"""Learning from images without annotation, in section train: mean teacher and pseudo-labels."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pneumoseg.config.augment import AugmentParams
from pneumoseg.config.section import Section


class TeacherDecay(Section):
    """The teacher's decay from an epoch on."""

    from_epoch: int = Field(ge=1)
    decay: float = Field(ge=0, lt=1)


#: A teacher that forgets its first steps fast.
DECAY = tuple(
    TeacherDecay(from_epoch=epoch, decay=decay) for epoch, decay in ((1, 0.5), (6, 0.9), (11, 0.99), (21, 0.999))
)


class MeanTeacherParams(Section):
    """Consistency with a teacher on images without annotation (Tarvainen and Valpola 2017)."""

    images_per_step: int = Field(0, ge=0)
    initial_weight: float = Field(0.001, ge=0)
    weight: float = Field(2.0, ge=0)
    start_epoch: int = Field(6, ge=1)
    ramp_up_epochs: int = Field(30, ge=1)
    image_weight: float = Field(0.001, ge=0)
    decay: tuple[TeacherDecay, ...] = Field(DECAY, min_length=1)
    shared_augmentation: str | None = "flip_affine_half"
    teacher_augmentation: str | None = None
    student_augmentation: str | None = "brightness_contrast"

    @model_validator(mode="after")
    def _decay_covers_every_epoch(self) -> Self:
        starts = [step.from_epoch for step in self.decay]
        if starts[0] != 1 or sorted(set(starts)) != starts:
            raise ValueError(f"decay has from_epoch {starts}: give rising epochs, the first of them 1")
        return self

    def decay_at(self, epoch: int) -> float:
        """The teacher's decay in an epoch, counted from 1."""
        return [step.decay for step in self.decay if step.from_epoch <= epoch][-1]

    def check_augmentations(self, augment: AugmentParams) -> None:
        """Refuse a view that does not exist, or whose geometry would differ between teacher and student.

        Raises:
            ValueError: names the recipe.
        """
        if not self.images_per_step:
            return
        for key in ("shared_augmentation", "teacher_augmentation", "student_augmentation"):
            name = getattr(self, key)
            if name is None:
                continue
            if name not in augment.recipes:
                raise ValueError(
                    f"train.mean_teacher.{key} = {name} is not among augment.recipes: {', '.join(augment.recipes)}"
                )
            if key != "shared_augmentation" and augment.moves_pixels(name):
                raise ValueError(
                    f"train.mean_teacher.{key} = {name} moves pixels, so that teacher and student would see different "
                    f"places; name a recipe of grey values only, and put the rest into shared_augmentation"
                )


class PseudoLabelParams(Section):
    """Images without annotation that join the training pool with the masks of an earlier model."""

    folder: str | None = Field(None, min_length=1)
    targets: Literal["soft", "hard"] = "hard"
    threshold: float = Field(0.5, gt=0, lt=1)
    positive_above: float = Field(0.8, gt=0, lt=1)
    min_area_px_at_1024: int = Field(1000, ge=1)
    negative_below: float = Field(0.2, ge=0, lt=1)
    weak_labels: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _weak_labels_bound_maps(self) -> Self:
        if self.weak_labels is not None and self.folder is None:
            raise ValueError("weak_labels bounds the maps of folder, which is null; name the folder, or drop the table")
        return self

    @model_validator(mode="after")
    def _sure_ones_differ(self) -> Self:
        if self.negative_below > self.positive_above:
            raise ValueError(
                f"negative_below = {self.negative_below} is above positive_above = {self.positive_above}: "
                f"an image could be both; lower it"
            )
        return self
